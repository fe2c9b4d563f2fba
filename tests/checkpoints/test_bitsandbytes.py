"""What bitsandbytes' files may say that cannot be; what they mean is in ``test_quantized.py``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qconv import checkpoints
from qconv.errors import FormatError, UnsupportedError
from tests.checkpoints import packing

STATE = {"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [4, 64]}
NESTED = {"nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": 0.5}
DELETE = object()


def folder(tmp_path: Path, state: Any = STATE, **changes: Any) -> Path:
    arrays: dict[str, Any] = {
        "a.weight": np.arange(128, dtype=np.uint8).reshape(128, 1),
        "a.weight.absmax": np.ones(4, np.float32),
        "a.weight.quant_map": np.linspace(-1, 1, 16, dtype=np.float32),
        "a.weight.quant_state.bitsandbytes__nf4": state if isinstance(state, np.ndarray) else text(json.dumps(state)),
    }
    arrays |= {f"a.{name}": array for name, array in changes.items()}
    present = {name: array for name, array in arrays.items() if array is not DELETE}
    packing.save(tmp_path / "model.safetensors", present)
    (tmp_path / "config.json").write_text('{"quantization_config": {"load_in_4bit": true}}')
    return tmp_path


def text(words: str) -> Any:
    return np.frombuffer(words.encode(), np.uint8)


def test_sixteen_values_times_a_scale(tmp_path: Path) -> None:
    """By hand: the upper half of a byte is the even weight, a block of 64 is a row here."""
    absmax = np.array([1, 2, 4, 0.5], np.float32)
    folder(tmp_path, **{"weight.absmax": absmax})
    table = np.linspace(-1, 1, 16, dtype=np.float32)
    expected = [[table[i // 2 >> 4 if i % 2 == 0 else i // 2 & 15] * absmax[i // 64] for i in range(256)]]
    with checkpoints.open(tmp_path) as opened:
        assert list(opened.tensors) == ["a.weight"]
        np.testing.assert_array_equal(opened.read("a.weight", 0, 4).reshape(1, 256), expected)


@pytest.mark.parametrize(
    ("state", "changes", "complaint"),
    [
        (STATE, {"weight.absmax": np.ones(3, np.float32)}, "'a.weight.absmax': is F32 3, but 'a.weight' needs F32 4"),
        (STATE, {"weight.absmax": np.ones(4, np.uint8)}, "is U8 4, but 'a.weight' needs F32 4"),
        (STATE, {"weight.quant_map": np.ones(15, np.float32)}, "'a.weight.quant_map': is F32 15"),
        (STATE, {"weight.quant_map": DELETE}, "there is no 'a.weight.quant_map'"),
        (STATE, {"weight.quant_state.bitsandbytes__nf4": DELETE}, "there is no 'a.weight.quant_state"),
        (STATE | {"shape": [4, 65]}, {}, "holds 256 numbers of 4 bits, but 'a.weight.quant_state.*' says 4 x 65"),
        (STATE | {"shape": [1 << 39, 1 << 39]}, {}, "holds 256 numbers"),
        (STATE | {"shape": [-4, -64]}, {}, r"says the shape \[-4, -64\]"),
        (STATE | {"shape": None}, {}, "says the shape None"),
        (STATE | {"blocksize": 0}, {}, "says blocksize 0"),
        (STATE | {"blocksize": 63}, {}, "says blocksize 63"),
        (STATE | {"blocksize": "64"}, {}, "says blocksize 64"),
        (STATE | {"blocksize": 1 << 40}, {}, "says blocksize"),
        (text("[1]"), {}, "is not a JSON object"),
        (text("{"), {}, "is not valid JSON"),
        (np.zeros(1 << 17, np.uint8), {}, "not a short text"),
        (STATE, {"weight.nested_absmax": np.ones(1, np.float32)}, "there is no 'a.weight.nested_quant_map'"),
    ],
)
def test_parts_that_do_not_fit(tmp_path: Path, state: Any, changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(FormatError, match=complaint) as caught:
        checkpoints.open(folder(tmp_path, state, **changes))
    assert caught.value.tensor is not None


@pytest.mark.parametrize(
    ("state", "changes", "complaint"),
    [
        ({"nested_offset": "0"}, {}, "says nested_offset 0"),
        ({"nested_offset": None}, {}, "says nested_offset None"),
        ({"nested_blocksize": -2}, {}, "says nested_blocksize -2"),
        ({"nested_blocksize": 2}, {}, "'a.weight.nested_absmax': is F32 1, but 'a.weight' needs F32 2"),
        ({}, {"weight.absmax": np.ones(4, np.float32)}, "is F32 4, but 'a.weight' needs U8 4"),
        ({}, {"weight.nested_quant_map": np.ones(16, np.float32)}, "is F32 16, but 'a.weight' needs F32 256"),
    ],
)
def test_nested_parts_that_do_not_fit(
    tmp_path: Path, state: dict[str, Any], changes: dict[str, Any], complaint: str
) -> None:
    nested: dict[str, Any] = {
        "weight.absmax": np.ones(4, np.uint8),
        "weight.nested_absmax": np.ones(1, np.float32),
        "weight.nested_quant_map": np.ones(256, np.float32),
    }
    with pytest.raises(FormatError, match=complaint):
        checkpoints.open(folder(tmp_path, STATE | NESTED | state, **nested | changes))


def eight(tmp_path: Path, **changes: Any) -> Path:
    arrays: dict[str, Any] = {
        "a.weight": np.ones((3, 8), np.int8),
        "a.SCB": np.ones(3, np.float32),
        "a.weight_format": np.zeros((), np.uint8),
    }
    packing.save(tmp_path / "model.safetensors", arrays | {f"a.{name}": array for name, array in changes.items()})
    (tmp_path / "config.json").write_text('{"quantization_config": {"quant_method": "bitsandbytes"}}')
    return tmp_path


def test_old_tilings_of_eight_bits_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"'a\.weight': is tiled for one kind of GPU") as caught:
        checkpoints.open(eight(tmp_path, weight_format=np.ones((), np.uint8)))
    assert caught.value.hint


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"SCB": np.ones(4, np.float32)}, "'a.SCB': is F32 4, but 'a' needs F32 3"),
        ({"SCB": np.ones(3, np.int64)}, "'a.SCB': is I64 3"),
        ({"weight_format": np.zeros(2, np.uint8)}, "'a.weight_format': does not hold one number"),
        ({"weight": np.ones((3, 8), np.float32)}, "'a.weight': has the scales of 8 bits, but is F32 3 x 8"),
    ],
)
def test_scales_of_eight_bits_that_do_not_fit(tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(FormatError, match=complaint):
        checkpoints.open(eight(tmp_path, **changes))


def test_bytes_without_their_scales(tmp_path: Path) -> None:
    folder(tmp_path, **{"b.weight": np.zeros((8, 1), np.uint8)})
    with pytest.raises(FormatError, match=r"tensor 'a\.b\.weight': is U8, but there is no 'a\.b\.weight\.absmax'"):
        checkpoints.open(tmp_path)
