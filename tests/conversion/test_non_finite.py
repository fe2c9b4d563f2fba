"""NaN and infinity outside encoded matrices, and weights that 16 bits do not hold.

llama-quantize refuses a file with either in any tensor ("tensor 'X' has invalid data"); llama.cpp's converter writes
them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from qconv import blocks
from qconv.errors import WeightError
from qconv.options import Part, RunOptions
from qconv.plan import NonFinite
from tests.conversion.fakes import Copy, Memory, Sketch, Watcher, bf16, plan, run

PLACE = (20_001, 17)
KINDS: dict[str, Any] = {"F32": np.float32, "F16": np.float16}


def weights(dtype: str, bad: float) -> NDArray[Any]:
    rows = np.ones((30_000, 32), np.float32)
    rows[PLACE] = bad
    return bf16(rows) if dtype == "BF16" else rows.astype(KINDS[dtype])


def convert(tmp_path: Path, rows: NDArray[Any], dtype: str, wanted: str, non_finite: NonFinite) -> bytes:
    made = plan("x.gguf", [Sketch("norm", Copy("x", rows.shape, dtype), wanted)], non_finite=non_finite)
    (result,) = run([made], Memory({"x": rows}), [tmp_path], RunOptions(threads=2, force=True))
    return result.files[0].read_bytes()[64 : 64 + rows.size * {"F32": 4}.get(wanted, 2)]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("wanted", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_copies_and_conversions_are_checked(tmp_path: Path, dtype: str, wanted: str, bad: float) -> None:
    said = (
        r"tensor 'norm': row 20001, column 17 is NaN or infinite, made from 'x' \(the checkpoint is damaged: [^;]*\)$"
    )
    with pytest.raises(WeightError, match=said):
        convert(tmp_path, weights(dtype, bad), dtype, wanted, "refuse")


def test_where_they_may_be_kept_the_error_says_how(tmp_path: Path) -> None:
    with pytest.raises(WeightError, match="; --allow-non-finite keeps it"):
        convert(tmp_path, weights("F16", np.inf), "F16", "F16", "ask")


@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_they_are_kept_when_asked_for(tmp_path: Path, dtype: str) -> None:
    rows = weights(dtype, np.inf)
    assert convert(tmp_path, rows, dtype, dtype, "keep") == rows.tobytes()
    made = np.frombuffer(convert(tmp_path, rows, dtype, "F16", "keep"), np.float16).reshape(rows.shape)
    assert np.argwhere(~np.isfinite(made)).tolist() == [list(PLACE)]


@pytest.mark.parametrize("dtype", ["F32", "BF16"])
def test_what_f16_does_not_hold_is_told(tmp_path: Path, dtype: str) -> None:
    """Up to 65519.99 is rounded down to the greatest F16, 65504; the rest is infinite."""
    rows = np.ones((30_000, 32), np.float32)
    rows[3, 1], rows[29_000, 2], rows[5, 5] = -70144, 1 << 20, 65280
    source = bf16(rows) if dtype == "BF16" else rows
    made = plan("x.gguf", [Sketch("w", Copy("x", rows.shape, dtype), "F16")], non_finite="ask")
    watcher = Watcher()
    (result,) = run([made], Memory({"x": source}), [tmp_path], progress=watcher)
    expected = "tensor 'w': 2 weights are too large for F16 and became infinite (the greatest is 1.04858e+06)"
    assert [note.split(";")[0] for note in watcher.notes] == [expected]
    assert result.warnings == tuple(watcher.notes)
    written = np.frombuffer(result.files[0].read_bytes()[64 : 64 + rows.size * 2], np.float16).reshape(rows.shape)
    with np.errstate(over="ignore"):
        assert written.tobytes() == rows.astype(np.float16).tobytes()


def test_each_part_tells_of_its_own(tmp_path: Path) -> None:
    rows = np.full((64, 32), 1e5, np.float32)
    made = plan("x.gguf", [Sketch("w", Copy("x", rows.shape, "F32"), "F16")], non_finite="ask")
    notes = []
    for number in (1, 2):
        watcher = Watcher()
        run([made], Memory({"x": rows}), [tmp_path], RunOptions(part=Part(number, 2)), watcher)
        notes += watcher.notes
    assert [note.split(" too large")[0] for note in notes] == ["tensor 'w': 1,024 weights are"] * 2


def test_rounding_before_encoding(tmp_path: Path) -> None:
    """llama.cpp's F16 file would hold infinity, which llama-quantize refuses: the weight itself is named."""
    rows = np.ones((40, 32), np.float32)
    rows[7, 3] = 70_000
    made = plan("x.gguf", [Sketch("w", Copy("x", rows.shape, "F32"), "Q8_0", "F16")])
    with pytest.raises(WeightError, match=r"tensor 'w': row 7, column 3 is 70000, which F16 does not hold.*\(the chec"):
        run([made], Memory({"x": rows}), [tmp_path])


def test_a_quantized_file_holds_no_infinity_where_rows_fit_no_block(tmp_path: Path) -> None:
    rows = np.ones((40, 30), np.float32)
    rows[7, 3] = 70_000
    made = plan("x.gguf", [Sketch("w", Copy("x", rows.shape, "F32"), "F16")], non_finite="refuse")
    with pytest.raises(WeightError, match=r"tensor 'w': holds 70000, too large for F16 .*--tensor-type NAME=f32"):
        run([made], Memory({"x": rows}), [tmp_path])


SCALES = [
    *[("Q8_0", 34, 0, value) for value in (b"\x00\x7c", b"\x01\xfc", b"\xff\x7f")],
    ("Q4_1", 20, 2, b"\x00\x7e"),
    ("Q6_K", 210, 208, b"\x00\xfc"),
    ("MXFP4", 17, 0, b"\xff"),
    ("NVFP4", 36, 3, b"\x7f"),
]
"""A type, the bytes of its blocks, and where in one lies what is not a number (ggml-common.h)."""


@pytest.mark.parametrize(("block_type", "width", "offset", "value"), SCALES)
def test_scales_of_blocks_that_are_copied(block_type: str, width: int, offset: int, value: bytes) -> None:
    rows = np.zeros((5, 3 * width), np.uint8)
    assert blocks.first_without_number(block_type, rows) is None
    start = width + offset
    rows[3, start : start + len(value)] = np.frombuffer(value, np.uint8)
    assert blocks.first_without_number(block_type, rows) == 3
    assert np.isfinite(blocks.decode(block_type, rows[:3])).all()


@pytest.mark.parametrize("shape", [(0, 8), (3, 0), ()])
def test_empty_tensors_and_scalars_are_finite(tmp_path: Path, shape: tuple[int, ...]) -> None:
    rows = np.ones(shape or (1, 1), np.float32)
    made = plan("x.gguf", [Sketch("w", Copy("x", shape, "F32"), "F32")])
    (result,) = run([made], Memory({"x": rows}), [tmp_path])
    assert result.files[0].stat().st_size == made.size
