"""Verifying small GGUF files whose bytes are made here, sound ones and damaged ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qconv import gguf, verify
from qconv.errors import FormatError
from qconv.options import RunOptions
from qconv.plan import OutputFile, Plan, TensorPlan
from qconv.storage import FileIdentity
from qconv.types import Metadata, TensorInfo, Value, ValueType
from tests.conversion.fakes import Copy, Memory, Watcher, bound, run, some

WEIGHTS = {"a": some(1, 40, 32), "b": some(2, 3, 64)}
KEYS: Metadata = {"general.architecture": Value.string("llama")}


def made(
    keys: Metadata = KEYS,
    types: tuple[str, str] = ("BF16", "F32"),
    sources: tuple[FileIdentity, ...] = (),
    split: int = 0,
) -> Plan:
    """``split``: 1 or 2, the number of shards."""
    infos = [TensorInfo(n, t, w.shape) for (n, w), t in zip(WEIGHTS.items(), types, strict=True)]
    shards = [infos] if split < 2 else [[info] for info in infos]
    layouts = [
        gguf.header(gguf.shard_metadata(keys, n, split, len(infos)) if split else keys, shard)
        for n, shard in enumerate(shards)
    ]
    places = {name: (n, tensor) for n, layout in enumerate(layouts) for name, tensor in layout.tensors.items()}
    names = [gguf.shard_path(Path("x.gguf"), n, split).name if split else "x.gguf" for n in range(len(shards))]
    tensors = tuple(
        TensorPlan(
            name=i.name,
            shape=i.shape,
            tensor=Copy(i.name, i.shape, "BF16"),
            intermediate_type="BF16",
            block_type=i.dtype,
            reason="",
            wanted=None,
            file=places[i.name][0],
            offset=places[i.name][1].offset,
            size=places[i.name][1].size,
        )
        for i in infos
    )
    files = tuple(OutputFile(name, layout.header, layout.size) for name, layout in zip(names, layouts, strict=True))
    return Plan("sketch", "reference", files, tensors, ())


def convert(directory: Path, plan: Plan | None = None, manifest: bool = False) -> Path:
    (result,) = run([plan or made()], Memory(WEIGHTS), [directory], RunOptions(manifest=manifest))
    return result.files[0]


def change(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as f:
        f.seek(offset)
        f.write(data)


def said(report: verify.Report) -> list[tuple[str | None, str]]:
    return [(p.tensor, p.message) for p in report.problems]


@pytest.mark.parametrize("with_manifest", [False, True])
def test_a_sound_file(tmp_path: Path, with_manifest: bool) -> None:
    path = convert(tmp_path, manifest=with_manifest)
    report = verify.check(path)
    assert report.ok
    assert report.tensors == 2
    assert report.size == 40 * 32 * 2 + 3 * 64 * 4
    assert (report.manifest is not None) == with_manifest
    assert verify.against(path, bound(made(), Memory(WEIGHTS))).ok


def test_weights_changed_since_the_manifest(tmp_path: Path) -> None:
    path = convert(tmp_path, manifest=True)
    change(path, made().tensors[1].offset, b"\1")
    assert said(verify.check(path)) == [("b", "the SHA-256 is not the manifest's: weights were changed")]


def test_metadata_changed_since_the_manifest(tmp_path: Path) -> None:
    path = convert(tmp_path, manifest=True)
    header = made().files[0].header
    change(path, header.index(b"llama"), b"lLama")
    assert said(verify.check(path)) == [(None, "the header's SHA-256 is not the manifest's: metadata were changed")]


def test_another_file_under_the_name(tmp_path: Path) -> None:
    path = convert(tmp_path, manifest=True)
    (tmp_path / "other").mkdir()
    other = convert(tmp_path / "other", made(types=("F16", "F32")))
    path.write_bytes(other.read_bytes())
    assert said(verify.check(path)) == [
        ("a", "is F16 40 x 32, BF16 40 x 32 in the manifest"),
        (None, "the header's SHA-256 is not the manifest's: metadata were changed"),
    ]


def test_weights_that_are_no_numbers(tmp_path: Path) -> None:
    path = convert(tmp_path)
    change(path, made().tensors[0].offset + 2 * 100, b"\x80\x7f")
    change(path, made().tensors[1].offset + 4 * 5, b"\x00\x00\xc0\x7f")
    assert said(verify.check(path)) == [
        ("a", "has NaN or infinite weights, the first is weight 100"),
        ("b", "has NaN or infinite weights, the first is weight 5"),
    ]


def test_rows_that_differ_from_the_source(tmp_path: Path) -> None:
    path = convert(tmp_path)
    for row in (7, 8, 30):
        change(path, made().tensors[0].offset + row * 64 + 5, b"\xee")
    report = verify.against(path, bound(made(), Memory(WEIGHTS)), RunOptions(threads=2))
    assert said(report) == [("a", "3 of 40 rows differ, the first is row 7")]


def test_other_tensors_than_the_source_gives(tmp_path: Path) -> None:
    path = convert(tmp_path, made(types=("F16", "F32")))
    assert said(verify.against(path, bound(made(), Memory(WEIGHTS)))) == [
        ("a", "is F16 40 x 32, and would be BF16 40 x 32"),
        (None, "the metadata differ (`qconv compare` shows how)"),
    ]


@pytest.mark.parametrize("split", [0, 1, 2])
@pytest.mark.parametrize("planned", [0, 1, 2])
def test_keys_that_differ_from_the_source_in_any_number_of_shards(tmp_path: Path, split: int, planned: int) -> None:
    path = convert(tmp_path, made(split=split))
    plan = made(split=planned)
    if split == planned or 2 in (split, planned):
        assert verify.against(path, bound(plan, Memory(WEIGHTS))).ok
    change(path, made(split=split).files[0].header.index(b"llama"), b"lLama")
    report = verify.against(path, bound(plan, Memory(WEIGHTS)))
    assert said(report) == [(None, "the metadata differ (`qconv compare` shows how)")]


def test_bytes_that_no_tensor_holds_differ_from_the_source(tmp_path: Path) -> None:
    keys: Metadata = {**KEYS, "general.alignment": Value.uint32(1024)}
    path, (a, b) = convert(tmp_path, made(keys)), made(keys).tensors
    change(path, a.offset + a.size + 8, b"\1")
    path.write_bytes(path.read_bytes() + b"more")
    assert said(verify.against(path, bound(made(keys), Memory(WEIGHTS)))) == [
        (None, "has 4 bytes after the last tensor"),
        ("a", "is not followed by 512 zeros, which fill up its place"),
    ]
    path.write_bytes(path.read_bytes()[: b.offset + b.size])
    change(path, a.offset + a.size + 8, b"\0")
    assert said(verify.against(path, bound(made(keys), Memory(WEIGHTS)))) == [
        ("b", "is not followed by 256 zeros, which fill up its place")
    ]


def test_bytes_after_the_end_and_missing_keys(tmp_path: Path) -> None:
    path = convert(tmp_path, made(keys={}))
    path.write_bytes(path.read_bytes() + b"more")
    assert said(verify.check(path)) == [
        (None, "has 4 bytes after the last tensor"),
        (None, "has no key general.architecture, which llama.cpp needs"),
    ]


def test_a_gap_between_tensors(tmp_path: Path) -> None:
    import struct

    whole = made()
    path = convert(tmp_path)
    header = bytearray(whole.files[0].header)
    relative = whole.tensors[1].offset - len(header)
    at = header.rindex(struct.pack("<Q", relative))
    header[at : at + 8] = struct.pack("<Q", relative + 32)
    path.write_bytes(bytes(header) + path.read_bytes()[len(header) :] + bytes(32))
    begins = whole.tensors[1].offset
    assert said(verify.check(path)) == [("b", f"begins at byte {begins + 32}, not {begins}, where it has to")]


def test_token_counts(tmp_path: Path) -> None:
    keys: Metadata = {
        **KEYS,
        "tokenizer.ggml.tokens": Value.array(ValueType.STRING, ["a", "b"]),
        "tokenizer.ggml.token_type": Value.array(ValueType.INT32, [1]),
    }
    path = convert(tmp_path, made(keys=keys))
    assert said(verify.check(path)) == [(None, "has 1 tokenizer.ggml.token_type for 2 tokens")]


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = convert(tmp_path)
    path.write_bytes(path.read_bytes()[:-900])
    with pytest.raises(FormatError):
        verify.check(path)


def test_progress_counts_the_weights_that_are_looked_at(tmp_path: Path) -> None:
    layout = gguf.header(KEYS, [TensorInfo("i", "I32", (8, 4)), TensorInfo("w", "F32", (2, 4))])
    path, watcher = tmp_path / "i.gguf", Watcher()
    path.write_bytes(layout.header + bytes(layout.size - len(layout.header)))
    assert verify.check(path, progress=watcher).ok
    assert watcher.size == watcher.done == 2 * 4 * 4


def test_blocks_with_a_damaged_scale(tmp_path: Path) -> None:
    keys: Metadata = {**KEYS, "general.quantization_version": Value.uint32(2)}
    info = TensorInfo("q", "IQ4_NL", (4, 64))
    layout = gguf.header(keys, [info])
    blocks = np.zeros((8, 18), np.uint8)
    path = tmp_path / "q.gguf"
    path.write_bytes(layout.header + blocks.tobytes() + bytes(layout.size - len(layout.header) - blocks.size))
    assert verify.check(path).ok
    change(path, layout.tensors["q"].offset + 3 * 18, b"\x00\x7c")  # an infinite float16
    assert said(verify.check(path)) == [("q", "has NaN or infinite weights, the first is weight 96")]
