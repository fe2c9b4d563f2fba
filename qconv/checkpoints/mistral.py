"""Mistral's own format: ``params.json`` in place of ``config.json``, and weights called ``consolidated``.

What its words mean follows ``MistralModel`` and ``MistralMoeModel`` of llama.cpp's ``conversion/mistral.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qconv.errors import FormatError, UnsupportedError
from qconv.storage import Folder

PARAMS = "params.json"
_WEIGHTS = "consolidated"
_OF_EXPERTS = {
    "route_every_n": "moe_layer_freq",
    "first_k_dense_replace": "first_k_dense_replace",
    "num_experts_per_tok": "num_experts_per_tok",
    "num_experts": "n_routed_experts",
    "expert_hidden_dim": "moe_intermediate_size",
    "routed_scale": "routed_scaling_factor",
    "num_shared_experts": "n_shared_experts",
    "num_expert_groups": "n_group",
    "num_expert_groups_per_tok": "topk_group",
}
"""Words of the part ``moe``, and DeepSeek's for the same."""
_CONTEXT = 128_000
"""Tokens of a model with experts that says nothing."""


def is_native(folder: Folder, names: Sequence[str]) -> bool:
    """Whether a folder's weights, of these names, are in Mistral's format: their names inside are others."""
    return all(name.startswith(_WEIGHTS) for name in names) and folder.has(PARAMS)


def config_of(params: Mapping[str, Any], location: str) -> dict[str, Any]:
    """``params.json`` as a config: with the class of a table, and DeepSeek's words for experts.

    Raises UnsupportedError for a quantization it does not know, FormatError for experts it says nothing of.
    """
    config = {**params, "tie_word_embeddings": bool(params.get("tied_embeddings"))}
    experts = params.get("moe")
    config["architectures"] = ["MistralFormat" if experts is None else "MistralExpertsFormat"]
    if experts is not None:
        if not isinstance(experts, Mapping):
            raise FormatError("has a 'moe' that is not an object", file=location)
        if "kv_lora_rank" not in params:
            hint = "convert the model's other files, with config.json and model*.safetensors"
            message = "is a model with experts and without latent attention, in Mistral's own format"
            raise UnsupportedError(message, file=location, hint=hint)
        config |= {new: experts[old] for old, new in _OF_EXPERTS.items() if old in experts}
        config |= {"scoring_func": "softmax", "norm_topk_prob": True}
        config.setdefault("max_position_embeddings", _CONTEXT)
    quantization = config.pop("quantization", None)
    if quantization is not None:
        config["quantization_config"] = _quantization(quantization, location)
    return config


def _quantization(said: object, location: str) -> dict[str, Any]:
    if isinstance(said, Mapping) and said.get("quant_method") is not None:
        return dict(said)
    form = said.get("qformat_weight") if isinstance(said, Mapping) else None
    if form != "fp8_e4m3":
        hint = "convert the model it was made from"
        raise UnsupportedError(
            f"is quantized to '{form}'; of Mistral's formats fp8_e4m3 is read", file=location, hint=hint
        )
    return {"quant_method": "fp8", "weight_block_size": None}
