"""Gemma: vocabulary, windows, and what differs from layer to layer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from qconv.architectures.derivations.rope import parameters
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import condition, derivation, maker
from qconv.errors import FormatError, PlanError
from qconv.files import read_json

_GENERATION = "generation_config.json"
_EMBEDDING = "embed_tokens.weight"


class _Vocabulary(msgspec.Struct):
    vocab: dict[str, int]


class _Added(msgspec.Struct):
    content: str


class _TokenizerFile(msgspec.Struct):
    model: _Vocabulary
    added_tokens: list[_Added]


@derivation
def gemma_vocabulary(model: ModelContext) -> int:
    """Rows of the token embedding that stand for a token, as config.json says; the rest pads it to a round size."""
    rows = model.tensors[_EMBEDDING].shape[0] if _EMBEDDING in model.tensors else model.count("vocab_size")
    return min(rows, model.integer("vocab_size_per_layer_input", "vocab_size", default=rows))


@derivation
def gemma4_vocabulary(model: ModelContext) -> int:
    """The same, but without a ``tokenizer.model`` the vocabulary is as large as ``tokenizer.json`` says."""
    rows = gemma_vocabulary(model)
    folder, name = model.folder, "tokenizer.json"
    if folder is None or not folder.has(name) or folder.has("tokenizer.model"):
        return rows
    try:
        tokenizer = msgspec.json.decode(folder.read(name), type=_TokenizerFile)
    except (UnicodeDecodeError, RecursionError, msgspec.DecodeError) as e:
        raise FormatError(f"lists no vocabulary: {e}", file=folder.locate(name)) from e
    return min(rows, len(tokenizer.model.vocab.keys() | {token.content for token in tokenizer.added_tokens}))


@derivation
def gemma_sliding_window(model: ModelContext) -> int | None:
    """None where every layer sees everything; half of it on either side of a token for models that look both ways."""
    if model.find("sliding_window_pattern") == 1:
        return None
    window = model.integer("sliding_window")
    return window // 2 + 1 if model.find("use_bidirectional_attention") is True else window


@derivation
def suppressed_tokens(model: ModelContext) -> list[int] | None:
    """Tokens that are never to be chosen, by ``generation_config.json``; none without that file."""
    if model.folder is None or not model.folder.has(_GENERATION):
        return None
    generation = read_json(model.folder, _GENERATION)
    listed = generation.get("suppress_tokens") if isinstance(generation, dict) else None
    if listed is not None and not (isinstance(listed, list) and all(isinstance(n, int) for n in listed)):
        raise FormatError("has no list of numbers for 'suppress_tokens'", file=model.folder.locate(_GENERATION))
    return listed


@derivation
def is_sliding(model: ModelContext) -> list[bool]:
    """For each layer whether its attention is limited to the window."""
    kinds = model.find("layer_types")
    if not isinstance(kinds, list):
        raise model.lacks(["layer_types"], kinds, "a list")
    return [kind == "sliding_attention" for kind in kinds]


@derivation
def for_each_layer(model: ModelContext, key: str) -> list[int]:
    """A config key's list, or its one number for all layers."""
    value = model.find(key)
    return value if isinstance(value, list) else [model.count(key)] * model.count("num_hidden_layers")


@derivation
def gemma3n_layer_types(model: ModelContext) -> list[str]:
    """Every fifth layer sees everything."""
    layers = range(1, model.count("num_hidden_layers") + 1)
    return ["sliding_attention" if n % 5 else "full_attention" for n in layers]


@derivation
def gemma3n_sparsity(model: ModelContext) -> list[float]:
    """The first ten layers of a deep model keep one activation in twenty."""
    layers = model.count("num_hidden_layers")
    sparse = 10 if layers > 10 else 0
    return [0.95] * sparse + [0.0] * (layers - sparse)


@derivation
def sparsity_in_deviations(model: ModelContext) -> list[float]:
    """``activation_sparsity_pattern`` as standard deviations above the mean, rounded where torch's icdf rounds."""
    pattern = model.find("activation_sparsity_pattern")
    if not isinstance(pattern, list) or not all(isinstance(s, int | float) and 0 <= s <= 1 for s in pattern):
        raise model.lacks(["activation_sparsity_pattern"], pattern, "a list of fractions")
    return [_deviations(np.float32(s)) for s in pattern]


def _deviations(fraction: np.float32) -> float:
    """``erfinv(2 f - 1) sqrt(2)``, each step rounded to float32."""
    x = float(np.float32(2) * fraction - np.float32(1))
    if abs(x) == 1:
        return math.copysign(math.inf, x)
    inverse = NormalDist().inv_cdf((1 + x) / 2) / math.sqrt(2)
    return float(np.float32(inverse) * np.float32(math.sqrt(2)))


@derivation
def n_altup_projection(model: ModelContext) -> int:
    """One for each alternating input but the first; PlanError where there are not four, which is all GGUF can hold."""
    if model.count("altup_num_inputs") != 4:
        raise model.lacks(["altup_num_inputs"], model.find("altup_num_inputs"), "4")
    return 3


@condition
def per_layer_inputs(model: ModelContext) -> bool:
    """Whether each layer has token embeddings of its own."""
    return bool(model.find("hidden_size_per_layer_input"))


@condition
def keys_are_values(model: ModelContext) -> bool:
    """Whether layers with full attention, or those that share an earlier layer's, have no values of their own."""
    return bool(model.find("attention_k_eq_v")) or shares_keys(model)


@condition
def shares_keys(model: ModelContext) -> bool:
    """Whether the last layers use the keys and values of earlier ones."""
    return bool(model.find("num_kv_shared_layers"))


def _of_full_layers(model: ModelContext, key: str, own: str) -> Any:
    """The config's ``key``, else ``own`` from the first layer with full attention in ``per_layer_config``."""
    if (value := model.find(key)) is not None:
        return value
    sliding = is_sliding(model)
    layers = model.find("per_layer_config")
    for number, about in layers.items() if isinstance(layers, Mapping) else ():
        full = str(number).isdecimal() and int(number) < len(sliding) and not sliding[int(number)]
        if full and isinstance(about, Mapping) and own in about:
            return about[own]
    return None


@derivation
def gemma4_head_dim(model: ModelContext) -> int:
    """Size of a head in layers with full attention."""
    size = _of_full_layers(model, "global_head_dim", "head_dim")
    if not isinstance(size, int) or not 0 < size <= 1 << 16:
        raise model.lacks(["global_head_dim"], size, "the size of a head")
    return size


@derivation
def gemma4_head_count_kv(model: ModelContext) -> int | list[int]:
    """Key and value heads, for each layer where those with full attention have another number."""
    sliding = model.count("num_key_value_heads", default=4)
    full = _of_full_layers(model, "num_global_key_value_heads", "num_key_value_heads")
    if full is None:
        return sliding
    return [sliding if limited else full for limited in is_sliding(model)]


@derivation
def gemma4_feed_forward(model: ModelContext) -> int | list[int]:
    """Width of the feed-forward part, doubled where layers share keys and values and the config says so."""
    width = model.count("intermediate_size")
    if not model.find("use_double_wide_mlp"):
        return width
    layers, shared = model.count("num_hidden_layers"), model.count("num_kv_shared_layers", default=0)
    return [width if layer < layers - shared else 2 * width for layer in range(layers)]


@condition
def proportional_rope(model: ModelContext) -> bool:
    """Only a part of a head rotates, with the wavelengths of all of it."""
    return parameters(model).get("rope_type") == "proportional"


@maker
def rope_factors_proportional(model: ModelContext) -> NDArray[np.float32]:
    """Factors for layers with full attention: the part of a head that does not rotate gets endless wavelengths."""
    rope = parameters(model)
    share = rope.get("partial_rotary_factor")
    if rope.get("rope_type") != "proportional" or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise PlanError("rope_parameters.full_attention is not proportional", file=model.location)
    size = gemma4_head_dim(model)
    rotating = int(size * share / 2)
    return np.array([1.0] * rotating + [1e30] * (size // 2 - rotating), np.float32)
