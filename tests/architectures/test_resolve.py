"""From configs and tensor names to outputs: what fits, what is missing, what lies."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qconv import architectures
from qconv.architectures.config import complete, model_class
from qconv.architectures.names import canonical, fits
from qconv.architectures.table import common, table, table_of
from qconv.errors import PlanError, QconvError, UnsupportedError
from qconv.storage import LocalFolder
from qconv.tensors import LazyTensor
from qconv.types import Metadata, TensorInfo, Value, ValueType

HERE = Path(__file__).parent


@dataclass(frozen=True)
class HeaderTensor:
    """A lazy tensor of which only single values and integers can be read: resolving reads no more."""

    info: TensorInfo
    row_group = 1
    resident_bytes = 0

    @property
    def shape(self) -> tuple[int, ...]:
        return self.info.shape

    @property
    def dtype(self) -> str:
        return self.info.dtype

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.info.name,)

    @property
    def key(self) -> TensorInfo:
        return self.info

    def memory(self, rows: int) -> int:
        return 0

    def prepare(self) -> HeaderTensor:
        return self

    def read(self, start: int, stop: int, out: object = None) -> Any:
        assert self.info.weights == 1 or self.info.dtype in ("I32", "I64"), "resolving reads no weights"
        return np.ones((1, self.info.weights), np.uint16)

    def describe(self) -> str:
        return self.info.name


class Headers:
    """A checkpoint of which only names, types and shapes exist."""

    folder = LocalFolder(Path("somewhere"))
    metadata: Metadata | None = None
    absent: Mapping[str, str] = MappingProxyType({})

    def __init__(self, config: dict[str, Any], tensors: dict[str, tuple[str, list[int]]]) -> None:
        self.config: dict[str, Any] | None = config
        self.tensors = {name: TensorInfo(name, dtype, tuple(shape)) for name, (dtype, shape) in tensors.items()}

    @property
    def lazy(self) -> dict[str, LazyTensor]:
        return {name: HeaderTensor(info) for name, info in self.tensors.items()}

    def without(self, *names: str) -> Headers:
        for name in names:
            del self.tensors[name]
        return self

    def renamed(self, old: str, new: str) -> Headers:
        self.tensors = {
            n.replace(old, new): TensorInfo(n.replace(old, new), i.dtype, i.shape) for n, i in self.tensors.items()
        }
        return self


def golden(name: str) -> Headers:
    made = json.loads((HERE / "goldens" / f"{name}.json").read_text("utf-8"))
    return Headers(made["config"], made["tensors"])


@pytest.fixture
def llama() -> Headers:
    return golden("llama2-spm")


def outputs(checkpoint: Headers) -> list[str]:
    return [output.name for output in architectures.resolve(checkpoint).tensors]


def test_every_source_is_used_or_dropped(llama: Headers) -> None:
    resolved = architectures.resolve(llama)
    used = {source for output in resolved.tensors for source in output.tensor.sources}
    dropped = {source for source, reason in resolved.dropped if reason}
    assert used | dropped == set(llama.tensors)
    assert not used & dropped


def test_a_missing_tensor_is_named(llama: Headers) -> None:
    with pytest.raises(
        PlanError, match=r"llama needs layers\.1\.self_attn\.q_proj\.weight, which the checkpoint lacks"
    ):
        outputs(llama.without("model.layers.1.self_attn.q_proj.weight"))


def test_an_output_that_is_missing_is_the_embedding(llama: Headers) -> None:
    llama.config = {**(llama.config or {}), "tie_word_embeddings": False}
    resolved = architectures.resolve(llama.without("lm_head.weight"))
    assert "output.weight" not in [output.name for output in resolved.tensors]
    (said,) = resolved.notes
    assert said.startswith(
        "there is no lm_head.weight, though config.json says tie_word_embeddings: false; the embedding"
    )
    llama.config["tie_word_embeddings"] = True
    assert architectures.resolve(llama).notes == ()
    del llama.config["tie_word_embeddings"]  # untied is what Llama's class assumes
    assert len(architectures.resolve(llama).notes) == 1


@pytest.mark.parametrize("by", ["class", "modules"])
def test_an_embedding_model_without_an_output_is_nothing_to_tell(llama: Headers, tmp_path: Path, by: str) -> None:
    config = {**(llama.config or {}), "tie_word_embeddings": False}
    if by == "class":
        config["architectures"] = ["MistralModel"]
    else:
        (tmp_path / "modules.json").write_text("[]")
        llama.folder = LocalFolder(tmp_path)
    llama.config = config
    assert architectures.resolve(llama.without("lm_head.weight")).notes == ()


@pytest.mark.parametrize(
    ("name", "cls", "head"),
    [
        ("mistral-v1", "MistralModel", "lm_head.weight"),
        ("phi3", "Phi3Model", "lm_head.weight"),
        ("gemma2", "Gemma2Model", None),
        ("gpt2", "GPT2Model", None),
        ("mixtral", "MixtralModel", "lm_head.weight"),
        ("stablelm", "StableLmModel", "lm_head.weight"),
    ],
)
def test_classes_without_a_head(name: str, cls: str, head: str | None) -> None:
    """As the class with the head, whose tensors llama.cpp's converter made the golden of, but for the output."""
    whole = golden(name)
    expected = [output.name for output in architectures.resolve(whole).tensors if output.name != "output.weight"]
    checkpoint = golden(name).without(*([head] if head else [])).renamed("model.", "")
    checkpoint.config = {**(checkpoint.config or {}), "architectures": [cls]}
    resolved = architectures.resolve(checkpoint)
    assert [output.name for output in resolved.tensors if output.name != "output.weight"] == expected
    assert resolved.metadata == architectures.resolve(whole).metadata
    assert resolved.notes == ()


@pytest.mark.parametrize("cls", ["SurpriseModel", "ForCausalLM", "Model"])
def test_other_classes_without_a_head_are_not_known(llama: Headers, cls: str) -> None:
    llama.config = {**(llama.config or {}), "architectures": [cls]}
    with pytest.raises(UnsupportedError, match=f"architecture {cls} is not known"):
        architectures.resolve(llama)


@pytest.mark.parametrize(
    "prefix",
    ["module.", "base_model.model.", "_orig_mod.", "model.", "module._orig_mod.", "student.", "_fsdp_wrapped_module."],
)
def test_wrappers_that_all_tensors_share(llama: Headers, prefix: str) -> None:
    expected = outputs(llama)
    llama.tensors = {prefix + n: TensorInfo(prefix + n, i.dtype, i.shape) for n, i in llama.tensors.items()}
    assert outputs(llama) == expected


def test_wrappers_inside_names(llama: Headers) -> None:
    expected = outputs(llama)
    changed = llama.renamed("self_attn.", "_fsdp_wrapped_module.self_attn._orig_mod.")
    assert outputs(changed.renamed("mlp.", "mlp._checkpoint_wrapped_module.")) == expected


def test_a_wrapper_that_some_tensors_lack_is_shown(llama: Headers) -> None:
    with pytest.raises(
        PlanError, match=r"; it has no use for model\.layers\.0\.wrapped\.self_attn\..*, .* and \d+ more"
    ):
        architectures.resolve(llama.renamed("self_attn", "wrapped.self_attn"))


def test_modules_that_had_an_adapter(llama: Headers) -> None:
    expected = outputs(llama)
    assert outputs(llama.renamed("q_proj.weight", "q_proj.base_layer.weight")) == expected


@pytest.mark.parametrize("prefix", ["", "base_model.model."])
def test_adapters_that_are_not_merged_are_named(llama: Headers, prefix: str) -> None:
    inside: dict[str, TensorInfo] = {}
    for name, info in llama.tensors.items():
        if name.endswith("q_proj.weight"):
            module = prefix + name.removesuffix(".weight")
            inside |= {f"{module}.{part}.weight": info for part in ("base_layer", "lora_A.default", "lora_B.default")}
        else:
            inside[prefix + name] = info
    llama.tensors = {name: TensorInfo(name, info.dtype, info.shape) for name, info in inside.items()}
    with pytest.raises(PlanError, match=r"holds adapters that are not merged .* such as .*q_proj.*merge_and_unload"):
        architectures.resolve(llama)


def changed(checkpoint: Headers, name: str, dtype: str, *shape: int) -> Headers:
    checkpoint.tensors = {**checkpoint.tensors, name: TensorInfo(name, dtype, shape)}
    return checkpoint


@pytest.mark.parametrize(
    "name", ["model.embed_tokens.weight", "model.layers.1.self_attn.q_proj.weight", "model.norm.weight"]
)
@pytest.mark.parametrize("shape", [(0,), (0, 64)])
def test_tensors_saved_without_gathering_are_told(llama: Headers, name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(PlanError, match=rf"tensor '{name}': is empty: .*ZeRO-3.*zero_to_fp32\.py"):
        architectures.resolve(changed(llama, name, "BF16", *shape))


@pytest.mark.parametrize("dtype", ["U8", "I8", "U16", "I16", "I32", "I64", "BOOL"])
@pytest.mark.parametrize("name", ["model.layers.1.self_attn.v_proj.weight", "model.layers.0.input_layernorm.weight"])
def test_integers_are_no_weights(llama: Headers, name: str, dtype: str) -> None:
    with pytest.raises(PlanError, match=f"tensor '{name}': is {dtype}: integers are no weights"):
        architectures.resolve(changed(llama, name, dtype, *llama.tensors[name].shape))


def test_experts_of_integers_are_no_weights() -> None:
    checkpoint = golden("qwen3moe-stacked")
    name = "model.layers.0.mlp.experts.gate_up_proj"
    with pytest.raises(PlanError, match=f"tensor '{name}': is U8: integers are no weights"):
        architectures.resolve(changed(checkpoint, name, "U8", *checkpoint.tensors[name].shape))


def test_a_shifted_norm_of_integers_is_none() -> None:
    checkpoint = golden("gemma3-text")
    name = "model.norm.weight"
    with pytest.raises(PlanError, match=f"tensor '{name}': is U16: integers are no weights"):
        architectures.resolve(changed(checkpoint, name, "U16", *checkpoint.tensors[name].shape))


@pytest.mark.parametrize(
    "name", ["lm_head.weight", "model.layers.0.self_attn.rotary_emb.inv_freq", "model.vision_tower.x.weight"]
)
def test_what_the_index_alone_has_may_be_superfluous(name: str) -> None:
    checkpoint = golden("llama32-tied")
    checkpoint.absent = {name: "model-00002-of-00002.safetensors"}
    resolved = architectures.resolve(checkpoint)
    assert resolved.notes == (f"{name} is in the index alone, and not needed",)


@pytest.mark.parametrize("name", ["lm_head.weight", "model.layers.0.self_attn.q_proj.bias", "model.surprise.weight"])
def test_what_the_index_alone_has_may_be_needed(llama: Headers, name: str) -> None:
    llama.config = {**(llama.config or {}), "tie_word_embeddings": False}
    llama.absent = {name: "model-00002-of-00002.safetensors"}
    with pytest.raises(PlanError, match=f"tensor '{name}': is not in 'model-00002-of-00002.safetensors', as the index"):
        architectures.resolve(llama.without("lm_head.weight"))


def test_a_tensor_of_no_use_is_named(llama: Headers) -> None:
    llama.tensors["model.layers.0.self_attn.gadget.weight"] = TensorInfo(
        "model.layers.0.self_attn.gadget.weight", "BF16", (4, 4)
    )
    with pytest.raises(PlanError, match=r"llama has no use for model\.layers\.0\.self_attn\.gadget\.weight"):
        outputs(llama)


def test_a_config_of_fewer_layers_is_told(llama: Headers) -> None:
    llama.config = {**(llama.config or {}), "num_hidden_layers": 1}
    with pytest.raises(PlanError, match=r"no use for model\.layers\.1\..*config\.json counts fewer layers or experts"):
        outputs(llama)


@pytest.mark.parametrize(("shape", "said"), [((), "scalar: it has too few"), ((7, 8), "7 x 8: 7 is not a multiple")])
def test_an_operation_names_the_shape_it_does_not_fit(llama: Headers, shape: tuple[int, ...], said: str) -> None:
    name = "model.layers.1.self_attn.q_proj.weight"
    llama.tensors[name] = TensorInfo(name, "BF16", shape)
    with pytest.raises(PlanError, match=rf"tensor '{name}': permute_rope does not fit {said}"):
        outputs(llama)


def test_a_misspelled_tensor_brings_the_nearest(llama: Headers) -> None:
    llama.renamed("layers.0.self_attn.q_proj", "layers.0.self_attn.q_porj")
    with pytest.raises(PlanError, match=r"nearest there is: model\.layers\.0\.self_attn\.q_porj\.weight"):
        outputs(llama)


def test_half_an_alternative_is_an_error() -> None:
    mixtral = golden("mixtral")
    gone = next(name for name in mixtral.tensors if ".experts.2.w1" in name)
    with pytest.raises(PlanError, match=r"block_sparse_moe\.experts"):
        outputs(mixtral.without(gone))


def test_no_alternative_is_an_error(llama: Headers) -> None:
    llama.without(*(name for name in list(llama.tensors) if "layers.0.mlp" in name))
    with pytest.raises(PlanError, match=r"layer 0 has no ffn"):
        outputs(llama)


@pytest.mark.parametrize("prefix", ["", "model.", "language_model.model.", "model.language_model."])
def test_wrappers_do_not_matter(llama: Headers, prefix: str) -> None:
    expected = outputs(llama)
    assert outputs(llama.renamed("model.", prefix)) == expected


def test_two_tensors_of_one_name_are_refused(llama: Headers) -> None:
    llama.tensors["norm.weight"] = TensorInfo("norm.weight", "F32", (4,))
    with pytest.raises(PlanError, match=r"model\.norm\.weight and norm\.weight are both"):
        outputs(llama)


def test_canonical_names() -> None:
    assert canonical("model.language_model.layers.3.mlp.up_proj.weight") == "layers.3.mlp.up_proj.weight"
    assert canonical("transformer.h.0.ln_1.weight") == "h.0.ln_1.weight"
    assert canonical("bert.embeddings.LayerNorm.gamma") == "embeddings.LayerNorm.weight"
    assert canonical("lm_head.weight") == "lm_head.weight"


def test_patterns_fit_whole_names() -> None:
    assert fits("h.{layer}.attn.bias", "h.12.attn.bias")
    assert not fits("h.{layer}.attn.bias", "h.x.attn.bias")
    assert not fits("h.{layer}.attn.bias", "h.1.attn.bias.more")


def test_an_unknown_class_brings_the_nearest() -> None:
    with pytest.raises(UnsupportedError, match=r"Qwen3ForCausalLN is not known \(nearest known: Qwen3ForCausalLM"):
        architectures.find_table({"architectures": ["Qwen3ForCausalLN"]})
    with pytest.raises(UnsupportedError, match="names no model class"):
        architectures.find_table({"architectures": []})


def test_the_text_part_names_the_class() -> None:
    wrapped = {
        "architectures": ["SomethingForConditionalGeneration"],
        "text_config": {"architectures": ["Qwen3ForCausalLM"]},
    }
    assert model_class(wrapped) == "Qwen3ForCausalLM"
    assert model_class({"architectures": ["A"], "llm_config": {"hidden_size": 1}}) == "A"
    assert model_class({"ssm_cfg": {"layer": "Mamba2"}}) == "Mamba2ForCausalLM"


def test_an_unknown_class_is_what_its_text_part_is() -> None:
    assert (
        model_class({"architectures": ["SomethingNew"], "text_config": {"model_type": "qwen3"}}) == "Qwen3ForCausalLM"
    )
    own = {"architectures": ["SomethingNew"], "text_config": {"architectures": ["Its"], "model_type": "llama"}}
    assert model_class(own) == "LlamaForCausalLM"
    # a class that has a table stays what it is, and words without a meaning have none
    known = {"architectures": ["LlavaForConditionalGeneration"], "text_config": {"model_type": "qwen2"}}
    assert model_class(known) == "LlavaForConditionalGeneration"
    assert model_class({"architectures": ["SomethingNew"], "text_config": {"model_type": "new"}}) == "SomethingNew"


def test_an_unknown_classs_own_keys_are_not_its_text_parts() -> None:
    text = {"model_type": "qwen2", "hidden_size": 64}
    wrapped = {"architectures": ["SomethingNew"], "head_dim": 32, "tie_word_embeddings": True, "text_config": text}
    full = complete(wrapped, table("qwen2"))
    assert "head_dim" not in full  # MusicFlamingo's is about sounds
    assert full["tie_word_embeddings"] is True
    known = complete(wrapped | {"architectures": ["Qwen2AudioForConditionalGeneration"]}, table("qwen2"))
    assert known["head_dim"] == 32


def test_every_text_model_has_a_table() -> None:
    assert all(table_of(cls) for cls in common().text_models.values())
    assert not any(table_of(cls) for cls in common().multimodal)


def test_defaults_of_the_model_type() -> None:
    llama = table("llama")
    full = complete({"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4, "head_dim": None}, llama)
    assert (full["head_dim"], full["num_key_value_heads"], full["max_position_embeddings"]) == (16, 4, 2048)
    assert full["rope_parameters"] == {"rope_theta": 10000.0}
    raw = complete({"model_type": "own-code", "hidden_size": 64, "num_attention_heads": 4}, llama)
    assert "head_dim" not in raw


def test_both_ages_of_rope_parameters() -> None:
    old = {"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 2.0}}
    new = {"rope_parameters": {"rope_theta": 5e5, "rope_type": "linear", "factor": 2.0}}
    assert complete(old, table("internlm2"))["rope_parameters"] == {**new["rope_parameters"], "type": "linear"}
    assert complete(new, table("internlm2"))["rope_parameters"] == new["rope_parameters"]
    layered = {"rope_parameters": {"full_attention": {"rope_theta": 1e6}, "sliding_attention": {"rope_theta": 1e4}}}
    assert complete({**layered, "rope_theta": 3.0}, table("internlm2"))["rope_parameters"] == layered["rope_parameters"]


def test_metadata_types_and_overwriting() -> None:
    keys = architectures.resolve(golden("llama4")).metadata
    assert keys["llama4.feed_forward_length"] == Value(ValueType.UINT32, 128)  # set twice, kept in its first place
    assert list(keys).index("llama4.feed_forward_length") < list(keys).index("llama4.attention.head_count")
    assert keys["llama4.rope.freq_base"].type is ValueType.FLOAT32


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("num_hidden_layers", "three"),
        ("num_hidden_layers", -1),
        ("num_hidden_layers", 10**9),
        ("num_attention_heads", 0),
        ("num_attention_heads", 7),
        ("num_attention_heads", 2.5),
        ("num_key_value_heads", [1]),
        ("rms_norm_eps", "small"),
        ("rms_norm_eps", 1e39),
        ("vocab_size", -5),
        ("vocab_size", None),
        ("max_position_embeddings", 2**40),
        ("rope_parameters", {"rope_type": "llama3", "factor": "x", "rope_theta": 1e4}),
        ("rope_parameters", {"rope_type": "llama3", "rope_theta": [1]}),
        ("rope_parameters", {"rope_type": "llama3", "factor": float("inf"), "rope_theta": 5e5}),
    ],
)
def test_a_config_that_lies_is_one_error(llama: Headers, key: str, value: object) -> None:
    llama.config = {**(llama.config or {}), key: value}
    with pytest.raises(PlanError):
        architectures.resolve(llama)


def test_a_reranker_keeps_two_rows_of_its_output(tmp_path: Path) -> None:
    checkpoint = golden("qwen3")
    assert checkpoint.config is not None
    plain = [output.name for output in architectures.resolve(checkpoint).tensors]
    (tmp_path / "tokenizer.json").write_text('{"model": {"vocab": {"no": 3, "yes": 7}}}', "utf-8")
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# Qwen3-Reranker-0.6B\n", "utf-8")
    checkpoint.folder = LocalFolder(tmp_path)
    resolved = architectures.resolve(checkpoint)
    assert resolved.architecture == "qwen3"
    assert [o.name for o in resolved.tensors] == ["cls.output.weight", *plain]
    first = resolved.tensors[0].tensor
    assert (first.shape[0], first.sources[0]) == (2, "model.embed_tokens.weight")
    assert "row 7 of" in first.describe()
    assert resolved.metadata["qwen3.pooling_type"].data == 4
    assert resolved.metadata["qwen3.classifier.output_labels"].data == ["yes", "no"]


GOLDENS = sorted(path.stem for path in (HERE / "goldens").glob("*.json"))
SMALL = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**70) | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["factor", "rope_type", "x"]), inner),
    max_leaves=4,
)


@pytest.mark.parametrize("value", [["sigmoid"], {"sigmoid": 1}, 2, "tanh"])
def test_words_the_table_does_not_know_are_refused(value: Any) -> None:
    checkpoint = golden("dots1")
    checkpoint.config = {**(checkpoint.config or {}), "scoring_func": value}
    with pytest.raises(PlanError, match=r"for 'scoring_func', known are softmax, sigmoid"):
        architectures.resolve(checkpoint)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_no_config_causes_anything_but_our_errors(data: st.DataObject) -> None:
    checkpoint = golden(data.draw(st.sampled_from(GOLDENS)))
    config = dict(checkpoint.config or {})
    for key in data.draw(st.lists(st.sampled_from(sorted(config)), min_size=1, max_size=3)):
        config[key] = data.draw(SMALL)
    checkpoint.config = config
    with contextlib.suppress(QconvError):
        architectures.resolve(checkpoint)
