"""An adapter's own file: llama.cpp's bytes where its converter is right, the right strengths where it is not."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader
from safetensors.numpy import load_file

import qconv
from qconv.errors import QconvError, UsageError
from tests.adapters import files
from tests.adapters.adapter import Numbers, save, save_mlx, whole
from tests.checkpoints import packing

RECORDED = json.loads((Path(__file__).parent / "files.json").read_text())
"""What ``convert_lora_to_gguf.py`` of llama.cpp b11549 makes (``scripts/record_adapter_files.py``)."""
Q = "base_model.model.model.layers.0.self_attn.q_proj"
V = "base_model.model.model.layers.1.self_attn.v_proj"


@pytest.mark.parametrize("case", RECORDED)
def test_files_are_llama_cpps(tmp_path: Path, case: str) -> None:
    name, kind = case.split()
    base, adapter = files.CASES[name](tmp_path)
    (made,) = qconv.convert(adapter, kind, base=base)
    assert [made.name, hashlib.sha256(made.read_bytes()).hexdigest()] == RECORDED[case]
    assert made.parent == adapter


def parts(file: Path) -> tuple[float, dict[str, Numbers]]:
    reader = GGUFReader(file)
    return reader.fields["adapter.lora.alpha"].contents(), {tensor.name: tensor.data for tensor in reader.tensors}


def deltas(file: Path) -> dict[str, Numbers]:
    """What llama.cpp adds to which tensor: B @ A times alpha over the rank (``llama-adapter.cpp``)."""
    alpha, tensors = parts(file)
    names = [name.removesuffix(".lora_a") for name in tensors if name.endswith(".lora_a")]
    pairs = {name: (tensors[f"{name}.lora_a"], tensors[f"{name}.lora_b"]) for name in names}
    return {name: alpha / b.shape[-1] * (b @ a) for name, (a, b) in pairs.items()}


def two(folder: Path, ranks: tuple[int, int], **config: Any) -> tuple[Path, dict[str, Numbers]]:
    """An adapter of two modules, and their products as they are."""
    q, v = files.ATTENTION["self_attn.q_proj"], files.ATTENTION["self_attn.v_proj"]
    tensors = {}
    for at, (name, (rows, columns)) in enumerate(((Q, q), (V, v))):
        tensors[f"{name}.lora_A.weight"] = whole(ranks[at], columns, seed=at)
        tensors[f"{name}.lora_B.weight"] = whole(rows, ranks[at], seed=at + 2)
    products = {n: tensors[f"{n}.lora_B.weight"] @ tensors[f"{n}.lora_A.weight"] for n in (Q, V)}
    return save(folder, tensors, **config), products


@pytest.mark.parametrize(
    ("ranks", "config", "strengths"),
    [
        ((4, 4), {"r": 4, "lora_alpha": 6, "use_rslora": True}, (6 / 2, 6 / 2)),
        ((4, 9), {"r": 4, "lora_alpha": 6, "use_rslora": True, "rank_pattern": {"v_proj": 9}}, (6 / 2, 6 / 3)),
        ((4, 2), {"r": 4, "lora_alpha": 6, "rank_pattern": {"v_proj": 2}}, (6 / 4, 6 / 2)),
        ((4, 4), {"r": 4, "lora_alpha": 6, "alpha_pattern": {"layers.1.self_attn.v_proj": 24}}, (6 / 4, 24 / 4)),
        ((4, 4), {"r": 4, "lora_alpha": 6, "alpha_pattern": {"q_proj": 0}}, (0, 6 / 4)),
    ],
)
def test_strengths_that_llama_cpps_converter_forgets(
    tmp_path: Path, ranks: tuple[int, int], config: dict[str, Any], strengths: tuple[float, float]
) -> None:
    base, _ = files.qwen2(tmp_path)
    adapter, products = two(tmp_path / "a", ranks, **config)
    (made,) = qconv.convert(adapter, "f32", base=base)
    added = deltas(made)
    np.testing.assert_allclose(added["blk.0.attn_q.weight"], products[Q] * strengths[0], rtol=1e-6)
    np.testing.assert_allclose(added["blk.1.attn_v.weight"], products[V] * strengths[1], rtol=1e-6)


def test_one_strength_for_all_leaves_the_matrices_alone(tmp_path: Path) -> None:
    base, _ = files.qwen2(tmp_path)
    adapter, _ = two(tmp_path / "a", (4, 4), r=4, lora_alpha=6, use_rslora=True)
    (made,) = qconv.convert(adapter, "f32", base=base)
    alpha, tensors = parts(made)
    assert alpha == 6 * math.sqrt(4)
    assert tensors["blk.1.attn_v.weight.lora_b"].tobytes() == whole(files.KEYS, 4, seed=3).tobytes()


def test_mlx_keeps_matrices_turned(tmp_path: Path) -> None:
    base, _ = files.qwen2(tmp_path)
    a, b = whole(files.WIDTH, 2, seed=1), whole(2, files.WIDTH, seed=2)
    name = "model.layers.0.self_attn.o_proj"
    adapter = save_mlx(tmp_path / "mlx", {f"{name}.lora_a": a, f"{name}.lora_b": b}, 10.0)
    (made,) = qconv.convert(adapter, "f32", base=base)
    alpha, tensors = parts(made)
    assert alpha == 20
    assert tensors["blk.0.attn_output.weight.lora_a"].tolist() == a.T.tolist()
    assert tensors["blk.0.attn_output.weight.lora_b"].tolist() == b.T.tolist()


@pytest.mark.parametrize("target", ["mlp.experts.down_proj", "down_proj"])
@pytest.mark.parametrize("make", [files.fused_experts, files.experts_apart])
def test_experts_of_one_parameter(tmp_path: Path, make: Callable[[Path], tuple[Path, Path]], target: str) -> None:
    """``target_parameters``: B's last axis counts the experts; llama.cpp has them first."""
    base, _ = make(tmp_path)
    a, b = whole(files.EXPERTS * 2, files.HIDDEN, seed=1), whole(files.WIDTH, 2 * files.EXPERTS, seed=2)
    name = "base_model.model.model.layers.1.mlp.experts"
    tensors = {f"{name}.lora_A.weight": a, f"{name}.lora_B.weight": b}
    config = {"r": 2, "lora_alpha": 4, "target_parameters": [target, "gate.weight"]}
    (made,) = qconv.convert(save(tmp_path / "a", tensors, **config), "f32", base=base)
    _, made_tensors = parts(made)
    assert made_tensors["blk.1.ffn_down_exps.weight.lora_a"].tolist() == a.reshape(files.EXPERTS, 2, -1).tolist()
    expected = b.reshape(files.WIDTH, 2, files.EXPERTS).transpose(2, 0, 1)
    assert made_tensors["blk.1.ffn_down_exps.weight.lora_b"].tolist() == expected.tolist()


def test_tokens_that_switch_an_adapter_on(tmp_path: Path) -> None:
    base, adapter = files.qwen2(tmp_path)
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**config, "alora_invocation_tokens": [7, 300]}))
    (made,) = qconv.convert(adapter, "f16", base=base)
    assert GGUFReader(made).fields["adapter.alora.invocation_tokens"].contents() == [7, 300]


PAIR = {f"{Q}.lora_A.weight": whole(2, 64), f"{Q}.lora_B.weight": whole(64, 2)}
ABSENT = "base_model.model.model.layers.7.self_attn.v_proj"
EXPERT = "base_model.model.model.layers.0.block_sparse_moe.experts.1.w1"


@pytest.mark.parametrize(
    ("tensors", "config", "message"),
    [
        (PAIR, {"lora_alpha": 0}, "adapter_config.json: changes nothing: its strength is 0"),
        (PAIR, {"use_dora": True}, r"is a DoRA adapter, which .* cannot hold \(merge it instead: qconv convert BASE"),
        ({**PAIR, f"{Q}.lora_magnitude_vector": whole(64)}, {}, "has 'lora_magnitude_vector' for .*merge it instead"),
        ({**PAIR, "base_model.model.lm_head.weight": whole(48, 64)}, {}, "brings 'lm_head.weight' whole.*merge it"),
        ({**PAIR, f"{Q}.lora_B.bias": whole(64)}, {}, "has 'lora_B.bias' for .*merge it instead"),
        (
            {
                f"{V.replace('.1.', '.7.')}.lora_A.weight": whole(2, 64),
                f"{V.replace('.1.', '.7.')}.lora_B.weight": whole(32, 2),
            },
            {},
            r"does not fit the base .*layers\.7.*their/base",
        ),
        (
            {f"{Q}.lora_A.weight": whole(2, 64), f"{Q}.lora_B.weight": whole(32, 2)},
            {},
            "its 2 x 64 and 32 x 2 .*make no",
        ),
        (
            {f"{EXPERT}.lora_A.weight": whole(2, 64), f"{EXPERT}.lora_B.weight": whole(96, 2)},
            {},
            r"becomes one tensor with .*experts\.0.*which the adapter leaves alone",
        ),
    ],
)
def test_what_such_a_file_cannot_hold(tmp_path: Path, tensors: Any, config: Any, message: str) -> None:
    base, _ = files.mixtral(tmp_path)
    with pytest.raises(QconvError, match=message):
        qconv.convert(save(tmp_path / "a", tensors, **config), "f16", base=base)


def test_an_output_layer_that_is_the_embedding_has_to_be_merged(tmp_path: Path) -> None:
    base, _ = files.qwen2(tmp_path)
    tensors = {n: t for n, t in load_file(base / "model.safetensors").items() if n != "lm_head.weight"}
    packing.save(base / "model.safetensors", tensors)
    name = "base_model.model.lm_head"
    tensors = {f"{name}.lora_A.weight": whole(2, 64), f"{name}.lora_B.weight": whole(48, 2)}
    with pytest.raises(QconvError, match=r"changes 'lm_head', which in the base is the embedding.*merge it instead"):
        qconv.convert(save(tmp_path / "a", tensors), "f16", base=base)


def test_usage(tmp_path: Path) -> None:
    base, adapter = files.qwen2(tmp_path)
    with pytest.raises(UsageError, match="is made in f16, bf16 or f32"):
        qconv.convert(adapter, "q4_0", base=base)
    with pytest.raises(QconvError, match="holds no adapter: that is adapter_model"):
        qconv.convert(base, "f16", base=base)
    both = files.qwen2(tmp_path / "both")[1]
    packing.save(both / "model.safetensors", {"a.weight": whole(2, 2)})
    (made,) = qconv.convert(both, "f16", base=base)
    assert made.name.endswith("-LoRA.gguf"), "a model beside the adapter is left alone"
    with pytest.raises(UsageError, match="--base and --adapter"):
        qconv.convert(base, "f16", base=base, adapter=adapter)
    lone = packing.save(tmp_path / "lone" / "model.safetensors", {"a.weight": whole(2, 2)})
    with pytest.raises(QconvError, match="does not say what the adapter's tensors are called"):
        qconv.convert(adapter, "f16", base=lone)
