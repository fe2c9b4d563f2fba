"""The manifest: what it says, and that it never stands beside a file it does not describe."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest

from qconv import __version__
from qconv.conversion import manifest
from qconv.errors import FormatError, OutputError
from qconv.options import RunOptions
from qconv.plan import Plan
from qconv.storage import FileIdentity
from tests.conversion.fakes import CALLS, Copy, Memory, Sketch, expected, left_over, plan, run, some
from tests.conversion.test_faults import faults, outcome

WEIGHTS = {"a": some(1, 40, 32), "b": some(2, 30, 32)}


def made(directory: Path, shards: int = 1) -> Plan:
    source = directory / "source.safetensors"
    source.write_bytes(b"weights")
    facts = source.stat()
    sketches = [Sketch("a", Copy("a", (40, 32), "BF16"), "BF16"), Sketch("b", Copy("b", (30, 32), "F32", 0.5), "F32")]
    return plan("x.gguf", sketches, shards=shards, sources=[FileIdentity(str(source), 7, str(facts.st_mtime_ns))])


def halved() -> bytes:
    import numpy as np

    return ((WEIGHTS["b"].astype(np.uint32) << 16).view(np.float32) * np.float32(0.5)).tobytes()


@pytest.mark.parametrize("shards", [1, 2])
def test_it_says_where_everything_comes_from(tmp_path: Path, shards: int) -> None:
    whole = made(tmp_path, shards)
    options = RunOptions(manifest=True)
    (result,) = run([whole], Memory(WEIGHTS), [tmp_path], options, record={"type": "sketch"})
    assert result.manifest == tmp_path / f"{whole.files[0].name}.json"
    said = json.loads(result.manifest.read_bytes())
    assert said["qconv"] == __version__
    assert said["options"] == {"type": "sketch"}
    assert said["sources"] == [
        {"name": "source.safetensors", "size": 7, "sha256": hashlib.sha256(b"weights").hexdigest()}
    ]
    assert said["files"][0]["header_sha256"] == hashlib.sha256(whole.files[0].header).hexdigest()
    assert [t["sha256"] for t in said["tensors"]] == [
        hashlib.sha256(data).hexdigest() for data in (WEIGHTS["a"].tobytes(), halved())
    ]
    b = said["tensors"][1]
    assert (b["name"], b["shape"], b["type"], b["reason"]) == ("b", [30, 32], "F32", "sketched")
    assert (b["sources"], b["operations"], b["stored"], b["file"]) == (["b"], "b * 0.5", "F32", shards - 1)


@pytest.mark.parametrize("call", CALLS)
def test_any_call_may_fail(tmp_path: Path, call: str) -> None:
    for disk, directory in faults(call, tmp_path):
        whole = made(directory)
        final, beside = directory / "x.gguf", directory / "x.gguf.json"
        final.write_bytes(b"old")
        beside.write_text('{"qconv_manifest": 1, "of": "old"}')
        options = RunOptions(manifest=True, force=True)
        outcome(run, [whole], Memory(WEIGHTS), [directory], options, disk=disk)
        if beside.exists() and b'"old"' in beside.read_bytes():
            assert final.read_bytes() == b"old"
        run([whole], Memory(WEIGHTS), [directory], options)
        assert final.read_bytes() == expected(whole, {"a": WEIGHTS["a"].tobytes(), "b": halved()})[0]
        assert manifest.read(beside).files[0].size == whole.size
        assert left_over(directory) == ["source.safetensors", "x.gguf", "x.gguf.json"]


def test_the_manifest_of_a_replaced_file_goes(tmp_path: Path) -> None:
    run([made(tmp_path)], Memory(WEIGHTS), [tmp_path], RunOptions(manifest=True))
    run([made(tmp_path)], Memory(WEIGHTS), [tmp_path], RunOptions(force=True))
    assert left_over(tmp_path) == ["source.safetensors", "x.gguf"]


def test_a_file_that_is_no_manifest_stays(tmp_path: Path) -> None:
    (tmp_path / "x.gguf.json").write_text('{"mine": 1}')
    with pytest.raises(OutputError, match="json: exists already"):
        run([made(tmp_path)], Memory(WEIGHTS), [tmp_path], RunOptions(manifest=True))
    run([made(tmp_path)], Memory(WEIGHTS), [tmp_path])
    assert (tmp_path / "x.gguf.json").read_text() == '{"mine": 1}'


def test_names_that_are_no_utf_8(tmp_path: Path) -> None:
    whole, odd = made(tmp_path), "m\udcff"
    tensors = (dataclasses.replace(whole.tensors[0], name=odd), whole.tensors[1])
    whole = dataclasses.replace(whole, tensors=tensors)
    record = {"imatrix": odd, "mix": "größer"}
    (result,) = run([whole], Memory(WEIGHTS), [tmp_path], RunOptions(manifest=True), record=record)
    assert result.manifest is not None
    assert '"größer"' in result.manifest.read_text("utf-8")
    read = manifest.read(result.manifest)
    assert (read.tensors[0].name, read.options["imatrix"]) == (odd, odd)
    assert left_over(tmp_path) == ["source.safetensors", "x.gguf", "x.gguf.json"]


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"qconv_manifest": 1}', "\ud800", "[" * 100_000, '{"\\ud800": 1}', "9" * 5000]
)
def test_a_damaged_manifest_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.gguf.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(FormatError, match="is not a manifest of qconv's"):
        manifest.read(path)
