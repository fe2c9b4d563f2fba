"""ModelScope's and fsspec's places: whole conversions, and what they do not forgive."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

import qconv
from qconv.errors import InputError, UsageError
from qconv.storage import retries
from tests.storage.hub_server import TOKEN, HubServer

NAME = "acme/Noise"


@pytest.fixture
def whole(noise: Path, tmp_path: Path) -> bytes:
    """The file made from the folder."""
    (made,) = qconv.convert(noise, "q8_0", output=tmp_path / "whole.gguf")
    return made.read_bytes()


@pytest.fixture
def modelscope(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> HubServer:
    """The server with ModelScope's interface in front of its files."""
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", hub.url)
    monkeypatch.delenv("MODELSCOPE_API_TOKEN", raising=False)
    return hub


def test_modelscope(
    modelscope: HubServer, noise: Path, whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODELSCOPE_API_TOKEN", TOKEN)
    modelscope.add(NAME, noise, private=True)
    (made,) = qconv.convert(f"ms://{NAME}", "q8_0", output=tmp_path / "ms.gguf", manifest=True)
    assert made.read_bytes() == whole
    assert modelscope.sent["store"] <= 1.02 * sum(p.stat().st_size for p in noise.glob("*.safetensors"))
    for request in modelscope.requests:
        assert (f"m_session_id={TOKEN}" == request.headers.get("cookie")) == (request.host == "hub")
        if request.host == "hub" and "FilePath" in request.path:
            assert parse_qs(urlsplit(request.path).query)["Revision"] == ["c" * 40]
    assert all(TOKEN.encode() not in file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    with qconv.open(f"ms://{NAME}@master/model-00001-of-00002.safetensors") as checkpoint:
        assert checkpoint.location == f"ms://{NAME}@master/model-00001-of-00002.safetensors"


def test_modelscope_gives_nothing(modelscope: HubServer, noise: Path) -> None:
    modelscope.add(NAME, noise, private=True)
    with pytest.raises(InputError, match=r"ms://acme/Noise: is not on ModelScope, or private"):
        qconv.open(f"ms://{NAME}")
    with pytest.raises(UsageError, match="write it as ms://ORG/NAME"):
        qconv.open("ms://acme")


@pytest.fixture
def bucket(noise: Path) -> Iterator[Any]:
    """A file system of fsspec's, in memory, with the checkpoint in it."""
    import fsspec

    filesystem = fsspec.filesystem("memory")
    for path in noise.iterdir():
        filesystem.pipe(f"/bucket/Noise/{path.name}", path.read_bytes())
    yield filesystem
    filesystem.rm("/bucket", recursive=True)


def test_fsspec(bucket: Any, noise: Path, whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = type(bucket).cat_file
    failed: set[tuple[str, int | None]] = set()

    def sometimes(self: Any, path: str, start: int | None = None, end: int | None = None) -> bytes:
        if (path, start) not in failed:
            failed.add((path, start))
            raise OSError(f"a secret, {TOKEN}")
        data: bytes = read(self, path, start, end)
        return data

    monkeypatch.setattr(type(bucket), "cat_file", sometimes)
    monkeypatch.setattr(retries, "WAITS", [0.001] * 4)
    (made,) = qconv.convert("memory://bucket/Noise", "q8_0", output=tmp_path / "x.gguf")
    assert made.read_bytes() == whole
    assert failed
    monkeypatch.undo()
    with qconv.open("memory://bucket/Noise/model-00002-of-00002.safetensors") as checkpoint:
        assert len(checkpoint.files) == 2
        assert checkpoint.config == json.loads((noise / "config.json").read_text())


def test_fsspec_fails(bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(self: Any, path: str, start: int | None = None, end: int | None = None) -> bytes:
        raise OSError(f"a secret, {TOKEN}")

    monkeypatch.setattr(retries, "WAITS", [0.001] * 2)
    monkeypatch.setattr(type(bucket), "cat_file", never)
    with pytest.raises(InputError, match=r"memory://bucket/Noise/.*: cannot be read: OSError") as failure:
        qconv.convert("memory://bucket/Noise", "q8_0", output=tmp_path / "x.gguf")
    assert TOKEN not in str(failure.value)
    assert failure.value.__cause__ is None
    with pytest.raises(InputError, match="memory://bucket/Nothing: is not there"):
        qconv.open("memory://bucket/Nothing")


def test_a_file_that_changes_meanwhile(bucket: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with qconv.open("memory://bucket/Noise") as checkpoint:
        before = checkpoint.files[0].identity()
        bucket.pipe("/bucket/Noise/model-00001-of-00002.safetensors", b"another")
        assert checkpoint.files[0].identity() != before


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("s3://bucket/model", r"reading s3:// needs more: Install s3fs"),
        ("nonsense://x/y", "'nonsense' is not a kind of address qconv knows"),
    ],
)
def test_places_that_need_more(address: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        qconv.open(address)
