"""Parts of MLX's, ModelOpt's, BitNet's, HQQ's and Gemma's weights that do not fit, and which method a file is of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qconv import checkpoints
from qconv.errors import FormatError, UnsupportedError
from tests.checkpoints import packing

Arrays = dict[str, Any]


def folder(tmp_path: Path, method: Any, arrays: Arrays, dtypes: dict[str, str] | None = None) -> Path:
    packing.save(tmp_path / "model.safetensors", arrays, dtypes)
    config = {"model_type": "llama", "quantization_config": method}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path


MLX: Arrays = {
    "a.weight": np.arange(32, dtype=np.uint32).reshape(4, 8),
    "a.scales": np.ones((4, 1), np.float16),
    "a.biases": np.ones((4, 1), np.float16),
}
AFFINE = {"group_size": 64, "bits": 4}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"a.scales": np.ones((3, 1), np.float16)}, r"tensor 'a\.scales': is \[3, 1\], which does not fit words"),
        ({"a.scales": np.ones((4, 0), np.float16)}, r"tensor 'a\.scales': is \[4, 0\]"),
        ({"a.scales": np.ones(4, np.float16)}, r"tensor 'a\.scales': is \[4\]"),
        ({"a.scales": np.ones((4, 3), np.float16)}, r"tensor 'a\.scales': is \[4, 3\]"),
        ({"a.biases": np.ones((4, 2), np.float16)}, r"tensor 'a\.biases': is 4 x 2, but the scales are 4 x 1"),
        ({"a.scales": np.ones((4, 1), np.int32)}, r"tensor 'a\.scales': is I32, which scales are not"),
        (
            {"a.scales": np.ones((4, 3), np.uint8)},
            r"tensor 'a\.scales': is 4 x 3, which does not fit weights of 4 x 64",
        ),
    ],
)
def test_parts_of_mlx_that_do_not_fit(tmp_path: Path, changes: Arrays, complaint: str) -> None:
    with pytest.raises(FormatError, match=complaint):
        checkpoints.open(folder(tmp_path, AFFINE, MLX | changes))


def test_mlx_without_offsets(tmp_path: Path) -> None:
    arrays = {name: array for name, array in MLX.items() if name != "a.biases"}
    with pytest.raises(FormatError, match=r"tensor 'a\.weight': is quantized, but there is no 'a\.biases'"):
        checkpoints.open(folder(tmp_path, AFFINE, arrays))


def test_a_module_of_its_own_bits(tmp_path: Path) -> None:
    """8 words a row in one group: 4 bits of 64 by the config, 8 bits of 32 where it says so of the module."""
    settings = AFFINE | {"a": {"group_size": 32, "bits": 8}, "b": False}
    arrays = MLX | {"c." + name.removeprefix("a."): array for name, array in MLX.items()}
    with checkpoints.open(folder(tmp_path, settings, arrays)) as opened:
        assert opened.tensors["a.weight"].shape == (4, 32)
        assert opened.tensors["c.weight"].shape == (4, 64)
        np.testing.assert_array_equal(opened.read("a.weight", 1, 2)[0, ::4], np.arange(8, 16) + 1)


def test_modelopt_of_two_kinds(tmp_path: Path) -> None:
    """Mixed precision: NVFP4 beside 8-bit floats, as in ``hf_quant_config.json``, which names no method."""
    arrays = {
        "a.weight": np.full((2, 16), 0x21, np.uint8),  # 0.5, 1
        "a.weight_scale": np.full((2, 2), 0x40, np.uint8),  # 2
        "a.weight_scale_2": np.float32(0.25).reshape(()),
        "b.weight": np.full((2, 4), 0x38, np.uint8),  # 1
        "b.weight_scale": np.float32(3).reshape(()),
        "b.input_scale": np.float32(3).reshape(()),
        "b.k_scale": np.float32(3).reshape(()),
        "b.kv_scale": np.float32(3).reshape(()),
    }
    floats = dict.fromkeys(("a.weight_scale", "b.weight"), "F8_E4M3")
    folder(tmp_path, {}, arrays, floats)
    settings = {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "MIXED_PRECISION"}}
    (tmp_path / "hf_quant_config.json").write_text(json.dumps(settings))
    with checkpoints.open(tmp_path) as opened:
        assert list(opened.tensors) == ["a.weight", "b.weight"]
        assert not opened.notes
        np.testing.assert_array_equal(opened.read("a.weight", 0, 2), np.tile([0.25, 0.5], (2, 16)))
        np.testing.assert_array_equal(opened.read("b.weight", 0, 2), np.full((2, 4), 3))


def test_quarks_floats(tmp_path: Path) -> None:
    """As ``Pack_fp4`` of amd-quark 0.13 packs: of [1, 2] it makes [0x21]."""
    arrays = {
        "a.weight": np.full((2, 32), 0x21, np.uint8),  # 0.5, 1
        "a.weight_scale": np.array([[127, 128], [126, 127]], np.uint8),  # 1, 2; 0.5, 1
        "b.weight": np.full((2, 4), 0x38, np.uint8),  # 1
        "b.weight_scale": np.array([3, 5], np.float32),
        "b.input_scale": np.float32(3).reshape(()),
    }
    folder(tmp_path, {"quant_method": "quark"}, arrays, {"b.weight": "F8_E4M3"})
    with checkpoints.open(tmp_path) as opened:
        assert list(opened.tensors) == ["a.weight", "b.weight"]
        expected = np.repeat([[1, 2], [0.5, 1]], 32, axis=1) * np.tile([0.5, 1], 32)
        np.testing.assert_array_equal(opened.read("a.weight", 0, 2), expected)
        np.testing.assert_array_equal(opened.read("b.weight", 0, 2), [[3] * 4, [5] * 4])


def test_quarks_integers_are_refused(tmp_path: Path) -> None:
    arrays = {"a.weight": np.zeros((8, 4), np.int32), "a.weight_scale": np.ones((1, 32), np.float32)}
    folder(tmp_path, {"quant_method": "quark"}, arrays)
    with pytest.raises(UnsupportedError, match=r"'a.weight'.*by 'quark', and is I32 8 x 4 with scales of F32 1 x 32"):
        checkpoints.open(tmp_path)


INT4: Arrays = {"a.weight": np.zeros((2, 32), np.uint8), "a.weight_scale": np.ones((4, 1), np.float32)}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"a.weight_scale_2": np.ones(1, np.float32)}, "to integers of 4 bits and again to 8"),
        ({"a.svdquant_lora_a": np.ones((4, 4), np.float32)}, "with a low-rank part"),
    ],
)
def test_what_is_not_known_of_modelopts_integers_is_refused(tmp_path: Path, changes: Arrays, complaint: str) -> None:
    with pytest.raises(UnsupportedError, match=f"by 'modelopt' {complaint}") as caught:
        checkpoints.open(folder(tmp_path, {"quant_method": "modelopt", "quant_algo": "W4A8_AWQ"}, INT4 | changes))
    assert caught.value.hint


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        (
            {"a.pre_quant_scale": np.ones(31, np.float32)},
            r"tensor 'a\.pre_quant_scale': is 31, but the weights are 4 x 32",
        ),
        ({"b.pre_quant_scale": np.ones(32, np.float32)}, r"is a scale, but no 'b\.weight' is quantized"),
        ({"a.weight_scale": np.ones((4, 0), np.float32)}, r"tensor 'a\.weight_scale': is 4 x 0"),
        ({"a.weight_scale": np.ones((3, 1), np.float32)}, r"tensor 'a\.weight_scale': is 3 x 1"),
        ({"a.weight": np.zeros(64, np.uint8)}, r"tensor 'a\.weight_scale': is 4 x 1"),
    ],
)
def test_parts_of_modelopts_integers_that_do_not_fit(tmp_path: Path, changes: Arrays, complaint: str) -> None:
    with pytest.raises(FormatError, match=complaint):
        checkpoints.open(folder(tmp_path, {"quant_method": "modelopt", "quant_algo": "W4A16_AWQ"}, INT4 | changes))


TORCHAO: Arrays = {
    "a._weight_qdata": np.zeros((4, 32), np.int8),
    "a._weight_scale": np.ones((2, 4), np.float32),
    "a._weight_zero_point": np.ones((2, 4), np.float32),
}


@pytest.mark.parametrize(
    "changes",
    [
        {"a._weight_qdata": np.zeros((4, 4, 2, 4), np.int32)},  # Int4TilePackedTo4dTensor
        {"a._weight_qdata": np.zeros((4, 32), np.uint8)},
        {"a._weight_qdata": np.zeros((), np.int8)},
        {"a._weight_scale": np.ones((2, 4), np.uint8)},  # E8M0: MXTensor
    ],
)
def test_torchaos_layouts_of_one_kernel_are_refused(tmp_path: Path, changes: Arrays) -> None:
    with pytest.raises(UnsupportedError, match=r"tensor 'a\._weight_qdata': is quantized by torchao for one kernel"):
        checkpoints.open(folder(tmp_path, {"quant_method": "torchao"}, TORCHAO | changes))


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"a._weight_scale": np.ones((4, 2), np.float32)}, r"tensor 'a\._weight_scale': is 4 x 2, which does not fit"),
        ({"a._weight_scale": np.ones((3, 4), np.float32)}, r"tensor 'a\._weight_scale': is 4 x 3, but"),
        ({"a._weight_zero_point": np.ones((3, 4), np.float32)}, r"tensor 'a\._weight_zero_point': is 4 x 3"),
        ({"a._weight_zero_point": np.ones((2, 4), np.int8)}, r"tensor 'a\._weight_scale': is 2 x 4"),
        ({"a._weight_act_pre_scale": np.ones(32, np.float32)}, r"tensor 'a\._weight_act_pre_scale': is 32, but"),
    ],
)
def test_parts_of_torchao_that_do_not_fit(tmp_path: Path, changes: Arrays, complaint: str) -> None:
    with pytest.raises(FormatError, match=complaint):
        checkpoints.open(folder(tmp_path, {"quant_method": "torchao"}, TORCHAO | changes))


def test_torchaos_scales_of_inputs_go_to_the_columns(tmp_path: Path) -> None:
    factors = np.arange(64, dtype=np.float32)
    with checkpoints.open(folder(tmp_path, {}, TORCHAO | {"a._weight_act_pre_scale": factors})) as opened:
        np.testing.assert_array_equal(opened.read("a.weight", 1, 2)[0], factors)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"a.weight_scale": np.ones((2, 1), np.float32)}, r"tensor 'a\.weight_scale': is F32 \[2, 1\], not one number"),
        ({"a.weight_scale": np.ones(1, np.int32)}, r"tensor 'a\.weight_scale': is I32 \[1\]"),
        ({"a.weight": np.zeros(8, np.uint8)}, r"tensor 'a\.weight': is U8 \[8\], not packed bytes"),
    ],
)
def test_parts_of_bitnet_that_do_not_fit(tmp_path: Path, changes: Arrays, complaint: str) -> None:
    arrays = {"a.weight": np.zeros((2, 8), np.uint8), "a.weight_scale": np.ones(1, np.float32)} | changes
    with pytest.raises(FormatError, match=complaint):
        checkpoints.open(folder(tmp_path, {"quant_method": "bitnet"}, arrays))


HQQ: Arrays = {
    "a.W_q": np.zeros((2, 16), np.uint8),
    "a.scale": np.ones((4, 1), np.float16),
    "a.zero": np.ones((4, 1), np.float16),
    "a.shape": np.array([4, 16], np.int32),
    "a.packing": np.frombuffer(b"4bit_u8", np.uint8),
}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"a.shape": np.array([4, 17], np.int32)}, r"tensor 'a\.W_q': is U8 2 x 16, .* no 4 x 17 weight"),
        ({"a.shape": np.array([-4, -16], np.int32)}, r"tensor 'a\.shape': says -4 x -16"),
        ({"a.shape": np.array([1 << 30, 1 << 30], np.int32)}, r"tensor 'a\.shape': says"),
        ({"a.shape": np.zeros((4, 4), np.int32)}, r"tensor 'a\.shape': says scalar"),
        ({"a.scale": np.ones((3, 1), np.float16)}, "no 4 x 16 weight"),
        ({"a.zero": np.ones((2, 2), np.float16)}, "no 4 x 16 weight"),
        ({"a.W_q": np.zeros((3, 16), np.uint8)}, "no 4 x 16 weight"),
        ({"a.scale": np.ones((0, 1), np.float16)}, "no 4 x 16 weight"),
    ],
)
def test_parts_of_hqq_that_do_not_fit(tmp_path: Path, changes: Arrays, complaint: str) -> None:
    with pytest.raises(FormatError, match=complaint):
        checkpoints.open(folder(tmp_path, {"quant_method": "hqq"}, HQQ | changes))


@pytest.mark.parametrize(
    "changes", [{"a.packing": np.frombuffer(b"5bit_u8", np.uint8)}, {"a.scale_q": np.zeros((4, 1), np.uint8)}]
)
def test_other_hqq_is_refused(tmp_path: Path, changes: Arrays) -> None:
    with pytest.raises(UnsupportedError, match=r"tensor 'a\.W_q'"):
        checkpoints.open(folder(tmp_path, {"quant_method": "hqq"}, HQQ | changes))


def test_one_number_with_a_zero_point_is_no_weight(tmp_path: Path) -> None:
    arrays: Arrays = {"a.weight": np.int8(3).reshape(()), "a.weight_scale": np.ones(1, np.float32)}
    arrays["a.weight_zero_point"] = np.zeros(1, np.int8)
    with pytest.raises(FormatError, match=r"tensor 'a\.weight': is one number, and no weights"):
        checkpoints.open(folder(tmp_path, {"quant_method": "compressed-tensors"}, arrays))


def test_gemmas_embeddings(tmp_path: Path) -> None:
    arrays = {
        "e.embedding_quantized": np.full((3, 4), 0x9A, np.uint8),  # 2 and 1
        "e.embedding_scale": np.array([[1], [2], [4]], np.float32),
        "norm": np.ones(8, np.float32),
    }
    with checkpoints.open(folder(tmp_path, {"quant_method": "gemma", "num_bits": 2}, arrays)) as opened:
        assert list(opened.tensors) == ["norm", "e.weight"]
        np.testing.assert_array_equal(opened.read("e.weight", 0, 3), np.outer([1, 2, 4], [2, 1] * 4))


@pytest.mark.parametrize(
    ("arrays", "method"),
    [
        ({"a.codes": 0, "a.codebooks": 0, "a.scales": 0}, "aqlm"),
        ({"a.trellis": 0, "a.suh": 0, "a.svh": 0}, "exl3"),
        ({"a.q_weight": 0, "a.q_scale": 0, "a.q_invperm": 0}, "exl2"),
        ({"a.weight._data": 0, "a.weight._scale": 0}, "quanto"),
        ({"a.weight": 0, "a.weight_scales": 0}, "eetq"),
    ],
)
def test_methods_that_are_not_read_are_named_by_their_tensors(tmp_path: Path, arrays: Arrays, method: str) -> None:
    packing.save(tmp_path / "model.safetensors", {name: np.zeros((4, 4), np.int8) for name in arrays})
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UnsupportedError, match=f"is quantized by '{method}', and qconv does not undo") as caught:
        checkpoints.open(tmp_path)
    assert caught.value.hint == "convert the model it was made from: look for 'base_model' on its model card"
