"""Merged weights are PEFT's.

``vectors/`` holds what PEFT 0.21.2 saved and merged (``scripts/record_adapters.py``); a name such as ``a+b`` means one
adapter after the other, ``a=0.25`` one of that weight.
"""

from __future__ import annotations

import shutil
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from qconv import adapters, checkpoints
from qconv.checkpoints import Checkpoint
from qconv.errors import InputError, PlanError, QconvError, UnsupportedError
from qconv.options import AdapterOption
from qconv.tensors import LazyTensor, n_rows
from tests.adapters.adapter import Numbers, save, save_mlx, whole
from tests.checkpoints import packing

VECTORS = Path(__file__).parent / "vectors"
CASES = sorted(folder.name for folder in VECTORS.iterdir() if folder.is_dir())


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    shutil.copy(VECTORS / "base.safetensors", folder / "model.safetensors")
    return folder


def options(case: str) -> list[AdapterOption]:
    return [AdapterOption.parse(str(VECTORS / name)) for name in case.split("+")]


def merged(base: Path, wanted: list[AdapterOption]) -> Checkpoint:
    opened = checkpoints.open(base)
    adapters.merge(opened, wanted)
    return opened


def rows(tensor: LazyTensor, step: int) -> Numbers:
    """All rows, read ``step`` at a time."""
    count, ready = n_rows(tensor), tensor.prepare()
    return np.concatenate([ready.read(at, min(count, at + step)) for at in range(0, count, step)])


@pytest.mark.parametrize("case", CASES)
def test_merged_weights_are_pefts(base: Path, case: str) -> None:
    expected = load_file(VECTORS / case / "merged.safetensors")
    with checkpoints.open(base) as plain, merged(base, options(case)) as opened:
        assert expected
        assert set(opened.lazy) == set(plain.lazy)
        assert {name for name in plain.lazy if opened.lazy[name].key != plain.lazy[name].key} == set(expected)
        for name, weights in expected.items():
            tensor = opened.lazy[name]
            assert tensor.shape == weights.shape
            whole = rows(tensor, n_rows(tensor))
            np.testing.assert_allclose(whole.reshape(weights.shape), weights, rtol=3e-6, atol=2e-6)
            assert rows(tensor, 1).tobytes() == whole.tobytes(), "bits depend on which rows are read together"
            assert tensor.read(0, 1).tobytes() == whole[:1].tobytes(), "unprepared"


def test_experts_that_the_base_keeps_apart(tmp_path: Path) -> None:
    """Programs keep all experts in one parameter, gate above up; files often each expert by itself."""
    model = load_file(VECTORS / "base.safetensors")
    expected = load_file(VECTORS / "experts" / "merged.safetensors")
    names = {"model.layers.0.experts": "model.layers.0.mlp.experts"}

    def apart(tensors: dict[str, Numbers]) -> dict[str, Numbers]:
        result = {}
        for (old, new), number in product(names.items(), range(4)):
            both = tensors[f"{old}.gate_up_proj"][number]
            result[f"{new}.{number}.gate_proj.weight"] = both[:7]
            result[f"{new}.{number}.up_proj.weight"] = both[7:]
            result[f"{new}.{number}.down_proj.weight"] = tensors[f"{old}.down_proj"][number]
        return result

    base = packing.save(tmp_path / "model.safetensors", apart(model)).parent
    with merged(base, options("experts")) as opened:
        for name, weights in apart(expected).items():
            tensor = opened.lazy[name]
            np.testing.assert_allclose(rows(tensor, 3), weights, rtol=3e-6, atol=2e-6)
            assert tensor.resident_bytes == 4 * 3 * sum(weights.shape)


def test_mlx_adapters(tmp_path: Path) -> None:
    """By ``fuse`` of mlx-lm's ``tuner/lora.py`` and ``dora.py``: a @ b, turned where the layer is linear."""
    w, e, x = whole(6, 4), whole(9, 4, seed=1), whole(3, 6, 4, seed=2)
    base = tmp_path / "base"
    packing.save(base / "model.safetensors", {"model.q_proj.weight": w, "model.embed_tokens.weight": e, "model.x": x})
    a, b = whole(4, 2, seed=3), whole(2, 6, seed=4)
    ea, eb = whole(9, 2, seed=5), whole(2, 4, seed=6)
    xa, xb = whole(3, 2, 4, seed=7), whole(3, 6, 2, seed=8)
    own = {"q_proj.lora_a": a, "q_proj.lora_b": b, "embed_tokens.lora_a": ea, "embed_tokens.lora_b": eb}
    adapter = save_mlx(tmp_path / "mlx", {**own, "x.lora_a": xa, "x.lora_b": xb}, 2.0)
    with merged(base, [AdapterOption(str(adapter))]) as opened:
        assert rows(opened.lazy["model.q_proj.weight"], 2).tolist() == (w + 2 * (a @ b).T).tolist()
        assert rows(opened.lazy["model.embed_tokens.weight"], 2).tolist() == (e + 2 * ea @ eb).tolist()
        assert rows(opened.lazy["model.x"], 4).tolist() == (x + 2 * xb @ xa).reshape(18, 4).tolist()
    m = np.arange(1, 7, dtype=np.float32)
    adapter = save_mlx(tmp_path / "dora", {"q_proj.lora_a": a, "q_proj.lora_b": b, "q_proj.m": m}, 2.0, "dora")
    with merged(base, [AdapterOption(str(adapter))]) as opened:
        changed = w + 2 * (a @ b).T
        expected = changed * (m / np.linalg.norm(changed, axis=1))[:, None]
        np.testing.assert_allclose(rows(opened.lazy["model.q_proj.weight"], 4), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("stored", "name"), [("mlp.experts.{}.up_proj", "mlp"), ("block_sparse_moe.experts.{}.w3", "block_sparse_moe")]
)
def test_mlx_adapters_of_experts_that_the_base_keeps_apart(tmp_path: Path, stored: str, name: str) -> None:
    experts = {f"model.layers.0.{stored.format(n)}.weight": whole(6, 4, seed=n) for n in range(3)}
    packing.save(tmp_path / "model.safetensors", experts)
    a, b = whole(3, 2, 4, seed=7), whole(3, 6, 2, seed=8)
    module = f"model.layers.0.{name}.switch_mlp.up_proj"
    adapter = save_mlx(tmp_path / "mlx", {f"{module}.lora_a": a, f"{module}.lora_b": b}, 4.0)
    with merged(tmp_path, [AdapterOption(str(adapter))]) as opened:
        for number, (each, weights) in enumerate(experts.items()):
            assert rows(opened.lazy[each], 4).tolist() == (weights + 4 * b[number] @ a[number]).tolist()


def test_a_quantized_base_is_what_was_trained_against(tmp_path: Path) -> None:
    """8-bit floats: 0x38 is 1, 0x40 is 2, times the tensor's scale."""
    codes = np.where(whole(6, 4) > 0, 0x40, 0x38).astype(np.uint8)
    tensors = {"q_proj.weight": codes, "q_proj.weight_scale_inv": np.full((1, 1), 0.5, np.float32)}
    packing.save(tmp_path / "model.safetensors", tensors, {"q_proj.weight": "F8_E4M3"})
    (tmp_path / "config.json").write_text('{"quantization_config": {"quant_method": "fp8"}}')
    adapter = save(tmp_path / "a", Q)
    a, b = (Q[f"base_model.model.q_proj.lora_{x}.weight"] for x in "AB")
    expected = np.where(codes == 0x40, np.float32(1), np.float32(0.5)) + 2 * b @ a
    with merged(tmp_path, [AdapterOption(str(adapter))]) as opened:
        assert rows(opened.lazy["q_proj.weight"], 4).tolist() == expected.tolist()


def test_wrappers_in_either_name(tmp_path: Path) -> None:
    w, a, b = whole(6, 4), whole(2, 4, seed=1), whole(6, 2, seed=2)
    packing.save(tmp_path / "model.safetensors", {"language_model.model.layers.0.q_proj.weight": w})
    name = "base_model.model.model.language_model.layers.0.q_proj"
    adapter = save(tmp_path / "a", {f"{name}.lora_A.default.weight": a, f"{name}.lora_B.default.weight": b})
    with merged(tmp_path, [AdapterOption(str(adapter))]) as opened:
        assert rows(opened.lazy["language_model.model.layers.0.q_proj.weight"], 2).tolist() == (w + 2 * b @ a).tolist()


def test_an_output_layer_parts_from_the_embedding(tmp_path: Path) -> None:
    """The base uses its embedding for the output; the adapter changed one of the two uses only."""
    e, a, b = whole(9, 4), whole(2, 4, seed=1), whole(9, 2, seed=2)
    packing.save(tmp_path / "model.safetensors", {"model.embed_tokens.weight": e})
    (tmp_path / "config.json").write_text('{"tie_word_embeddings": true, "vocab_size": 9}')
    name = "base_model.model.lm_head"
    adapter = save(tmp_path / "a", {f"{name}.lora_A.weight": a, f"{name}.lora_B.weight": b})
    with merged(tmp_path, [AdapterOption(str(adapter))]) as opened:
        assert rows(opened.lazy["model.embed_tokens.weight"], 9).tolist() == e.tolist()
        assert rows(opened.lazy["lm_head.weight"], 9).tolist() == (e + 2 * b @ a).tolist()
        assert opened.config == {"tie_word_embeddings": False, "vocab_size": 9}
        assert ["the output layer was the embedding" in note for note in opened.notes] == [True]


def test_a_vocabulary_grows_with_its_tokenizer(tmp_path: Path) -> None:
    base = tmp_path / "base"
    packing.save(base / "model.safetensors", {"embed_tokens.weight": whole(9, 4), "lm_head.weight": whole(9, 4)})
    (base / "config.json").write_text('{"text_config": {"vocab_size": 9}, "model_type": "x"}')
    (base / "tokenizer.json").write_text('{"of": "base"}')
    (base / "tokenizer_config.json").write_text('{"of": "base"}')
    tensors = {f"base_model.model.{name}.weight": whole(11, 4) for name in ("embed_tokens", "lm_head")}
    adapter = save(tmp_path / "grown", tensors)
    (adapter / "tokenizer.json").write_text('{"of": "adapter"}')
    with merged(base, [AdapterOption(str(adapter))]) as opened:
        assert opened.lazy["embed_tokens.weight"].shape == (11, 4)
        assert opened.config == {"text_config": {"vocab_size": 11}, "model_type": "x"}
        assert opened.folder.read("tokenizer.json") == b'{"of": "adapter"}'
        assert not opened.folder.has("tokenizer_config.json"), "a tokenizer is taken whole"
        assert opened.folder.names() == ["config.json", "model.safetensors", "tokenizer.json"]
        assert opened.folder.name == "base-grown"
        assert opened.notes == (f"the tokenizer and its chat template are those of {adapter}",)
        assert opened.directory == base
    save(adapter, {"base_model.model.embed_tokens.weight": whole(11, 4)})
    with pytest.raises(PlanError, match=r"'embed_tokens.weight' is 11 x 4, 'lm_head.weight' is 9 x 4"):
        merged(base, [AdapterOption(str(adapter))])


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("added_tokens.json", '{"[PAD]": 9}'),
        ("tokenizer_config.json", '{"added_tokens_decoder": {"9": {"content": "[PAD]"}}}'),
        ("tokenizer.json", '{"added_tokens": [{"id": 9, "content": "[PAD]"}]}'),
    ],
)
def test_a_tokenizer_with_more_tokens_than_rows_is_not_taken(tmp_path: Path, file: str, text: str) -> None:
    """As of trainings that add a padding token, and do not resize the model for it."""
    base = tmp_path / "base"
    packing.save(base / "model.safetensors", {"embed_tokens.weight": whole(9, 4), "q_proj.weight": whole(6, 4)})
    (base / "tokenizer.json").write_text('{"of": "base"}')
    adapter = save(tmp_path / "padded", Q)
    (adapter / "tokenizer.json").write_text("{}")
    (adapter / file).write_text(text)
    with merged(base, [AdapterOption(str(adapter))]) as opened:
        assert opened.folder.read("tokenizer.json") == b'{"of": "base"}'
        note = f"the tokenizer is the base's: that of {adapter} has a token 9, the embedding 9 rows"
        assert opened.notes == (note,)


def test_two_adapters_cannot_bring_one_tensor(tmp_path: Path) -> None:
    packing.save(tmp_path / "model.safetensors", {"q_proj.weight": whole(6, 4)})
    low = AdapterOption(str(save(tmp_path / "low", Q)))
    high = AdapterOption(str(save(tmp_path / "high", {"base_model.model.q_proj.weight": whole(6, 4)})))
    for pair in ([low, high], [high, high]):
        with pytest.raises(UnsupportedError, match=r"high.*brings 'q_proj.weight' whole, which another adapter has"):
            merged(tmp_path, pair)
    with merged(tmp_path, [high, low]) as opened:
        a, b = (Q[f"base_model.model.q_proj.lora_{x}.weight"] for x in "AB")
        assert rows(opened.lazy["q_proj.weight"], 6).tolist() == (whole(6, 4) + 2 * b @ a).tolist()


def test_dora_of_an_output_layer_that_was_the_embedding(tmp_path: Path) -> None:
    e, a, b, m = whole(9, 4), whole(2, 4, seed=1), whole(9, 2, seed=2), np.arange(1, 10, dtype=np.float32)
    packing.save(tmp_path / "model.safetensors", {"model.embed_tokens.weight": e})
    (tmp_path / "config.json").write_text("{}")
    name = "base_model.model.lm_head"
    tensors = {f"{name}.lora_A.weight": a, f"{name}.lora_B.weight": b, f"{name}.lora_magnitude_vector": m}
    adapter = save(tmp_path / "a", tensors, use_dora=True)
    changed = e + 2 * b @ a
    expected = changed * (m / np.linalg.norm(changed, axis=1))[:, None]
    with merged(tmp_path, [AdapterOption(str(adapter))]) as opened:
        np.testing.assert_allclose(rows(opened.lazy["lm_head.weight"], 9), expected, rtol=1e-6)


@pytest.mark.parametrize(
    "wrapper", ["", "base_model.model.", "module.base_model.model.", "base_model.model.base_model.model."]
)
def test_names_of_training_programs(tmp_path: Path, wrapper: str) -> None:
    """Without PEFT's prefix, or behind more than that; the base's own weights beside those in their place."""
    w, head = whole(6, 4), whole(9, 4, seed=1)
    packing.save(tmp_path / "model.safetensors", {"model.q_proj.weight": w, "lm_head.weight": head})
    a, b, new = whole(2, 4, seed=2), whole(6, 2, seed=3), whole(9, 4, seed=4)
    adapter = save(
        tmp_path / "a",
        {
            f"{wrapper}model.q_proj.lora_A.default.weight": a,
            f"{wrapper}model.q_proj.lora_B.default.weight": b,
            f"{wrapper}lm_head.original_module.weight": head,
            f"{wrapper}lm_head.modules_to_save.default.weight": new,
        },
    )
    with merged(tmp_path, [AdapterOption(str(adapter))]) as opened:
        assert rows(opened.lazy["model.q_proj.weight"], 4).tolist() == (w + 2 * b @ a).tolist()
        assert rows(opened.lazy["lm_head.weight"], 4).tolist() == new.tolist()


Q = {"base_model.model.q_proj.lora_A.weight": whole(2, 4), "base_model.model.q_proj.lora_B.weight": whole(6, 2)}
OTHER = {name.replace("q_proj", "z_proj"): tensor for name, tensor in Q.items()}


@pytest.mark.parametrize(
    ("tensors", "config", "message"),
    [
        (OTHER, {}, r"adapter_model.safetensors: does not fit the base .*: it changes 'z_proj'.* on, their/base"),
        (
            {**Q, "base_model.model.q_proj.lora_B.weight": whole(7, 2)},
            {},
            r"its 2 x 4 and 7 x 2 for 'q_proj' make no 6 x 4",
        ),
        ({"base_model.model.q_proj.lora_A.weight": whole(2, 4)}, {}, "is there without its 'lora_B'"),
        ({**Q, "base_model.model.z.weight": whole(2)}, {}, "it brings 'z.weight', which the base does not have"),
        ({**Q, "base_model.model.q_proj.weight": whole(7, 4)}, {}, "is 7 x 4, the base's is 6 x 4"),
        ({**Q, "base_model.model.q_proj.lora_B.bias": whole(6)}, {}, "it adds a bias to 'q_proj'"),
        ({**Q, "q_proj.lora_A.weight": whole(2, 4)}, {}, "is there twice, as 'lora_A' of 'q_proj'"),
        ({**Q, "base_model.model.q_proj.lora_A.weight": whole(2, 4).astype(np.int8)}, {}, "is I8; an adapter's"),
        (Q, {"use_dora": True}, "is of a DoRA adapter, but has no magnitudes"),
        ({**Q, "base_model.model.q_proj.lora_magnitude_vector": whole(5)}, {"use_dora": True}, "are 5, not 6"),
        (Q, {"peft_type": "LOHA"}, "is a 'LOHA' adapter"),
        (Q, {"layer_replication": [[0, 2]]}, "repeats layers of its base"),
        (Q, {"alora_invocation_tokens": [1]}, "is switched on by tokens"),
        (Q, {"init_lora_weights": "pissa_niter_16"}, "was trained on a changed base"),
        (Q, {"lora_alpha": "much"}, "has 'much' for 'lora_alpha'"),
        (Q, {"alpha_pattern": {"(a+)+$": 3}}, "has a pattern that is not read"),
        (Q, {"alpha_pattern": {"(": 3}}, "has a malformed pattern"),
        (
            {"base_model.model.q_proj.token_adapter.trainable_tokens_delta": whole(1, 4)},
            {"trainable_token_indices": {"q_proj": [6]}},
            "its trained tokens of 'q_proj' are 1 x 4 for 1 of the base's 6 x 4",
        ),
        ({"base_model.model.q_proj.trainable_tokens_delta": whole(1, 4)}, {}, "does not say which tokens"),
        ({}, {}, "holds no tensor"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, tensors: Any, config: Any, message: str) -> None:
    packing.save(tmp_path / "model.safetensors", {"q_proj.weight": whole(6, 4)})
    adapter = save(tmp_path / "a", tensors, **config)
    with pytest.raises(QconvError, match=message):
        merged(tmp_path, [AdapterOption(str(adapter))])


def test_only_what_is_added_can_be_added_half(tmp_path: Path) -> None:
    packing.save(tmp_path / "model.safetensors", {"q_proj.weight": whole(6, 4)})
    adapter = save(tmp_path / "a", {**Q, "base_model.model.q_proj.weight": whole(6, 4)})
    with pytest.raises(UnsupportedError, match=r"weights of its own for 'q_proj.weight', which a weight of 0.5 cannot"):
        merged(tmp_path, [AdapterOption(str(adapter), 0.5)])


def test_a_configuration_is_needed(tmp_path: Path) -> None:
    packing.save(tmp_path / "model.safetensors", {"q_proj.weight": whole(6, 4)})
    file = packing.save(tmp_path / "a" / "adapter_model.safetensors", Q)
    with pytest.raises(InputError, match=r"holds no adapter_config.json, which says how strong"):
        merged(tmp_path, [AdapterOption(str(file))])


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_merged_weights_are_mlxs(tmp_path: Path, kind: str) -> None:
    """What the layers of mlx-lm 0.32.2 fuse (``scripts/record_mlx_adapters.py``)."""
    recorded = Path(__file__).parent / "mlx_vectors" / kind
    (tmp_path / "base").mkdir()
    shutil.copy(recorded / "base.safetensors", tmp_path / "base" / "model.safetensors")
    for name in ("adapters.safetensors", "adapter_config.json"):
        shutil.copy(recorded / name, tmp_path / name)
    with merged(tmp_path / "base", [AdapterOption(str(tmp_path))]) as opened:
        expected = load_file(recorded / "merged.safetensors")
        assert expected
        for name, weights in expected.items():
            merged_rows = rows(opened.lazy[name], 5)
            np.testing.assert_allclose(merged_rows, weights.reshape(merged_rows.shape), rtol=3e-6, atol=1e-5)
