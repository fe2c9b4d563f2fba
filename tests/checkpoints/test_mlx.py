"""Checkpoints that MLX saved become what the original becomes.

Expected are the bytes llama.cpp's converter made of the original (the recorded goldens).  What mlx-lm's ``sanitize``
does is done here by numpy.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qconv import architectures, checkpoints
from qconv.errors import UnsupportedError
from tests.architectures import tiny
from tests.checkpoints import packing

GOLDENS = Path(__file__).parents[1] / "architectures" / "goldens"
MLX = "mlx"
WIDTHS = {"F32": "<f4", "F16": "<f2"}
Saved = dict[str, np.ndarray]


def recorded(name: str) -> Any:
    return json.loads((GOLDENS / f"{name}.json").read_text("utf-8"))


def original(golden: Any) -> Saved:
    """The recorded checkpoint's tensors: BF16 as bits."""
    kinds = {"BF16": "<u2", "F16": "<f2", "F32": "<f4"}
    return {
        name: np.frombuffer(tiny.weights(name, dtype, tuple(shape)), kinds[dtype]).reshape(shape)
        for name, (dtype, shape) in golden["tensors"].items()
    }


def save(folder: Path, golden: Any, tensors: Saved, framework: str | None = "pt") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(golden["config"]))
    packing.save(
        folder / "model.safetensors",
        tensors,
        {name: "BF16" for name, values in tensors.items() if values.dtype == np.uint16},
        framework,
    )
    return folder


def made(folder: Path) -> dict[str, tuple[list[int], np.ndarray]]:
    """Shape and float32 values of every tensor of the GGUF file, in its order."""
    outputs = {}
    with checkpoints.open(folder) as opened:
        for output in architectures.resolve(opened).tensors:
            rows = output.tensor.prepare().read(0, int(np.prod(output.tensor.shape[:-1])))
            wide = (rows.astype("<u4") << 16).view("<f4") if output.tensor.dtype == "BF16" else rows
            outputs[output.name] = (list(output.tensor.shape), wide.astype("<f4"))
    return outputs


def assert_recorded(golden: Any, outputs: dict[str, tuple[list[int], np.ndarray]], *besides: str) -> None:
    """llama.cpp's tensors in its order and with its bytes, but for the values of those whose name ends in one of
    ``besides``."""
    expected = golden["expected"]["tensors"]
    assert [(name, shape) for name, (shape, _) in outputs.items()] == [(name, shape) for name, _, shape, _ in expected]
    for name, kind, _, digest in expected:
        values = outputs[name][1]
        if not (besides and name.endswith(besides)):
            data = (values.view("<u4") >> 16).astype("<u2") if kind == "BF16" else values.astype(WIDTHS[kind])
            assert hashlib.sha256(data.tobytes()).hexdigest() == digest, name


def wide(bits: np.ndarray) -> np.ndarray:
    values: np.ndarray = (bits.astype("<u4") << 16).view("<f4")
    return values


def narrow(values: np.ndarray) -> np.ndarray:
    """BF16's bits, rounded to nearest, ties to even."""
    bits = values.astype("<f4").view("<u4")
    rounded: np.ndarray = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
    return rounded


SHIFTED = (
    "input_layernorm.weight",
    "post_attention_layernorm.weight",
    "model.norm.weight",
    "q_norm.weight",
    "k_norm.weight",
)
NORMS = (
    "attn_norm.weight",
    "post_attention_norm.weight",
    "output_norm.weight",
    "attn_q_norm.weight",
    "attn_k_norm.weight",
)


def shifted(tensors: Saved) -> Saved:
    """Norms one higher, the convolutions' channels last."""
    changed = {}
    for name, values in tensors.items():
        if name.endswith(SHIFTED):
            values = narrow(wide(values) + 1)
        if name.endswith("conv1d.weight"):
            values = np.moveaxis(values, 2, 1).copy()
        changed[name] = values
    return changed


def stacked(tensors: Saved, parent: str, **names: str) -> Saved:
    """Experts under ``switch_mlp``; ``names``: MLX's by the original's."""
    result: Saved = {}
    experts: dict[str, dict[int, np.ndarray]] = {}
    for name, values in tensors.items():
        match = re.fullmatch(rf"(.+\.{parent})\.experts\.(\d+)\.(\w+)\.weight", name)
        if match:
            stack = f"{match[1]}.switch_mlp.{names.get(match[3], match[3])}.weight"
            experts.setdefault(stack, {})[int(match[2])] = values
        else:
            result[name] = values
    assert experts
    return result | {name: np.stack([of[i] for i in sorted(of)]) for name, of in experts.items()}


@pytest.mark.parametrize("framework", [MLX, "pt", None])
def test_norms_that_hold_their_one_already(tmp_path: Path, framework: str | None) -> None:
    """Swapped kernels tell as well as the mark, which a tool may have lost."""
    golden = recorded("qwen35")
    tensors = shifted(original(golden))
    outputs = made(save(tmp_path, golden, tensors, framework))
    assert_recorded(golden, outputs, *NORMS)
    np.testing.assert_array_equal(outputs["output_norm.weight"][1].ravel(), wide(tensors["model.norm.weight"]))
    np.testing.assert_array_equal(
        outputs["blk.0.attn_norm.weight"][1].ravel(), wide(tensors["model.layers.0.input_layernorm.weight"])
    )


def test_a_mark_on_tensors_that_no_model_loaded(tmp_path: Path) -> None:
    golden = recorded("qwen35")
    assert_recorded(golden, made(save(tmp_path, golden, original(golden), MLX)))


def test_qwen3_next_with_experts(tmp_path: Path) -> None:
    golden = recorded("qwen3next")
    tensors = stacked(shifted(original(golden)), "mlp")
    outputs = made(save(tmp_path, golden, tensors, MLX))
    assert_recorded(golden, outputs, *NORMS)
    np.testing.assert_array_equal(outputs["output_norm.weight"][1].ravel(), wide(tensors["model.norm.weight"]))


@pytest.mark.parametrize(
    ("name", "parent", "names"),
    [
        ("qwen3moe", "mlp", {}),
        ("qwen2moe", "mlp", {}),
        ("mixtral", "block_sparse_moe", {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}),
        ("minimax-m3", "block_sparse_moe", {"w1": "gate_proj", "w2": "down_proj", "w3": "up_proj"}),
    ],
)
def test_experts_stacked(tmp_path: Path, name: str, parent: str, names: dict[str, str]) -> None:
    golden = recorded(name)
    outputs = made(save(tmp_path, golden, stacked(original(golden), parent, **names), MLX))
    assert_recorded(golden, outputs)


@pytest.mark.parametrize(
    ("name", "ends"), [("mamba", "conv1d.weight"), ("lfm2", "conv.conv.weight"), ("jamba", "conv1d.weight")]
)
def test_kernels_with_their_channels_last(tmp_path: Path, name: str, ends: str) -> None:
    golden = recorded(name)
    tensors = {n: np.moveaxis(v, 2, 1).copy() if n.endswith(ends) else v for n, v in original(golden).items()}
    assert any(n.endswith(ends) for n in tensors)
    assert_recorded(golden, made(save(tmp_path, golden, tensors, MLX)))


def test_transposed_matrices_of_gpt2(tmp_path: Path) -> None:
    golden = recorded("gpt2")
    ends = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
    tensors = {n: v.T.copy() if n.endswith(ends) else v for n, v in original(golden).items()}
    assert_recorded(golden, made(save(tmp_path, golden, tensors, MLX)))


@pytest.mark.parametrize("name", ["granitemoe", "granitehybrid", "granitehybrid-dense"])
def test_gates_taken_apart(tmp_path: Path, name: str) -> None:
    golden = recorded(name)
    dense = name == "granitehybrid-dense"
    wide, narrow, into = (
        (".shared_mlp.input_linear.", ".shared_mlp.output_linear.", ".mlp")
        if dense
        else (".block_sparse_moe.input_linear.", ".block_sparse_moe.output_linear.", ".block_sparse_moe.switch_mlp")
    )
    tensors: Saved = {}
    for source, values in original(golden).items():
        if source.endswith("conv1d.weight"):
            tensors[source] = np.moveaxis(values, 2, 1).copy()
        elif wide in source:
            for part, half in zip(("gate", "up"), np.split(values, 2, axis=-2), strict=True):
                tensors[source.replace(wide, f"{into}.{part}_proj.")] = half.copy()
        else:
            tensors[source.replace(narrow, f"{into}.down_proj.")] = values
    assert any(f"{into}.gate_proj." in source for source in tensors)
    assert_recorded(golden, made(save(tmp_path, golden, tensors, MLX)))


@pytest.mark.parametrize("name", ["deepseek3", "glm5", "kimi-k25"])
def test_latent_attention_taken_apart(tmp_path: Path, name: str) -> None:
    golden = recorded(name)
    config = golden["config"].get("text_config", golden["config"])
    heads, inner = config["num_attention_heads"], config["qk_nope_head_dim"]
    tensors: Saved = {}
    for name, values in original(golden).items():
        if ".kv_b_proj." in name:
            by_head = values.reshape(heads, -1, values.shape[-1])
            tensors[name.replace("kv_b_proj", "embed_q")] = by_head[:, :inner].swapaxes(-1, -2).copy()
            tensors[name.replace("kv_b_proj", "unembed_out")] = by_head[:, inner:].copy()
        else:
            tensors[name] = values
    assert any("unembed_out" in name for name in tensors)
    assert_recorded(golden, made(save(tmp_path, golden, stacked(tensors, "mlp"), MLX)))


RENAMES = {
    "gptneox": {"gpt_neox.layers.": "model.h.", "gpt_neox.": "model.", "embed_out.": "model.embed_out."},
    "laguna": {
        ".mlp.gate.weight": ".mlp.gate.proj.weight",
        ".mlp.experts.e_score_correction_bias": ".mlp.gate.e_score_correction_bias",
    },
    "dots1": {".switch_mlp.": ".experts."},
    "gemma4-moe": {".experts.down_proj": ".experts.switch_glu.down_proj.weight"},
}


@pytest.mark.parametrize("name", RENAMES)
def test_names_of_mlx(tmp_path: Path, name: str) -> None:
    golden = recorded(name)
    tensors = original(golden)
    if any(".mlp.experts.0." in source for source in tensors):
        tensors = stacked(tensors, "mlp")
    saved: Saved = {}
    for source, values in tensors.items():
        if source.endswith(".experts.gate_up_proj"):
            for part, half in zip(("gate", "up"), np.split(values, 2, axis=-2), strict=True):
                saved[source.replace("gate_up_proj", f"switch_glu.{part}_proj.weight")] = half.copy()
            continue
        for theirs, mlx in RENAMES[name].items():
            if theirs in source:
                source = source.replace(theirs, mlx)
                break
        saved[source] = values
    assert saved.keys() != original(golden).keys()
    assert_recorded(golden, made(save(tmp_path, golden, saved, MLX)))


def test_experts_of_gpt_oss(tmp_path: Path) -> None:
    """In another order than the original's, whose gates and their biases are one tensor each."""
    golden = recorded("gpt-oss-plain")
    tensors: Saved = {}
    for name, (dtype, shape) in golden["tensors"].items():
        assert dtype == "F16"
        values = np.frombuffer(tiny.weights(name, dtype, tuple(shape)), "<f2").reshape(shape)
        module, _, part = name.rpartition(".experts.")
        biases = part.endswith("_bias")
        end = "bias" if biases else "weight"
        if not module:
            tensors[name] = values
        elif part.startswith("down_proj"):
            tensors[f"{module}.experts.down_proj.{end}"] = values if biases else values.swapaxes(-1, -2).copy()
        else:
            for number, which in enumerate(("gate", "up")):
                half = values[..., number::2]
                tensors[f"{module}.experts.{which}_proj.{end}"] = (half if biases else half.swapaxes(-1, -2)).copy()
    outputs = made(save(tmp_path, golden, tensors, MLX))
    expected = golden["expected"]["tensors"]
    assert {name: shape for name, (shape, _) in outputs.items()} == {name: shape for name, _, shape, _ in expected}
    for name, kind, _, digest in expected:
        data = outputs[name][1].astype(WIDTHS[kind])
        assert hashlib.sha256(data.tobytes()).hexdigest() == digest, name


@pytest.mark.parametrize("name", ["llama3-bpe", "gemma3-text", "qwen3", "phi3", "glm4"])
def test_models_that_are_saved_alike(tmp_path: Path, name: str) -> None:
    golden = recorded(name)
    assert_recorded(golden, made(save(tmp_path, golden, original(golden), MLX)))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("falcon-h1", "saved by MLX, which multiplies its weights by the config's multipliers"),
        ("bailingmoe-normhead", "saved by MLX, which scales the rows of the output matrix"),
    ],
)
def test_what_is_not_undone_is_refused(tmp_path: Path, name: str, said: str) -> None:
    golden = recorded(name)
    tensors = {n: np.moveaxis(v, 2, 1).copy() if "conv1d.weight" in n else v for n, v in original(golden).items()}
    with pytest.raises(UnsupportedError, match=f"{said}.*convert the model it was made from"):
        checkpoints.open(save(tmp_path, golden, tensors, MLX))


def test_unknown_models_are_refused_only_when_mlx_saved_them(tmp_path: Path) -> None:
    golden = recorded("qwen3")
    golden["config"]["model_type"] = "surprise"
    assert_recorded(golden, made(save(tmp_path, golden, original(golden))))
    with pytest.raises(UnsupportedError, match="which weights MLX changes in models of type 'surprise' is not known"):
        checkpoints.open(save(tmp_path, golden, original(golden), MLX))


def test_quantized_experts_under_switch_mlp(tmp_path: Path) -> None:
    """``q * scale + bias`` of groups of 32 codes of 8 bits, four to a word: here every value is exact in float32."""
    golden = recorded("qwen3moe")
    tensors = stacked(original(golden), "mlp")
    codes_of: Saved = {}
    for name in [name for name in tensors if ".switch_mlp." in name]:
        shape = tensors.pop(name).shape
        codes = np.random.default_rng(len(name)).integers(0, 256, shape, np.uint8)
        module = name.removesuffix("weight")
        codes_of[name] = codes
        tensors[name] = codes.view("<u4")
        groups = (*shape[:-1], shape[-1] // 32)
        tensors[f"{module}scales"] = narrow(np.full(groups, 1 / 128, np.float32))
        tensors[f"{module}biases"] = narrow(np.full(groups, -1, np.float32))
    golden["config"]["quantization"] = {"group_size": 32, "bits": 8}
    outputs = made(save(tmp_path, golden, tensors, MLX))
    for name, codes in codes_of.items():
        *_, layer, _, _, projection, _ = name.split(".")
        made_shape, values = outputs[f"blk.{layer}.ffn_{projection.removesuffix('_proj')}_exps.weight"]
        assert made_shape == list(codes.shape)
        np.testing.assert_array_equal(values.reshape(codes.shape), codes / np.float32(128) - 1)
