"""8-bit floats and their scales against arithmetic written out here."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from qconv import checkpoints
from qconv.errors import FormatError, UnsupportedError
from qconv.types import TensorInfo
from tests.checkpoints import packing as p

Arrays = dict[str, NDArray[Any]]


def e4m3(code: int) -> float:
    """OCP E4M3: sign, 4 bits of exponent (bias 7), 3 of mantissa; no infinity, NaN is all ones."""
    sign, exponent, mantissa = code >> 7, code >> 3 & 15, code & 7
    if exponent == 15 and mantissa == 7:
        return math.nan
    size = mantissa / 8 * 2**-6 if exponent == 0 else (1 + mantissa / 8) * 2 ** (exponent - 7)
    return -size if sign else size


def e5m2(code: int) -> float:
    sign, exponent, mantissa = code >> 7, code >> 2 & 31, code & 3
    if exponent == 31:
        return math.nan if mantissa else (-math.inf if sign else math.inf)
    size = mantissa / 4 * 2**-14 if exponent == 0 else (1 + mantissa / 4) * 2 ** (exponent - 15)
    return -size if sign else size


def e8m0(code: int) -> float:
    return math.nan if code == 255 else 2.0 ** (code - 127)


def folder(
    tmp_path: Path,
    arrays: Arrays,
    quantization: dict[str, Any] | None,
    dtypes: dict[str, str] | None = None,
) -> Path:
    config: dict[str, Any] = {"architectures": ["LlamaForCausalLM"]}
    if quantization is not None:
        config["quantization_config"] = quantization
    (tmp_path / "config.json").write_text(json.dumps(config))
    codes = {name: "F8_E4M3" for name, array in arrays.items() if array.dtype == np.uint8}
    p.save(tmp_path / "model.safetensors", arrays, codes | (dtypes or {}))
    return tmp_path


def codes(*shape: int, seed: int = 0) -> NDArray[np.uint8]:
    """All codes but NaN's."""
    drawn = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    return np.where((drawn & 127) == 127, 0, drawn).astype(np.uint8)


def decoded(array: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.array([e4m3(int(c)) for c in array.ravel()], np.float32).reshape(array.shape)


@pytest.mark.parametrize(("dtype", "decode"), [("F8_E4M3", e4m3), ("F8_E5M2", e5m2), ("F8_E8M0", e8m0)])
def test_every_code(tmp_path: Path, dtype: str, decode: Callable[[int], float]) -> None:
    every = np.arange(256, dtype=np.uint8).reshape(2, 128)
    folder(tmp_path, {"w": every}, None, {"w": dtype})
    with checkpoints.open(tmp_path) as opened:
        assert opened.tensors["w"] == TensorInfo("w", "F32", (2, 128))
        assert opened.stored["w"].location.info == TensorInfo("w", dtype, (2, 128))
        rows = opened.read("w", 0, 2)
    expected = np.array([decode(code) for code in range(256)], np.float32).reshape(2, 128)
    assert rows.view(np.uint32).tolist() == np.where(np.isnan(expected), rows, expected).view(np.uint32).tolist()
    np.testing.assert_array_equal(np.isnan(rows), np.isnan(expected))


@pytest.mark.parametrize(("rows", "columns"), [(4, 8), (5, 8), (4, 10), (7, 3), (1, 1)])
def test_block_scales(tmp_path: Path, rows: int, columns: int) -> None:
    """``weight_block_size`` [2, 4], also where the tensor is not a multiple of it."""
    weight, scale = codes(rows, columns), p.numbers(-(-rows // 2), -(-columns // 4))
    arrays: Arrays = {
        "a.weight": weight,
        "a.weight_scale_inv": scale,
        "a.activation_scale": p.numbers(1),
        "norm": p.numbers(4),
    }
    folder(tmp_path, arrays, {"quant_method": "fp8", "weight_block_size": [2, 4]})
    expected = decoded(weight)
    for r in range(rows):
        for c in range(columns):
            expected[r, c] *= scale[r // 2, c // 4]
    with checkpoints.open(tmp_path) as opened:
        assert list(opened.tensors) == ["a.weight", "norm"]
        assert list(opened.stored) == ["a.activation_scale", "a.weight", "a.weight_scale_inv", "norm"]
        assert opened.tensors["a.weight"].dtype == "F32"
        np.testing.assert_array_equal(opened.read("a.weight", 0, rows), expected)
        buffer = np.empty(rows * columns * 4, np.uint8)
        for row in range(rows):
            read = opened.read("a.weight", row, row + 1, buffer)
            assert np.shares_memory(read, buffer)
            np.testing.assert_array_equal(read[0], expected[row])
        np.testing.assert_array_equal(opened.read("norm", 0, 1)[0], arrays["norm"])


def test_block_scales_of_stacked_experts(tmp_path: Path) -> None:
    weight, scale = codes(3, 5, 8), p.numbers(3, 3, 2)
    folder(tmp_path, {"e": weight, "e_scale_inv": scale}, {"quant_method": "fp8", "weight_block_size": [2, 4]})
    expected = decoded(weight)
    for e, r, c in np.ndindex(3, 5, 8):
        expected[e, r, c] *= scale[e, r // 2, c // 4]
    with checkpoints.open(tmp_path) as opened:
        np.testing.assert_array_equal(opened.read("e", 4, 11), expected.reshape(15, 8)[4:11])


@pytest.mark.parametrize("shape", [(), (1,), (6, 1), (6,), (1, 1)])
@pytest.mark.parametrize("block", [None, [128, 128]])
def test_scales_of_tensors_and_channels(tmp_path: Path, shape: tuple[int, ...], block: Any) -> None:
    weight, scale = codes(6, 9), np.asarray(p.numbers(*shape) if shape else np.float32(0.3))
    if block and len(shape) == 2:
        scale = scale[:1]
    config = {"quant_method": "fp8", "weight_block_size": block}
    folder(tmp_path, {"a.weight": weight, "a.weight_scale_inv": scale}, config)
    factors = scale.reshape(-1, 1) if scale.size == 6 else scale.reshape(-1)[0]
    with checkpoints.open(tmp_path) as opened:
        np.testing.assert_array_equal(opened.read("a.weight", 2, 6), (decoded(weight) * factors)[2:])


def test_what_overflows_is_infinite(tmp_path: Path) -> None:
    weight, scale = np.full((1, 2), 0x7E, np.uint8), np.array([3e38], np.float32)  # 448
    folder(tmp_path, {"a.weight": weight, "a.weight_scale_inv": scale}, {"quant_method": "fp8"})
    with checkpoints.open(tmp_path) as opened:
        assert np.isposinf(opened.read("a.weight", 0, 1)).all()


def test_bfloat16_scales_and_mistrals_names(tmp_path: Path) -> None:
    weight = codes(4, 8)
    scale = (p.numbers(1).view(np.uint32) >> 16).astype(np.uint16)
    arrays: Arrays = {"a.weight": weight, "a.qscale_weight": scale, "a.qscale_act": p.numbers(1)}
    folder(tmp_path, arrays, {"quant_method": "fp8"}, {"a.qscale_weight": "BF16"})
    factor = (scale.astype(np.uint32) << 16).view(np.float32)
    with checkpoints.open(tmp_path) as opened:
        assert list(opened.tensors) == ["a.weight"]
        np.testing.assert_array_equal(opened.read("a.weight", 0, 4), decoded(weight) * factor)


@pytest.mark.parametrize(("kind", "strategy"), [("float-quantized", "channel"), ("int-quantized", "channel")])
def test_compressed_tensors(tmp_path: Path, kind: str, strategy: str) -> None:
    bits, scale = codes(4, 8), p.numbers(4, 1)
    weight: NDArray[Any] = bits if kind == "float-quantized" else bits.view(np.int8)
    groups = {"group_0": {"weights": {"strategy": strategy, "num_bits": 8, "symmetric": True, "group_size": None}}}
    config = {"quant_method": "compressed-tensors", "format": kind, "config_groups": groups}
    folder(tmp_path, {"a.weight": weight, "a.weight_scale": scale, "a.input_scale": p.numbers(1)}, config)
    plain = decoded(bits) if kind == "float-quantized" else weight.astype(np.float32)
    with checkpoints.open(tmp_path) as opened:
        assert list(opened.tensors) == ["a.weight"]
        np.testing.assert_array_equal(opened.read("a.weight", 0, 4), plain * scale)


def test_modelopt_fp8(tmp_path: Path) -> None:
    arrays: Arrays = {"a.weight": codes(4, 8), "a.weight_scale": p.numbers(1), "a.k_scale": p.numbers(1)}
    folder(tmp_path, arrays, {"quant_method": "modelopt", "quant_algo": "FP8"})
    with checkpoints.open(tmp_path) as opened:
        expected = decoded(arrays["a.weight"]) * arrays["a.weight_scale"]
        np.testing.assert_array_equal(opened.read("a.weight", 0, 4), expected)


@pytest.mark.parametrize("config", [{"quant_method": "mxfp4"}, None])
def test_mxfp4_stays_as_it_is(tmp_path: Path, config: dict[str, Any] | None) -> None:
    arrays: Arrays = {"e_blocks": codes(2, 3, 16), "e_scales": codes(2, 3)}
    folder(tmp_path, arrays, config, dict.fromkeys(arrays, "U8"))
    with checkpoints.open(tmp_path) as opened:
        assert {t.dtype for t in opened.tensors.values()} == {"U8"}
        np.testing.assert_array_equal(opened.read("e_scales", 0, 2), arrays["e_scales"])


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"quant_method": "quanto"}, "is quantized by 'quanto', and qconv does not undo Quanto's packings"),
        ({"quant_method": "vptq"}, "is quantized by 'vptq', and qconv does not undo its codebooks"),
        ({"quant_method": "fastest_4_bits"}, "is quantized by 'fastest_4_bits'; qconv reads"),
        ({"quant_method": ["fp8"]}, "is quantized by"),
        ({"quant_method": "compressed-tensors", "format": "sparse-bitmask"}, "in the format 'sparse-bitmask'"),
    ],
)
def test_other_quantizations_are_refused_by_name(tmp_path: Path, config: dict[str, Any], complaint: str) -> None:
    scale = p.numbers(4, 1)
    folder(
        tmp_path,
        {"a.weight": codes(4, 8), "a.weight_scale": scale} if "format" in config else {"a.weight": codes(4, 8)},
        config,
    )
    with pytest.raises(UnsupportedError, match=complaint) as caught:
        checkpoints.open(tmp_path)
    assert caught.value.hint
    assert caught.value.file == str(tmp_path)


def test_a_quantization_without_a_method_is_none(tmp_path: Path) -> None:
    folder(tmp_path, {"a.weight": codes(4, 8)}, {"quant_method": None, "bits": 8})
    with checkpoints.open(tmp_path) as opened:
        assert list(opened.tensors) == ["a.weight"]


def test_a_text_models_quantization_counts(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"text_config": {"quantization_config": {"quant_method": "quanto"}}}')
    p.save(tmp_path / "model.safetensors", {"w": np.zeros((2, 2), np.uint8)})
    with pytest.raises(UnsupportedError, match="'quanto'"):
        checkpoints.open(tmp_path)


@pytest.mark.parametrize("shape", [(1, 1), (3, 2), (2, 3, 2), (2, 1)])
def test_scales_that_do_not_fit(tmp_path: Path, shape: tuple[int, ...]) -> None:
    arrays: Arrays = {"a.weight": codes(4, 8), "a.weight_scale_inv": p.numbers(*shape)}
    folder(tmp_path, arrays, {"quant_method": "fp8", "weight_block_size": [2, 4]})
    if shape == (3, 2):  # more than enough: the rest is padding
        checkpoints.open(tmp_path).close()
        return
    with pytest.raises(FormatError, match=r"tensor 'a.weight_scale_inv': has the shape"):
        checkpoints.open(tmp_path)


@pytest.mark.parametrize("block", [0, [], [0, 4], ["2", 4], {"a": 1}, [10**30, 4]])
def test_unusable_block_sizes(tmp_path: Path, block: Any) -> None:
    arrays: Arrays = {"a.weight": codes(4, 8), "a.weight_scale_inv": p.numbers(2, 2)}
    folder(tmp_path, arrays, {"quant_method": "fp8", "weight_block_size": block})
    with pytest.raises(FormatError, match="unusable block size"):
        checkpoints.open(tmp_path)


def test_a_scale_without_weights(tmp_path: Path) -> None:
    folder(tmp_path, {"a.weight_scale_inv": p.numbers(2, 2)}, {"quant_method": "fp8"})
    with pytest.raises(FormatError, match=r"is a scale, but there is no 'a.weight'"):
        checkpoints.open(tmp_path)


@pytest.mark.parametrize("method", ["compressed-tensors", "modelopt", "fp8"])
def test_parameters_that_are_only_called_scales(tmp_path: Path, method: str) -> None:
    """Gemma 3n's and 4's."""
    end = "a.weight_scale_inv" if method == "fp8" else "a.weight_scale"
    arrays: Arrays = {"a.weight": np.full((2, 4), 0x38, np.uint8), end: np.full(1, 3, np.float32)}
    arrays |= {"altup.correct_output_scale": p.numbers(4), "router.per_expert_scale": p.numbers(4)}
    arrays |= {"router.scale": p.numbers(4), "router.proj.weight": p.numbers(2, 4)}
    folder(tmp_path, arrays, {"quant_method": method})
    with checkpoints.open(tmp_path) as opened:
        np.testing.assert_array_equal(opened.read("a.weight", 0, 2), np.full((2, 4), 3))
        for name in set(arrays) - {"a.weight", end}:
            np.testing.assert_array_equal(opened.read(name, 0, 1)[0], np.atleast_2d(arrays[name])[0])


def test_scaled_text_is_refused(tmp_path: Path) -> None:
    arrays: Arrays = {"a.weight": np.zeros((2, 2), np.int64), "a.weight_scale_inv": p.numbers(1)}
    folder(tmp_path, arrays, {"quant_method": "fp8"})
    with pytest.raises(UnsupportedError, match="I64"):
        checkpoints.open(tmp_path)


GROUP = {"group_0": {"weights": {"strategy": "channel", "num_bits": 8, "symmetric": True}}}


@pytest.mark.parametrize(
    ("config", "end"),
    [
        ({"quant_method": "fp8", "weight_block_size": [2, 4]}, ".weight_scale_inv"),
        ({"quant_method": "compressed-tensors", "format": "float-quantized", "config_groups": GROUP}, ".weight_scale"),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, ".weight_scale"),
    ],
)
@pytest.mark.parametrize("scaled", [["a"], []])
def test_weights_without_their_scale_are_refused(tmp_path: Path, config: dict[str, Any], end: str, scaled: Any) -> None:
    arrays: Arrays = {"a.weight": codes(2, 4), "b.weight": codes(2, 4), "norm": p.numbers(4)}
    shape = (1, 1) if end.endswith("_inv") else (2, 1)
    folder(tmp_path, arrays | {name + end: p.numbers(*shape) for name in scaled}, config)
    bare = "b" if scaled else "a"
    with pytest.raises(FormatError, match=rf"{bare}\.weight': is F8_E4M3 without its scale: there is no '{bare}{end}"):
        checkpoints.open(tmp_path)


@pytest.mark.parametrize("config", [None, {"activation_scheme": "dynamic"}])
@pytest.mark.parametrize(("rows", "columns"), [(300, 256), (128, 4), (2, 130)])
def test_blocks_by_their_number_when_the_config_is_lost(tmp_path: Path, rows: int, columns: int, config: Any) -> None:
    weight, scale = codes(rows, columns), p.numbers(-(-rows // 128), -(-columns // 128))
    folder(tmp_path, {"a.weight": weight, "a.weight_scale_inv": scale}, config)
    lasting = np.repeat(np.repeat(scale, 128, 0), 128, 1)[:rows, :columns]
    with checkpoints.open(tmp_path) as opened:
        np.testing.assert_array_equal(opened.read("a.weight", 0, rows), decoded(weight) * lasting)


def test_scales_of_packed_experts_are_left_alone(tmp_path: Path) -> None:
    """DeepSeek V4: 8-bit floats with ``.scale``, and beside them 4-bit ones, two a byte, with scales of that name."""
    weight, scale = codes(4, 8), np.array([[127, 128]], np.uint8)  # 1 and 2
    packed, exponents = np.zeros((4, 16), np.int8), np.zeros((4, 1), np.uint8)
    arrays: Arrays = {"a.weight": weight, "a.scale": scale, "e.weight": packed, "e.scale": exponents}
    config = {"quant_method": "fp8", "weight_block_size": [4, 4], "scale_fmt": "ue8m0"}
    folder(tmp_path, arrays, config, {"a.scale": "F8_E8M0", "e.scale": "F8_E8M0"})
    with checkpoints.open(tmp_path) as opened:
        assert sorted(opened.tensors) == ["a.weight", "e.scale", "e.weight"]
        assert (opened.tensors["e.weight"].dtype, opened.tensors["e.scale"].dtype) == ("I8", "F8_E8M0")
        np.testing.assert_array_equal(opened.read("a.weight", 0, 4), decoded(weight) * np.repeat([1, 2], 4))
