"""GPTQ's and AWQ's parts that do not fit, and what a lost config leaves open; ``test_quantized.py`` has the layouts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qconv import checkpoints
from qconv.errors import FormatError, UnsupportedError
from tests.checkpoints import packing

DELETE = object()
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 32}


def folder(tmp_path: Path, config: dict[str, Any] | None = None, **changes: Any) -> Path:
    """64 inputs in two groups, 32 outputs; every code is 9, every zero point stored as 7."""
    arrays: dict[str, Any] = {
        "qweight": np.full((8, 32), 0x99999999, np.uint32).view(np.int32),
        "qzeros": np.full((2, 4), 0x77777777, np.int32),
        "scales": np.ones((2, 32), np.float16),
        "g_idx": (np.arange(64) // 32).astype(np.int32),
    }
    arrays |= changes
    present = {f"a.{name}": array for name, array in arrays.items() if array is not DELETE}
    packing.save(tmp_path / "model.safetensors", present)
    (tmp_path / "config.json").write_text(json.dumps({} if config is None else {"quantization_config": config}))
    return tmp_path


def read(tmp_path: Path) -> Any:
    with checkpoints.open(tmp_path) as opened:
        assert list(opened.tensors) == ["a.weight"]
        return opened.read("a.weight", 0, 32)


@pytest.mark.parametrize(("form", "zero"), [("gptq", 8), ("gptq_v2", 7), ("auto_round:gptqmodel", 7)])
def test_versions_differ_by_one(tmp_path: Path, form: str, zero: int) -> None:
    folder(tmp_path, GPTQ | {"checkpoint_format": form})
    np.testing.assert_array_equal(read(tmp_path), np.full((32, 64), 9 - zero, np.float32))


def test_a_zero_point_of_zero_is_stored_as_all_ones(tmp_path: Path) -> None:
    """Version 1 stores zero less one, which wraps within its bits: 15, and not 16, is a zero point of 0."""
    folder(tmp_path, GPTQ, qzeros=np.full((2, 4), -1, np.int32))
    np.testing.assert_array_equal(read(tmp_path), np.full((32, 64), 9, np.float32))


@pytest.mark.parametrize(("stored", "zero"), [(0x77777777, 8), (0x88888888, 8), (0x12345678, None)])
def test_symmetric_zero_points_tell_the_version_when_the_config_is_lost(tmp_path: Path, stored: int, zero: Any) -> None:
    folder(tmp_path, qzeros=np.full((2, 4), stored, np.uint32).view(np.int32))
    expected = [9 - zero] if zero is not None else [9 - (stored >> 4 * (i % 8) & 15) - 1 for i in range(32)]
    np.testing.assert_array_equal(read(tmp_path)[:, 0], np.broadcast_to(expected, 32))


def test_a_pattern_that_overrides_bits_follows_from_shapes(tmp_path: Path) -> None:
    """``dynamic`` gave this module 8 bits; the config's own bits are 4."""
    folder(
        tmp_path,
        GPTQ | {"dynamic": {"+:a": {"bits": 8}}},
        qweight=np.full((16, 32), 0x05050505, np.int32),
        qzeros=np.full((2, 8), 0x02020202, np.int32),
    )
    np.testing.assert_array_equal(read(tmp_path), np.full((32, 64), 2, np.float32))


def test_old_settings_beside_the_config(tmp_path: Path) -> None:
    folder(tmp_path, g_idx=DELETE)
    (tmp_path / "quantize_config.json").write_text(json.dumps({"bits": 4, "group_size": 32, "desc_act": False}))
    np.testing.assert_array_equal(read(tmp_path), np.full((32, 64), 1, np.float32))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"qzeros": DELETE}, r"tensor 'a\.qweight': is packed, but there is no 'a\.qzeros'"),
        ({"scales": DELETE}, r"there is no 'a\.scales'"),
        ({"scales": np.ones((2, 31), np.float16)}, r"tensor 'a\.scales': is 2 x 31, but there are 32 outputs"),
        ({"scales": np.ones((3, 32), np.float16)}, r"tensor 'a\.qzeros': is 2 x 4, which does not fit 3 groups of 32"),
        ({"scales": np.ones((2, 32), np.int32)}, "is I32, which scales are not"),
        ({"qzeros": np.zeros((2, 9), np.int32)}, r"tensor 'a\.qzeros': is 2 x 9, which does not fit 2 groups of 32"),
        ({"qweight": np.zeros((9, 32), np.int32)}, r"tensor 'a\.g_idx': is I32 64, but 72 columns need"),
        ({"qweight": np.zeros((8, 32), np.int64)}, "is I64 8 x 32, not a matrix of I32"),
        ({"g_idx": np.zeros(65, np.int32)}, r"tensor 'a\.g_idx': is I32 65"),
        ({"g_idx": np.zeros((64, 1), np.int32)}, r"tensor 'a\.g_idx': is I32 64 x 1"),
    ],
)
def test_parts_of_gptq_that_do_not_fit(tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(FormatError, match=complaint):
        checkpoints.open(folder(tmp_path, GPTQ, **changes))


@pytest.mark.parametrize("wrong", [-1, 2, 2**31 - 1])
def test_groups_out_of_range(tmp_path: Path, wrong: int) -> None:
    order = np.array([0] * 40 + [wrong] * 24, np.int32)
    with pytest.raises(FormatError, match=rf"tensor 'a\.g_idx': puts column 40 into group {wrong}, and there are 2"):
        read(folder(tmp_path, GPTQ, g_idx=order))


def test_the_config_says_gptq_and_the_tensors_awq(tmp_path: Path) -> None:
    folder(tmp_path, GPTQ, **PARTS)
    with checkpoints.open(tmp_path) as opened:
        assert opened.notes == ("the config says 'gptq', but the weights are quantized by 'awq'",)


@pytest.mark.parametrize("form", ["marlin", "bitblas", "qqq"])
def test_layouts_of_one_kernel_are_refused(tmp_path: Path, form: str) -> None:
    with pytest.raises(UnsupportedError, match=f"by GPTQ in the format '{form}'"):
        checkpoints.open(folder(tmp_path, GPTQ | {"checkpoint_format": form}))


AWQ = {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm"}
PARTS = {"qweight": np.zeros((64, 4), np.int32), "g_idx": DELETE}


def test_awq_without_zero_points_is_symmetric(tmp_path: Path) -> None:
    words = np.full((64, 4), 0x99999999, np.uint32).view(np.int32)
    folder(tmp_path, AWQ | {"zero_point": False}, **PARTS | {"qzeros": DELETE, "qweight": words})
    np.testing.assert_array_equal(read(tmp_path), np.full((32, 64), 1, np.float32))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"scales": DELETE}, r"there is no 'a\.scales'"),
        ({"scales": np.ones((2, 31), np.float16)}, "is 2 x 31, which does not fit 64 inputs and 32 outputs"),
        ({"scales": np.ones((3, 32), np.float16)}, "is 3 x 32, which does not fit 64 inputs"),
        ({"qzeros": np.zeros((3, 4), np.int32)}, r"tensor 'a\.qzeros': is 3 x 4, but 2 x 32 scales need 2 x 4"),
        ({"qzeros": np.zeros((2, 4), np.int64)}, "is I64 2 x 4, not a matrix of I32"),
        ({"qzeros": np.zeros((64, 4), np.int32)}, "has as many zero points as weights"),
        ({"qzeros": np.zeros((64, 1), np.int32)}, "is 2 x 32, which does not fit 64 outputs"),
    ],
)
def test_parts_of_awq_that_do_not_fit(tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(FormatError, match=complaint):
        checkpoints.open(folder(tmp_path, AWQ, **PARTS | changes))


@pytest.mark.parametrize(
    ("config", "changes"),
    [({"version": "marlin"}, {}), ({"bits": 8}, {})],
)
def test_other_awq_is_refused(tmp_path: Path, config: dict[str, Any], changes: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError, match="is quantized by AWQ"):
        checkpoints.open(folder(tmp_path, AWQ | config, **PARTS | changes))


FAST = {"qweight": np.zeros((4, 128), np.int16), "g_idx": DELETE}
FAST |= {"qzeros": np.zeros((8, 16), np.float16), "scales": np.ones((8, 16), np.float16)}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"qweight": np.zeros((4, 96), np.int16)}, "is I16 4 x 96, not a matrix of I16 in chunks of 64 columns"),
        ({"qweight": np.zeros((4, 2, 64), np.int16)}, "is I16 4 x 2 x 64, not a matrix"),
        ({"scales": np.ones((8, 15), np.float16)}, r"tensor 'a\.scales': is 8 x 15, which does not fit 16 outputs"),
        ({"scales": np.ones((3, 16), np.float16)}, "is 3 x 16, which does not fit 16 outputs in 4 groups"),
        ({"qzeros": np.zeros((7, 16), np.float16)}, "is 8 x 16, which does not fit 16 outputs"),
    ],
)
def test_parts_of_the_first_awq_that_do_not_fit(tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(FormatError, match=complaint):
        checkpoints.open(folder(tmp_path, AWQ | {"version": "gemv_fast"}, **FAST | changes))
