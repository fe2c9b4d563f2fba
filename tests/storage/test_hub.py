"""Models read from the Hub, as a server on this machine plays it: whole conversions, and what they leave.

What has to come out is what the same checkpoint in a folder gives.
"""

from __future__ import annotations

import itertools
import logging
import threading
from pathlib import Path
from typing import Any

import pytest

import qconv
from qconv import checkpoints, conversion, plan
from qconv.errors import InputError, QconvError, UsageError
from qconv.options import ConvertOptions, RunOptions
from qconv.storage import open_address, read_ahead
from tests.adapters.adapter import save
from tests.adapters.adapter import whole as whole_numbers
from tests.cli.commands import make_checkpoint
from tests.storage.hub_server import SIGNATURE, TOKEN, HubServer, Request
from tests.waiting import wait_until

NAME = "acme/Noise"


@pytest.fixture
def whole(noise: Path, tmp_path: Path) -> bytes:
    """The file made from the folder."""
    (made,) = qconv.convert(noise, "q8_0", output=tmp_path / "whole.gguf")
    return made.read_bytes()


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of 256 KiB, so that a small model has many."""
    monkeypatch.setattr(read_ahead, "_LARGEST", 1 << 18)
    # a busy machine may delay a worker for longer than others have patience, and a window is fetched twice then
    monkeypatch.setattr(read_ahead, "_PATIENCE", 30.0)


def needed(noise: Path) -> int:
    """Bytes of all tensors: a Llama's conversion reads each once."""
    return sum(p.stat().st_size for p in noise.glob("*.safetensors"))


def test_a_conversion_from_the_hub_is_that_of_the_folder(
    hub: HubServer, noise: Path, whole: bytes, tmp_path: Path, small_windows: None
) -> None:
    hub.add(NAME, noise)
    (made,) = qconv.convert(f"hf://{NAME}", "q8_0", output=tmp_path / "hub.gguf")
    assert made.read_bytes() == whole
    assert hub.sent["store"] <= 1.02 * needed(noise)
    assert not (tmp_path / "hf").exists()  # nothing is kept


def test_several_types_are_made_from_one_reading(hub: HubServer, noise: Path, tmp_path: Path) -> None:
    hub.add(NAME, noise)
    made = qconv.convert(f"hf://{NAME}", ["q8_0", "q4_k_m"], output=tmp_path)
    assert [file.name for file in made] == ["Noise-1.0M-Q8_0.gguf", "Noise-1.0M-Q4_K_M.gguf"]
    assert hub.sent["store"] <= 1.02 * needed(noise)


def test_what_was_done_before_is_not_read_again(
    hub: HubServer, noise: Path, whole: bytes, tmp_path: Path, small_windows: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qconv.pipeline import sizing

    monkeypatch.setattr(sizing, "ROW_BLOCK", 1 << 14)
    hub.add(NAME, noise)
    output = tmp_path / "hub.gguf"
    hub.fault = lambda _: "reset" if hub.sent["store"] > needed(noise) // 2 else None
    with pytest.raises(
        InputError, match=r"hf://acme/Noise/model-0000.-of-00002\.safetensors.*127\.0\.0\.1 cannot be reached"
    ):
        qconv.convert(f"hf://{NAME}", "q8_0", output=output, threads=1)
    before = len(hub.requests)
    hub.fault = lambda _: None
    qconv.convert(f"hf://{NAME}", "q8_0", output=output, threads=1)
    assert output.read_bytes() == whole
    # what is asked for, since the server may still be sending what the first run asked for
    asked = [r.range for r in hub.requests[before:] if r.host == "store"]
    assert sum(stop - start for start, stop in filter(None, asked)) < 0.75 * needed(noise)


def test_another_commit_starts_afresh(
    hub: HubServer, noise: Path, whole: bytes, tmp_path: Path, small_windows: None
) -> None:
    repository = hub.add(NAME, noise)
    output = tmp_path / "hub.gguf"
    hub.fault = lambda _: "reset" if hub.sent["store"] > needed(noise) // 2 else None
    with pytest.raises(InputError):
        qconv.convert(f"hf://{NAME}", "q8_0", output=output, threads=1)
    hub.fault, hub.sent["store"] = lambda _: None, 0
    repository.commit = "d" * 40
    qconv.convert(f"hf://{NAME}", "q8_0", output=output)
    assert output.read_bytes() == whole
    assert hub.sent["store"] >= needed(noise)


def test_the_authorization_stays_with_the_hub(
    hub: HubServer,
    noise: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.add(NAME, noise, gated=True)
    qconv.convert(f"hf://{NAME}", "q8_0", output=tmp_path, manifest=True)
    for request in hub.requests:
        expected = f"Bearer {TOKEN}" if request.host == "hub" else None
        assert request.headers.get("authorization") == expected
    for file in tmp_path.rglob("*"):
        assert TOKEN.encode() not in file.read_bytes()
        assert SIGNATURE.encode() not in file.read_bytes()
    assert caplog.text  # of the libraries too
    assert TOKEN not in caplog.text


def test_the_manifest_takes_hashes_from_the_hub(hub: HubServer, noise: Path, tmp_path: Path) -> None:
    hub.add(NAME, noise)
    (here,) = qconv.convert(noise, "q8_0", output=tmp_path / "here.gguf", manifest=True)
    (there,) = qconv.convert(f"hf://{NAME}", "q8_0", output=tmp_path / "there.gguf", manifest=True)
    sources = [conversion.read_manifest(conversion.manifest_path(file)).sources for file in (here, there)]
    assert sources[0] == sources[1]
    assert hub.sent["store"] <= 1.02 * needed(noise)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ({"gated": True}, r"is gated: .* \(accept its licence on http://[^ ]*/acme/Noise, then set HF_TOKEN or run"),
        ({"private": True}, r"is not on the Hub, or private \(look at http://[^ ]*/acme/Noise"),
    ],
)
def test_models_that_may_not_be_read(
    kind: dict[str, bool], message: str, hub: HubServer, noise: Path, tmp_path: Path
) -> None:
    hub.add(NAME, noise, **kind)
    with pytest.raises(InputError, match=message):
        qconv.convert(f"hf://{NAME}", "q8_0", output=tmp_path)


def test_addresses(hub: HubServer, noise: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    hub.add(NAME, noise)
    hub.add("acme/Nested", noise.parent)
    for address, count in [
        (f"hf://{NAME}@main", 2),
        (f"hf://{NAME}@{'c' * 40}", 2),
        (NAME, 2),
        ("hf://acme/Nested/Noise", 2),
        (f"hf://{NAME}/model-00001-of-00002.safetensors", 2),
        (f"{hub.url}/{NAME}/resolve/main/model.safetensors.index.json", 2),
    ]:
        with qconv.open(address) as checkpoint:
            assert len(checkpoint.files) == count
            assert checkpoint.folder.name == "Noise"
            assert checkpoint.config is not None
    with pytest.raises(InputError, match=r"hf://acme/Noise@other: has no such revision"):
        qconv.open(f"hf://{NAME}@other")
    with pytest.raises(InputError, match="is not on the Hub, or private"):
        qconv.open("hf://acme/Nothing")
    missing = f"hf://{NAME}/model-00009-of-00002.safetensors"
    with pytest.raises(InputError, match=rf"{missing}: is not in the repository \(nearest: model-0000\d-of"):
        qconv.open(missing)
    for wrong in ("hf://acme", "hf://acme/Noise/../x", "nonsense://host/model.gguf", f"{hub.url}/"):
        with pytest.raises(UsageError):
            open_address(wrong)


def test_headers_alone_are_read_to_plan(hub: HubServer, noise: Path) -> None:
    hub.add(NAME, noise)
    with checkpoints.open(f"hf://{NAME}") as checkpoint:
        plan.make(checkpoint, ConvertOptions(types=("q8_0",)))
    assert hub.sent["store"] < 20_000


def test_what_the_cache_holds_is_read_from_there(hub: HubServer, noise: Path, whole: bytes, tmp_path: Path) -> None:
    hub.add(NAME, noise)
    first = qconv.convert(f"hf://{NAME}", "q8_0", output=tmp_path / "1.gguf", keep_download=True)
    hub.sent["store"] = 0
    second = qconv.convert(f"hf://{NAME}", "q8_0", output=tmp_path / "2.gguf")
    assert hub.sent["store"] == 0
    assert first[0].read_bytes() == second[0].read_bytes() == whole


@pytest.mark.parametrize("revision", ["", "@" + "c" * 40])
def test_what_was_kept_is_there_offline(
    hub: HubServer, noise: Path, whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, revision: str
) -> None:
    from huggingface_hub import constants

    hub.add(NAME, noise)
    qconv.convert(f"hf://{NAME}{revision}", "f16", output=tmp_path / "1.gguf", keep_download=True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = len(hub.requests)
    (second,) = qconv.convert(f"hf://{NAME}{revision}", "q8_0", output=tmp_path / "2.gguf")
    assert second.read_bytes() == whole
    assert len(hub.requests) == asked


def test_offline_the_cache_is_all_there_is(
    hub: HubServer, noise: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants, snapshot_download

    hub.add(NAME, noise)
    snapshot_download(NAME, endpoint=hub.url)
    asked = len(hub.requests)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with qconv.open(f"hf://{NAME}") as checkpoint:
        assert len(checkpoint.files) == 2
        assert checkpoint.folder.name == "Noise"
    with pytest.raises(InputError, match="is not in the cache"):
        qconv.open("hf://acme/Other")
    assert len(hub.requests) == asked


def test_a_broken_line_says_so(hub: HubServer, noise: Path) -> None:
    hub.add(NAME, noise)
    hub.fault = lambda _: "reset"
    with pytest.raises(QconvError, match=r"hf://acme/Noise: cannot be read: 127\.0\.0\.1 cannot be reached"):
        qconv.open(f"hf://{NAME}")


def test_reading_and_encoding_overlap(
    hub: HubServer, noise: Path, tmp_path: Path, small_windows: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Encoding begins when the first window has come, and the next ones come while it lasts."""
    from qconv.pipeline import encoding, sizing

    began, encode = threading.Event(), encoding.encode
    first = -1

    def hold_back(request: Request) -> None:
        """All of the store's answers but the first wait until something is encoded."""
        nonlocal first
        if request.host == "store":
            with hub.lock:
                first = request.number if first < 0 else first
            assert request.number == first or began.wait(60)

    def wait_for_more(*arguments: Any) -> encoding.Overflow:
        if not began.is_set():
            before = hub.sent["store"]
            began.set()
            wait_until(lambda: hub.sent["store"] > before)
        return encode(*arguments)

    hub.add(NAME, noise)
    monkeypatch.setattr(sizing, "ROW_BLOCK", 1 << 14)
    monkeypatch.setattr(encoding, "encode", wait_for_more)
    with checkpoints.open(f"hf://{NAME}") as checkpoint:
        plans = plan.make(checkpoint, ConvertOptions(types=("q8_0",), output=str(tmp_path)))
        hub.fault = hold_back
        conversion.run(plans, checkpoint.files, [tmp_path], RunOptions(threads=1))
    assert began.is_set()


def test_headers_of_many_shards_are_read_together(hub: HubServer, tmp_path: Path) -> None:
    """Two requests a shard, to the Hub and to the store, several on their way at a time."""
    model = make_checkpoint(tmp_path / "Many", "--layers", "4", "--shards", "16")
    hub.add(NAME, model)
    together = threading.Barrier(5)
    numbers = itertools.count()

    def meet(request: Request) -> None:
        """None of the store's first five answers comes before the fifth is asked for."""
        if request.host == "store" and next(numbers) < 5:
            together.wait(60)

    hub.fault = meet
    with checkpoints.open(f"hf://{NAME}") as checkpoint:
        assert len([r for r in hub.requests if r.host == "store"]) == len(checkpoint.files) > 10
    assert not together.broken


def test_an_adapter_and_its_base_from_the_hub(hub: HubServer, noise: Path, tmp_path: Path, small_windows: None) -> None:
    module = "base_model.model.model.layers.0.self_attn.q_proj"
    (tmp_path / "lora").mkdir()
    tensors = {f"{module}.lora_A.weight": whole_numbers(2, 256), f"{module}.lora_B.weight": whole_numbers(256, 2)}
    lora = save(tmp_path / "lora", tensors)
    hub.add(NAME, noise)
    hub.add("acme/lora", lora)
    (here,) = qconv.convert(noise, "q8_0", output=tmp_path / "here.gguf", adapter=(str(lora),))
    (there,) = qconv.convert(f"hf://{NAME}", "q8_0", output=tmp_path / "there.gguf", adapter=("hf://acme/lora",))
    assert there.read_bytes() == here.read_bytes()
    assert hub.sent["store"] <= 1.03 * (needed(noise) + needed(lora))
