"""The config as llama.cpp's converter sees it: completed with defaults, the text model's keys at the root."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qconv.architectures import evaluate
from qconv.architectures.model import ModelContext
from qconv.architectures.not_converted import not_converted
from qconv.architectures.schema import Table
from qconv.architectures.table import common, table_of
from qconv.errors import TableError

_GLOBAL_THETA = ("global_rope_theta", "rope_global_theta", "rope_theta_global", "rope_theta", "rotary_emb_base")
_LOCAL_THETA = (
    "local_rope_theta",
    "rope_local_theta",
    "rope_theta_local",
    "swa_rope_theta",
    "rope_local_base_freq",
)
_PARTIAL_ROTARY = ("partial_rotary_factor", "rope_pct", "rope_percent")

_OF_THE_WHOLE = ("architectures", "dtype", "quantization_config", "tie_word_embeddings", "torch_dtype")
"""Keys that count for the text part, where an unknown class wraps it; others may be about images or sounds."""


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The part of a multimodal model's config that is about its text model."""
    for name in common().text_configs:
        part = config.get(name)
        if name == "thinker_config" and isinstance(part, Mapping):
            part = part.get("text_config")
        if isinstance(part, Mapping):
            return part
    return None


def model_class(config: Mapping[str, Any]) -> str | None:
    """The class that decides the architecture: the text model's own when the config names it.

    Of a multimodal class no table knows, it is the class whose text model it has.
    """
    text = text_config(config) or {}
    named = _named_class(config, text)
    if named is None or table_of(named) is not None or named in not_converted():
        return named
    return common().text_models.get(str(text.get("model_type")), named)


def _named_class(config: Mapping[str, Any], text: Mapping[str, Any]) -> str | None:
    """The text model's class where the config names one, with the exceptions llama.cpp's converter makes."""
    outer, inner = first_class(config), first_class(text)
    if outer is None and isinstance(config.get("ssm_cfg"), Mapping):  # original Mamba checkpoints name no class
        return str(config["ssm_cfg"].get("layer", "Mamba")) + "ForCausalLM"
    return outer if outer in common().wrapper_classes or inner is None else inner


def first_class(config: Mapping[str, Any]) -> str | None:
    """The first of a config's ``architectures``; None when there is none."""
    classes = config.get("architectures")
    return classes[0] if isinstance(classes, list) and classes and isinstance(classes[0], str) else None


def complete(config: Mapping[str, Any], table: Table) -> dict[str, Any]:
    """The config with its text part and the defaults of its class at the root and ``rope_parameters`` of either age."""
    text = text_config(config)
    if text is None:
        full = with_defaults(config, config.get("model_type"), table)
    else:
        kind = text.get("model_type") or f"{config.get('model_type')}_text"
        named = _named_class(config, text)
        known = named is None or table_of(named) is not None
        outer = config if known else {k: v for k, v in config.items() if k in _OF_THE_WHOLE}
        sizes = common().text_sizes.get(str(kind), {})
        full = {**outer, **with_defaults({**sizes, **text}, kind, table)}
        if "tie_word_embeddings" in config:  # the outer class is what ties
            full["tie_word_embeddings"] = config["tie_word_embeddings"]
    full["rope_parameters"] = _rope_parameters(full)
    return full


def with_defaults(config: Mapping[str, Any], model_type: object, table: Table) -> dict[str, Any]:
    """Defaults that transformers' config class fills in; a derived one also replaces null."""
    full = dict(config)
    for key, default in table.defaults.get(str(model_type), {}).items():
        derived = isinstance(default, dict) and "derive" in default
        if derived and full.get(key) is None:
            name, of = default["derive"], default.get("of", [])
            if not isinstance(name, str) or not isinstance(of, list):
                raise TableError(f"{table.name}: the default of '{key}' names no derivation: {default!r}")
            full[key] = evaluate.derive(ModelContext(full, table=table.name), name, tuple(of))
        elif not derived and not (key == "rope_parameters" and _has_older_rope(config)):
            full.setdefault(key, default)
        if key == "num_key_value_heads" and full[key] is None:  # as before there were fewer of them
            full[key] = evaluate.derive(ModelContext(full, table=table.name), "n_head", ())
    return full


def _has_older_rope(config: Mapping[str, Any]) -> bool:
    """Whether a config says how positions turn as those before ``rope_parameters`` do."""
    return bool(config.get("rope_scaling")) or any(key in config for key in (*_GLOBAL_THETA, *_LOCAL_THETA))


def _rope_parameters(config: Mapping[str, Any]) -> dict[str, Any]:
    """``rope_parameters``, or ``rope_scaling`` with what older configs keep beside it."""

    def first(keys: tuple[str, ...]) -> Any:
        return next((config[k] for k in keys if k in config), None)

    declared = config.get("rope_parameters", config.get("rope_scaling"))
    rope: dict[str, Any] = dict(declared) if isinstance(declared, Mapping) else {}
    if "full_attention" in rope or "sliding_attention" in rope:
        return rope
    if (local := first(_LOCAL_THETA)) is not None:
        rope["sliding_attention"] = {"rope_theta": local}
    for key, value in (
        ("rope_theta", first(_GLOBAL_THETA)),
        ("rope_type", rope.get("type")),
        ("partial_rotary_factor", first(_PARTIAL_ROTARY)),
        ("original_max_position_embeddings", config.get("original_max_position_embeddings")),
    ):
        if value is not None:
            rope.setdefault(key, value)
    return rope
