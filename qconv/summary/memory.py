"""The memory a model takes when it runs: its weights, and the cache of the tokens seen so far.

Every layer with attention keeps a key and a value per token and key-value head, F16 unless the runtime is told
otherwise; layers with a sliding window keep as many tokens as it has, and a batch; recurrent layers keep one state in
F32, whatever the context.  Source of the formulas: llama.cpp's ``llama-kv-cache*.cpp`` and ``llama-hparams.cpp``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qconv.summary.keys import Keys
from qconv.summary.runtime import runtime
from qconv.types import Metadata

_BATCH = 512
"""Tokens llama.cpp evaluates at a time (its default): the room a sliding window has beyond itself."""
_LAYERS = 65536
_PATTERN = "attention.sliding_window_pattern"


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes for the weights, and for the cache of ``context`` tokens; ``assumed`` says what the figures rest on."""

    weights: int
    cache: int
    context: int
    assumed: tuple[str, ...]

    @property
    def total(self) -> int:
        return self.weights + self.cache


def memory(metadata: Metadata, architecture: str, weights: int, context: int) -> Memory | None:
    """What running takes, or ``None`` where the metadata does not say how many layers and heads there are.

    ``weights``: bytes of the weights.  ``context``: tokens.
    """
    keys = Keys(metadata, architecture)
    layers = keys.number("block_count") - keys.number("nextn_predict_layers")
    if not 0 < layers <= _LAYERS:
        return None
    if architecture in runtime().uncached.architectures or keys.is_false("attention.causal"):
        return Memory(weights, 0, context, ("an embedding model keeps no cache",))
    heads = _kv_heads(keys, layers)
    window = _window(keys, architecture)
    slides = _slides(keys, architecture, layers) if window else [False] * layers
    widths = _widths(keys, layers, slides)
    recurrent = _recurrent(keys, architecture, heads)
    if not any(recurrent) and not any(w * h for w, h in zip(widths, heads, strict=True)):
        return None

    short = min(context, -(-(window + _BATCH) // 256) * 256)
    cells = [short if slide else context for slide in slides]
    own = _layers_with_own_cache(keys, architecture, layers)
    cache = sum(2 * c * h * w for c, h, w in list(zip(cells, heads, widths, strict=True))[:own])
    assumed = ["the cache in F16", "one sequence"]
    if short < context and any(slides):
        assumed.append(f"{sum(slides[:own])} layers with a window of {window:,}")
    if any(recurrent):
        assumed.append(f"{sum(recurrent)} recurrent layers with a state in F32")
    return Memory(weights, cache + 4 * _state(keys) * sum(recurrent), context, tuple(assumed))


def _kv_heads(keys: Keys, layers: int) -> list[int]:
    """Key-value heads of each layer; 0 where it keeps no keys."""
    heads = keys.per_layer("attention.head_count_kv", layers, keys.number("attention.head_count"))
    interval = keys.number("full_attention_interval")
    if interval:
        return [h if (i + 1) % interval == 0 else 0 for i, h in enumerate(heads)]
    return heads


def _layers_with_own_cache(keys: Keys, architecture: str, layers: int) -> int:
    """The layers from this one on use the cache of earlier ones."""
    return min(layers, runtime().shared.get(architecture, layers - keys.number("attention.shared_kv_layers")))


def _window(keys: Keys, architecture: str) -> int:
    """Tokens a sliding window has; 0 where the runtime slides none."""
    table = runtime().windows.get(architecture)
    if table is None and not keys.is_array(_PATTERN):
        return 0
    return keys.number("attention.sliding_window", table.window if table else 0)


def _slides(keys: Keys, architecture: str, layers: int) -> list[bool]:
    """Which layers have the sliding window."""
    if keys.is_array(_PATTERN):
        return [bool(n) for n in keys.per_layer(_PATTERN, layers, 0)]
    table = runtime().windows[architecture]
    every = keys.number(_PATTERN, table.every) or 1
    full = 0 if table.first else every - 1
    return [i % every != full for i in range(layers)]


def _widths(keys: Keys, layers: int, slides: Sequence[bool]) -> list[int]:
    """Numbers kept per token and key-value head of each layer: a key's and a value's length."""
    heads = max(keys.per_layer("attention.head_count", layers, 0), default=0)
    usual = keys.number("embedding_length") // heads if heads else 0
    key = keys.number("attention.key_length", usual)
    value = keys.number("attention.value_length", usual)
    if keys.has("attention.key_length_mla"):  # latent attention: the value is part of the key
        value = 0
    sliding = keys.number("attention.key_length_swa", key) + keys.number("attention.value_length_swa", value)
    return [sliding if slide else key + value for slide in slides]


def _state(keys: Keys) -> int:
    """Numbers a recurrent layer keeps."""
    embedding = keys.number("embedding_length")
    if keys.has("wkv.head_size"):
        return embedding * (keys.number("wkv.head_size") + keys.number("token_shift_count", 2))
    if keys.has("shortconv.l_cache"):
        return embedding * max(0, keys.number("shortconv.l_cache") - 1)
    inner, state = keys.number("ssm.inner_size"), keys.number("ssm.state_size")
    past = max(0, keys.number("ssm.conv_kernel") - 1)
    return past * (inner + 2 * keys.number("ssm.group_count") * state) + inner * state


def _recurrent(keys: Keys, architecture: str, heads: Sequence[int]) -> list[bool]:
    """Which layers keep a recurrent state: those without keys, unless they are nothing but a feed-forward part."""
    layers = len(heads)
    if not _state(keys):
        return [False] * layers
    known = runtime().recurrent
    if architecture in known.beside_attention:
        return [True] * layers
    separate = architecture in known.separate_feed_forward
    wide = keys.per_layer("feed_forward_length", layers, 0) if separate else [0] * layers
    return [h == 0 and not w for h, w in zip(heads, wide, strict=True)]
