"""Whole conversions of small made-up checkpoints: bytes, several types at once, threads, memory, shards, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from qconv.conversion import Disk
from qconv.errors import InputError, OutputError, QconvError, UsageError, WeightError
from qconv.options import RunOptions
from qconv.plan import Plan
from qconv.storage import FileIdentity
from tests.conversion.fakes import Copy, Memory, Sketch, Watcher, bf16, expected, left_over, plan, run, some

WEIGHTS = {
    "a": some(1, 300, 96),
    "b": some(2, 7, 64),
    "norm": some(3, 1, 96).reshape(96),
    "half": np.random.default_rng(4).standard_normal((50, 32)).astype(np.float16),
}


def q8_0(values: np.ndarray) -> bytes:
    """By llama.cpp's own Python package."""
    return gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q8_0).tobytes()


def wide(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def copy(name: str) -> Copy:
    array = WEIGHTS[name]
    return Copy(name, array.shape, "F16" if array.dtype == np.float16 else "BF16")


def quantized(shards: int = 1) -> Plan:
    tensors = [
        Sketch("a", copy("a"), "Q8_0"),
        Sketch("norm", copy("norm"), "F32"),
        Sketch("b", copy("b"), "BF16"),
        Sketch("half", copy("half"), "Q8_0"),
    ]
    return plan("model.Q8_0.gguf", tensors, shards=shards)


def plain() -> Plan:
    tensors = [
        Sketch("a", copy("a"), "F16"),
        Sketch("b", copy("b"), "BF16"),
        Sketch("half", copy("half"), "Q8_0"),
        Sketch("norm", copy("norm"), "F32"),
    ]
    return plan("model.F16.gguf", tensors)


QUANTIZED = {
    "a": q8_0(wide(WEIGHTS["a"])),
    "norm": wide(WEIGHTS["norm"]).tobytes(),
    "b": WEIGHTS["b"].tobytes(),
    "half": q8_0(WEIGHTS["half"].astype(np.float32)),
}
PLAIN = {**QUANTIZED, "a": wide(WEIGHTS["a"]).astype(np.float16).tobytes()}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process counts as small, whatever the tests before this one left in it."""
    monkeypatch.setattr("qconv.platform.resident_bytes", lambda: 100_000_000)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("memory", [None, 260_000_000])
def test_bytes_follow_from_the_plan_alone(tmp_path: Path, small: None, threads: int, memory: int | None) -> None:
    made = quantized()
    watcher = Watcher()
    (result,) = run([made], Memory(WEIGHTS), [tmp_path], RunOptions(threads=threads, memory=memory), watcher)
    assert result.complete
    assert result.files == (tmp_path / "model.Q8_0.gguf",)
    assert result.files[0].read_bytes() == expected(made, QUANTIZED)[0]
    assert left_over(tmp_path) == ["model.Q8_0.gguf"]
    assert watcher.done == watcher.size == sum(a.nbytes for a in WEIGHTS.values())
    assert sorted(watcher.finished) == sorted(WEIGHTS)


def test_several_outputs_are_made_from_one_reading(tmp_path: Path) -> None:
    memory = Memory(WEIGHTS)
    plans = [quantized(), plain()]
    run(plans, memory, [tmp_path, tmp_path])
    assert memory.reads == len(WEIGHTS)
    assert (tmp_path / "model.Q8_0.gguf").read_bytes() == expected(plans[0], QUANTIZED)[0]
    assert (tmp_path / "model.F16.gguf").read_bytes() == expected(plans[1], PLAIN)[0]


def test_shards_are_written_and_renamed_together(tmp_path: Path) -> None:
    made = quantized(shards=3)
    (result,) = run([made], Memory(WEIGHTS), [tmp_path])
    assert [p.read_bytes() for p in result.files] == expected(made, QUANTIZED)
    assert left_over(tmp_path) == [f.name for f in made.files]


def test_computed_values_are_rounded_to_the_stored_type_before_they_are_encoded(tmp_path: Path) -> None:
    third = Copy("a", WEIGHTS["a"].shape, "F32", factor=1 / 3)
    computed = wide(WEIGHTS["a"]) * np.float32(1 / 3)
    tensors = [
        Sketch("f16 then q8_0", third, "Q8_0", "F16"),
        Sketch("bf16", third, "BF16", "BF16"),
        Sketch("f32", third, "F32", "F32"),
        Sketch("bf16 then f32", third, "F32", "BF16"),
    ]
    made = plan("x.gguf", tensors)
    (result,) = run([made], Memory(WEIGHTS), [tmp_path])
    halves = gguf.quants.quantize(computed, gguf.GGMLQuantizationType.BF16).view(np.uint16)
    encoded = {
        "f16 then q8_0": q8_0(computed.astype(np.float16).astype(np.float32)),
        "bf16": halves.tobytes(),
        "f32": computed.tobytes(),
        "bf16 then f32": wide(halves).tobytes(),
    }
    assert result.files[0].read_bytes() == expected(made, encoded)[0]


def test_not_a_number_stays_one_when_rounded_to_bf16(tmp_path: Path) -> None:
    bits = np.array([[0x7F800001, 0xFFFFFFFF, 0x7F800000, 0x3F808000, 0x3F818000]], np.uint32)
    weights = {"x": bits.view(np.float32)}
    made = plan("x.gguf", [Sketch("x", Copy("x", (1, 5), "F32"), "BF16", "BF16")], non_finite="keep")
    (result,) = run([made], Memory(weights), [tmp_path])
    # by hand: a NaN keeps its upper half with the quiet bit set; ties go to the even neighbour
    by_hand = np.array([0x7FC0, 0xFFFF, 0x7F80, 0x3F80, 0x3F82], np.uint16)
    assert result.files[0].read_bytes()[64:74] == by_hand.tobytes()


def test_rows_use_the_importance_of_their_matrix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from qconv import blocks

    seen: list[tuple[int, float]] = []

    def encode(
        block_type: str,
        rows: NDArray[Any],
        importance: NDArray[np.float32] | None = None,
        *,
        out: NDArray[np.uint8] | None = None,
        search: str = "reference",
        context: blocks.EncodeContext | None = None,
    ) -> None:
        weighed = importance if context is None else context.importance
        assert weighed is not None
        seen.append((len(rows), float(weighed[0])))
        if out is not None:
            out[:] = int(weighed[0])

    monkeypatch.setattr(blocks, "encode", encode)
    importance = np.repeat(np.arange(1, 5, dtype=np.float32), 32).reshape(4, 32)
    stacked = {"x": some(5, 4, 10, 32)}
    made = plan("x.gguf", [Sketch("x", Copy("x", (4, 10, 32), "BF16"), "Q8_0", importance=importance)])
    (result,) = run([made], Memory(stacked), [tmp_path], RunOptions(threads=1))
    rows = np.frombuffer(result.files[0].read_bytes()[64 : 64 + 40 * 34], np.uint8).reshape(4, 10 * 34)
    assert [set(r.tolist()) for r in rows] == [{1}, {2}, {3}, {4}]
    assert seen[1:] == [(10, 1.0), (10, 2.0), (10, 3.0), (10, 4.0)]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_weight_that_is_no_number_is_named(tmp_path: Path, bad: float) -> None:
    weights = np.ones((30_000, 32), np.float32)
    weights[20_001, 17] = bad
    made = plan("x.gguf", [Sketch("blk.0.x", Copy("x", weights.shape, "F32"), "Q8_0")])
    said = r"tensor 'blk.0.x': row 20001, column 17 is NaN or infinite, made from 'x' \(the checkpoint is damaged"
    with pytest.raises(WeightError, match=said):
        run([made], Memory({"x": weights}), [tmp_path])
    assert left_over(tmp_path) == ["x.gguf.part", "x.gguf.part.journal"]


def test_empty_tensors_and_scalars(tmp_path: Path) -> None:
    weights = {"none": np.zeros((0, 8), np.float32), "wide": np.zeros((3, 0), np.float32)}
    weights["one"] = np.array([[7]], np.float32)
    tensors = [Sketch(n, Copy(n, weights[n].shape if n != "one" else (), "F32"), "F32") for n in weights]
    made = plan("x.gguf", tensors)
    (result,) = run([made], Memory(weights), [tmp_path])
    assert result.files[0].read_bytes() == expected(made, {n: w.tobytes() for n, w in weights.items()})[0]


def test_an_output_that_exists_is_refused_unless_forced(tmp_path: Path) -> None:
    final = tmp_path / "model.Q8_0.gguf"
    final.write_bytes(b"precious")
    with pytest.raises(OutputError, match=r"exists already \(use --force"):
        run([quantized()], Memory(WEIGHTS), [tmp_path])
    assert left_over(tmp_path) == [final.name]
    assert final.read_bytes() == b"precious"
    run([quantized()], Memory(WEIGHTS), [tmp_path], RunOptions(force=True))
    assert final.read_bytes() == expected(quantized(), QUANTIZED)[0]


def test_an_output_never_replaces_its_source(tmp_path: Path) -> None:
    source = tmp_path / "x.gguf"
    source.write_bytes(b"source")
    facts = source.stat()
    tensors = [Sketch("a", copy("a"), "BF16")]
    made = plan("x.gguf", tensors, sources=[FileIdentity(str(source), facts.st_size, str(facts.st_mtime_ns))])
    with pytest.raises(UsageError, match="is a source of this conversion"):
        run([made], Memory(WEIGHTS), [tmp_path], RunOptions(force=True))
    assert source.read_bytes() == b"source"


def test_a_source_that_changes_is_noticed(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"one")
    facts = source.stat()
    made = plan(
        "x.gguf", [Sketch("a", copy("a"), "BF16")], sources=[FileIdentity(str(source), 3, str(facts.st_mtime_ns))]
    )

    def change() -> None:
        source.write_bytes(b"other")

    memory = Memory(WEIGHTS, before=change)
    with pytest.raises(InputError, match="has changed since"):
        run([made], memory, [tmp_path])
    assert not (tmp_path / "x.gguf").exists()


def test_two_outputs_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="two outputs have this name"):
        run([quantized(), quantized()], Memory(WEIGHTS), [tmp_path, tmp_path])


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"nowhere.*No such file or directory \(make the directory first\)"):
        run([quantized()], Memory(WEIGHTS), [tmp_path / "nowhere"])


def test_a_read_that_fails_names_the_tensor(tmp_path: Path) -> None:
    def fail() -> None:
        raise OSError(5, "Input/output error")

    with pytest.raises(InputError, match=r"tensor 'a': cannot be read: Input/output error"):
        run([plain()], Memory(WEIGHTS, before=fail), [tmp_path], RunOptions(threads=1))


def test_memory_that_runs_out_is_an_answer(tmp_path: Path) -> None:
    def fail() -> None:
        raise MemoryError

    with pytest.raises(QconvError, match="not enough memory"):
        run([plain()], Memory(WEIGHTS, before=fail), [tmp_path])


def test_too_little_memory_is_refused_with_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"too little here \(give at least \d+MB\)"):
        run([plain()], Memory(WEIGHTS), [tmp_path], RunOptions(memory=1_000_000))


def test_threads_that_cannot_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    start = threading.Thread.start
    started: list[str] = []

    def limited(self: threading.Thread) -> None:
        if self.name == "qconv":
            if len(started) >= 2:
                raise RuntimeError("can't start new thread")
            started.append(self.name)
        start(self)

    monkeypatch.setattr(threading.Thread, "start", limited)
    made = quantized()
    (result,) = run([made], Memory(WEIGHTS), [tmp_path], RunOptions(threads=8))
    assert result.files[0].read_bytes() == expected(made, QUANTIZED)[0]

    (tmp_path / "again").mkdir()
    with pytest.raises(QconvError, match="no thread can be started"):
        run([made], Memory(WEIGHTS), [tmp_path / "again"], RunOptions(threads=8))


@pytest.mark.parametrize("threads", [0, -4])
def test_threads_that_are_none(threads: int) -> None:
    with pytest.raises(UsageError, match=f"{threads} threads cannot convert anything"):
        RunOptions(threads=threads)


def test_a_disk_too_small_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    class Full(Disk):
        def free(self, path: Path) -> int:
            return 1000

    with pytest.raises(OutputError, match=r"bytes are needed and 1,000 are free"):
        run([quantized()], Memory(WEIGHTS), [tmp_path], disk=Full())
    assert left_over(tmp_path) == []


def test_values_used_here_are_exact_in_bf16() -> None:
    assert bf16(np.array([1.0, -2.5], np.float32)).tolist() == [0x3F80, 0xC020]


def test_a_tensor_that_is_held_is_read_in_wide_blocks(
    tmp_path: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qconv.pipeline import sizing

    monkeypatch.setattr(sizing, "ROW_BLOCK", 4096)
    shape = WEIGHTS["a"].shape
    made = plan("x.gguf", [Sketch("a", Copy("a", shape, "BF16", row_group=300), "BF16")])
    memory = Memory(WEIGHTS)
    (result,) = run([made], memory, [tmp_path])
    assert memory.reads == 1
    assert result.files[0].read_bytes() == expected(made, QUANTIZED | {"a": WEIGHTS["a"].tobytes()})[0]
