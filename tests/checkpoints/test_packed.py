"""Packed integers against arithmetic written out here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from qconv import checkpoints
from qconv.errors import FormatError
from qconv.types import TensorInfo
from tests.checkpoints import packing as p


def pack(numbers: NDArray[Any], bits: int) -> NDArray[np.int32]:
    """Rows of small numbers to rows of words, first number lowest."""
    per_word = 32 // bits
    words = np.zeros((len(numbers), -(-numbers.shape[1] // per_word)), np.uint32)
    for (r, c), number in np.ndenumerate(numbers):
        words[r, c // per_word] |= np.uint32(int(number) << c % per_word * bits)
    return words.view(np.int32)


def folder(
    tmp_path: Path,
    bits: int,
    group: int,
    *,
    asymmetric: bool = False,
    rows: int = 11,
    columns: int = 64,
    **changes: Any,
) -> NDArray[np.float32]:
    rng = np.random.default_rng(bits)
    numbers = rng.integers(0, 1 << bits, (rows, columns))
    scale = (p.numbers(rows, columns // group).view(np.uint32) >> 16).astype(np.uint16)
    arrays: dict[str, Any] = {
        "a.weight_packed": pack(numbers, bits),
        "a.weight_scale": scale,
        "a.weight_shape": np.array([rows, columns], np.int64),
        "z.norm": p.numbers(4),
    }
    zero = np.full((rows, columns // group), 1 << (bits - 1))
    if asymmetric:
        zero = rng.integers(0, 1 << bits, zero.shape)
        arrays["a.weight_zero_point"] = np.ascontiguousarray(pack(zero.T, bits).T)
    arrays |= {name: changes.pop(name) for name in list(changes) if name.startswith("a.")}
    scale = arrays["a.weight_scale"]
    weights = {"num_bits": bits, "group_size": group, "strategy": "group", "type": "int", "symmetric": not asymmetric}
    groups = {"group_0": {"weights": weights | changes}}
    config = {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": groups}
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": config}))
    present = {name: array for name, array in arrays.items() if array is not None}
    p.save(tmp_path / "model.safetensors", present, {"a.weight_scale": "BF16"})
    if scale is None or scale.shape != zero.shape:
        return np.empty(0, np.float32)
    factors = (scale.astype(np.uint32) << 16).view(np.float32)
    expected = np.empty((rows, columns), np.float32)
    for r, c in np.ndindex(rows, columns):
        expected[r, c] = np.float32(int(numbers[r, c]) - int(zero[r, c // group])) * factors[r, c // group]
    return expected


@pytest.mark.parametrize("asymmetric", [False, True])
@pytest.mark.parametrize(("bits", "group"), [(4, 32), (8, 16), (3, 8), (2, 64)])
def test_packed_weights(tmp_path: Path, bits: int, group: int, asymmetric: bool) -> None:
    expected = folder(tmp_path, bits, group, asymmetric=asymmetric)
    with checkpoints.open(tmp_path) as opened:
        assert list(opened.tensors) == ["z.norm", "a.weight"]
        assert opened.tensors["a.weight"] == TensorInfo("a.weight", "F32", (11, 64))
        np.testing.assert_array_equal(opened.read("a.weight", 0, 11), expected)
        buffer = np.empty(5000, np.uint8)
        for start, stop in ((3, 9), (10, 11), (4, 4)):
            np.testing.assert_array_equal(opened.read("a.weight", start, stop, buffer), expected[start:stop])


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"a.weight_scale": None}, "there is no 'a.weight_scale'"),
        ({"a.weight_shape": None}, "there is no 'a.weight_shape'"),
        ({"a.weight_shape": np.array([11], np.int64)}, "does not hold two sizes"),
        ({"a.weight_shape": np.array([12, 64], np.int64)}, "12 x 64 weights need"),
        ({"a.weight_shape": np.array([-1, 64], np.int64)}, "says -1 x 64"),
        ({"a.weight_shape": np.array([11, 2**62], np.int64)}, "says 11 x 4611686018427387904"),
        ({"a.weight_shape": np.array([11, 65], np.int64)}, r"but 11 x 65 weights need I32\[11, 9\] at 4 bits"),
        (
            {"a.weight_scale": np.zeros((11, 3), np.uint16)},
            "is 11 x 3, but 11 x 64 weights in groups of 32 need 11 x 2",
        ),
        ({"a.weight_scale": np.zeros((10, 2), np.uint16)}, "need 11 x 2"),
        ({"a.weight_g_idx": np.zeros(63, np.int32)}, "is I32 63, but 64 columns need as many"),
    ],
)
def test_parts_that_do_not_fit(tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    folder(tmp_path, 4, 32, **changes)
    with pytest.raises(FormatError, match=complaint):
        checkpoints.open(tmp_path)


LIES = [{"num_bits": 16}, {"num_bits": None}, {"num_bits": 2}, {"group_size": 7}, {"strategy": "channel"}]


@pytest.mark.parametrize("changes", LIES)
def test_shapes_outvote_the_config(tmp_path: Path, changes: dict[str, Any]) -> None:
    expected = folder(tmp_path, 4, 32, **changes)
    with checkpoints.open(tmp_path) as opened:
        np.testing.assert_array_equal(opened.read("a.weight", 0, 11), expected)


def test_groups_by_activation_order(tmp_path: Path) -> None:
    """``actorder: group``: each column names its group."""
    order = np.random.default_rng(1).permutation(np.arange(64) // 32).astype(np.int32)
    ones: dict[str, Any] = {"actorder": "group", "a.weight_scale": np.full((11, 2), 0x3F80, np.uint16)}
    plain = folder(tmp_path, 4, 32, **ones)
    scale = (p.numbers(11, 2).view(np.uint32) >> 16).astype(np.uint16)
    folder(tmp_path, 4, 32, **ones | {"a.weight_scale": scale, "a.weight_g_idx": order})
    factors = (scale.astype(np.uint32) << 16).view(np.float32)
    with checkpoints.open(tmp_path) as opened:
        assert list(opened.tensors) == ["z.norm", "a.weight"]
        np.testing.assert_array_equal(opened.read("a.weight", 2, 9), (plain * factors[:, order])[2:9])


@pytest.mark.parametrize("wrong", [2, -1])
def test_groups_that_do_not_exist(tmp_path: Path, wrong: int) -> None:
    changes: dict[str, Any] = {"a.weight_g_idx": np.array([0] * 40 + [wrong] * 24, np.int32)}
    folder(tmp_path, 4, 32, **changes)
    complaint = rf"'a.weight_g_idx': puts column 40 into group {wrong}, and there are 2"
    with checkpoints.open(tmp_path) as opened, pytest.raises(FormatError, match=complaint):
        opened.read("a.weight", 0, 1)
