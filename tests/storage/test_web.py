"""A file at an address, and what stands beside it, from a server that knows nothing of models."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

import qconv
from qconv.errors import FormatError, InputError, UsageError
from qconv.storage import open_address, retries
from tests.cli.commands import make_checkpoint
from tests.storage.hub_server import QuietServer

SECRET = "signature-canary"


@dataclass
class Site:
    """``files`` by path; ``missing``: the answer for others; ``ranges``: whether parts are given; ``etag`` of all."""

    files: dict[str, bytes] = field(default_factory=dict)
    missing: int = 404
    ranges: bool = True
    etag: str | None = '"1"'
    asked: list[str] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    site = Site()
    monkeypatch.setattr(retries, "WAITS", [0.001] * 3)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *arguments: Any) -> None:
            pass

        def do_GET(self) -> None:
            site.asked.append(self.path)
            path = unquote(urlsplit(self.path).path)
            data = site.files.get(path)
            signed = path.endswith(".safetensors") and SECRET not in self.path
            body = b"" if data is None or signed else data
            status = site.missing if data is None else 403 if signed else 200
            self.send_response_only(206 if status == 200 and site.ranges else status)
            if status == 200 and site.ranges:
                first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
                body = body[first : last + 1]
                self.send_header("Content-Range", f"bytes {first}-{first + len(body) - 1}/{len(data or b'')}")
            if site.etag is not None:
                self.send_header("ETag", site.etag)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    server = QuietServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    site.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield site
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("web") / "Noise", "--layers", "1")


def put(site: Site, noise: Path) -> str:
    """The checkpoint at an address with a signature, which is asked for with it, and what is beside it without."""
    site.files = {f"/models/Noise/{p.name}": p.read_bytes() for p in noise.iterdir()}
    return f"{site.url}/models/Noise/model.safetensors?sig={SECRET}"


@pytest.mark.parametrize("missing", [404, 403])
def test_a_checkpoint_with_what_stands_beside_it(site: Site, noise: Path, tmp_path: Path, missing: int) -> None:
    address, site.missing = put(site, noise), missing
    (here,) = qconv.convert(noise, "q8_0", output=tmp_path / "here.gguf", manifest=True)
    (there,) = qconv.convert(address, "q8_0", output=tmp_path / "there.gguf", manifest=True)
    assert there.read_bytes() == here.read_bytes()
    assert any(path.endswith("/config.json") for path in site.asked)
    assert all((SECRET in path) == path.partition("?")[0].endswith("model.safetensors") for path in site.asked)
    assert not any(SECRET.encode() in file.read_bytes() for file in tmp_path.iterdir())


def test_a_gguf_file(site: Site, noise: Path, tmp_path: Path) -> None:
    (made,) = qconv.convert(noise, "bf16", output=tmp_path / "x-BF16.gguf")
    site.files["/x-BF16.gguf"] = made.read_bytes()
    (there,) = qconv.convert(f"{site.url}/x-BF16.gguf", "q8_0", output=tmp_path / "there.gguf")
    (here,) = qconv.convert(made, "q8_0", output=tmp_path / "here.gguf")
    assert there.read_bytes() == here.read_bytes()


def test_another_etag_stops_it(site: Site, noise: Path, tmp_path: Path) -> None:
    address = put(site, noise)
    with qconv.open(address) as checkpoint:
        before = checkpoint.files[0].identity()
        assert before.version == "1"
        assert SECRET not in before.location
        name = max(checkpoint.stored, key=lambda name: checkpoint.stored[name].size)
        site.etag = '"2"'
        with pytest.raises(InputError, match=r"model\.safetensors.*has changed since it was opened"):
            checkpoint.read(name, 0, checkpoint.stored[name].location.info.rows)


def test_another_etag_starts_afresh(site: Site, noise: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier run did of a file that was another one then is not gone on with."""
    from qconv.conversion import writer
    from qconv.pipeline import sizing

    monkeypatch.setattr(sizing, "ROW_BLOCK", 1 << 14)
    address, output = put(site, noise), tmp_path / "x.gguf"
    path = "/models/Noise/model.safetensors"
    data = site.files[path]
    took = writer._Files.take
    blocks = 0

    def fail_half_way(*arguments: Any) -> None:
        nonlocal blocks
        blocks += 1
        if blocks == 40:
            raise InputError("cannot be read")
        took(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(writer._Files, "take", fail_half_way)
        with pytest.raises(InputError):
            qconv.convert(address, "q8_0", output=output, threads=1)
    site.etag = '"2"'
    header = 8 + int.from_bytes(data[:8], "little")
    site.files[path] = data[:header] + bytes(len(data) - header)
    qconv.convert(address, "q8_0", output=output)
    (fresh,) = qconv.convert(address, "q8_0", output=tmp_path / "fresh.gguf")
    assert output.read_bytes() == fresh.read_bytes()


def test_a_server_that_gives_no_parts(site: Site, noise: Path, tmp_path: Path) -> None:
    """Small files are read whole; of large ones it would send the beginning again and again."""
    address, site.ranges = put(site, noise), False
    with pytest.raises(InputError, match="sends the whole file where a part is asked for") as failure:
        qconv.convert(address, "q8_0", output=tmp_path / "x.gguf")
    assert SECRET not in str(failure.value)
    folder, name = open_address(address)
    assert name == "model.safetensors"
    assert folder.read("config.json") == (noise / "config.json").read_bytes()
    with pytest.raises(FormatError, match="is larger than 10 bytes"):
        folder.read("config.json", 10)


def test_what_is_not_there(site: Site) -> None:
    with pytest.raises(InputError, match=r"/model\.safetensors: is not there"):
        qconv.open(f"{site.url}/model.safetensors")
    with pytest.raises(UsageError, match="is not an address of a file"):
        qconv.open(f"{site.url}/models/")
    for name in ("../x", "/x", "a/../../x"):
        folder, _ = open_address(f"{site.url}/models/model.safetensors")
        assert not folder.has(name)
        with pytest.raises(FormatError, match="outside its folder"):
            folder.open(name)
