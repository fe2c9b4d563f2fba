"""Packed integers against arithmetic written out here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from qconv import checkpoints
from qconv.errors import FormatError, UnsupportedError
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
    arrays = {
        "a.weight_packed": pack(numbers, bits),
        "a.weight_scale": scale,
        "a.weight_shape": np.array([rows, columns], np.int64),
        "z.norm": p.numbers(4),
    }
    zero = np.full((rows, columns // group), 1 << (bits - 1))
    if asymmetric:
        zero = rng.integers(0, 1 << bits, zero.shape)
        arrays["a.weight_zero_point"] = np.ascontiguousarray(pack(zero.T, bits).T)
    arrays = {name: changes.pop(name, array) for name, array in arrays.items()}
    weights = {"num_bits": bits, "group_size": group, "strategy": "group", "type": "int", "symmetric": not asymmetric}
    groups = {"group_0": {"weights": weights | changes}}
    config = {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": groups}
    (tmp_path / "config.json").write_text(json.dumps({"quantization_config": config}))
    present = {name: array for name, array in arrays.items() if array is not None}
    p.save(tmp_path / "model.safetensors", present, {"a.weight_scale": "BF16"})
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
        ({"a.weight_shape": np.array([-1, 64], np.int64)}, "no whole number of groups"),
        ({"a.weight_shape": np.array([11, 2**62], np.int64)}, "weights need"),
        ({"group_size": 7}, "no whole number of groups of 7"),
        ({"group_size": -1}, "unusable block size"),
    ],
)
def test_parts_that_do_not_fit(tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    folder(tmp_path, 4, 32, **changes)
    with pytest.raises(FormatError, match=complaint):
        checkpoints.open(tmp_path)


OTHER = [{"num_bits": 16}, {"num_bits": None}, {"strategy": "channel"}, {"actorder": "group"}]


@pytest.mark.parametrize("changes", OTHER)
def test_other_packings_are_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    folder(tmp_path, 4, 32, **changes)
    with pytest.raises(UnsupportedError, match="has packed weights of"):
        checkpoints.open(tmp_path)
