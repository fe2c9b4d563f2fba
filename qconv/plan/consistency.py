"""Whether a checkpoint's tensors have the sizes its config speaks of, in the parts that all architectures share."""

from __future__ import annotations

import re
from typing import Any

from qconv.architectures import MappedTensor, Resolved
from qconv.errors import PlanError
from qconv.storage import Folder
from qconv.types import Metadata, shape_text

_HINT = "take config.json and weights from the same model"
_NAME = re.compile(r"(?:blk\.(?P<layer>\d+)\.)?(?P<part>[a-z_]+)\.weight")

_WIDE = {
    "token_embd": (None, 0),
    "output": (None, 0),
    "output_norm": (0,),
    "attn_norm": (0,),
    "ffn_norm": (0,),
    "attn_q": (None, 0),
    "attn_k": (None, 0),
    "attn_v": (None, 0),
    "attn_output": (0, None),
    "ffn_gate": (None, 0),
    "ffn_up": (None, 0),
    "ffn_down": (0, None),
}
"""Tensors whose dimension at the 0 is the model's width, whatever the architecture."""

_HEADS = {"attn_q": "key", "attn_k": "key", "attn_v": "value", "attn_output": "value"}
_OTHERWISE = ("attention.kv_lora_rank", "attention.key_length_swa")
"""Keys of models with latent attention, or other heads in some layers."""
_OTHER_FEED_FORWARD = ("arctic", "qwen")
"""Architectures whose dense feed-forward part is as wide as the model, or half of what the config says."""


def check(folder: Folder, model: Resolved) -> list[str]:
    """Warnings, one for each kind of tensor: heads and feed-forward parts of another size than the config's, and an
    output matrix that the config says is the embedding.

    PlanError: a tensor is not as wide as the config says the model is.
    """
    sizes = _Sizes(model.architecture, model.metadata)
    warnings: dict[str, str] = {}
    outputs = model.tensors
    tied = [o for o in outputs if o.name == "output.weight"] if model.config.get("tie_word_embeddings") is True else []
    if tied:
        warnings["output"] = (
            f"{_source(tied[0])} is stored though config.json ties it to the embedding: both are converted, as "
            "llama.cpp's converter does; a checkpoint without it makes a smaller file"
        )
    for output in outputs:
        name = _NAME.fullmatch(output.name)
        if name is None or name["part"] not in _WIDE:
            continue
        _check_width(folder, output, _WIDE[name["part"]], sizes.width(name["part"]))
        if name["layer"] is None or len(output.tensor.shape) != 2:
            continue
        expected = sizes.expected(name["part"], int(name["layer"]))
        size = output.tensor.shape[1 if name["part"] in ("attn_output", "ffn_down") else 0]
        if expected and size not in expected and name["part"] not in warnings:
            warnings[name["part"]] = (
                f"{_source(output)} is {shape_text(output.tensor.shape)}; by config.json its {size} should be"
                f" {expected[0]}: "
                "are they of the same model? llama.cpp may not load the file"
            )
    return list(warnings.values())


def _check_width(folder: Folder, output: MappedTensor, pattern: tuple[int | None, ...], width: int | None) -> None:
    shape = output.tensor.shape
    if width is None:
        return
    if len(shape) != len(pattern) or any(n != width for n, place in zip(shape, pattern, strict=True) if place == 0):
        raise PlanError(
            f"is {shape_text(output.tensor.shape)}, but by config.json the model is {width} wide",
            file=folder.location,
            tensor=_source(output),
            hint=_HINT,
        )


class _Sizes:
    """What an architecture's metadata says of sizes; some lists have an entry for each layer."""

    def __init__(self, architecture: str, metadata: Metadata) -> None:
        self._architecture = architecture
        self._metadata = metadata

    def one(self, key: str, layer: int) -> int | None:
        value = self._metadata.get(f"{self._architecture}.{key}")
        data: Any = None if value is None else value.data
        if isinstance(data, list):
            data = data[layer] if layer < len(data) else None
        return data if isinstance(data, int) else None

    def width(self, part: str) -> int | None:
        """The model's width; a drafter's attention takes in a state of the model it drafts for beside its own."""
        width = self.one("embedding_length", 0)
        both = part in ("attn_q", "attn_k", "attn_v") and self.one("target_hidden_size", 0) is not None
        return 2 * width if both and width is not None else width

    def expected(self, part: str, layer: int) -> tuple[int, ...]:
        """The sizes a part may have beside the model's width; none where that depends on more than the heads."""
        if part == "ffn_down" and self._architecture in _OTHER_FEED_FORWARD:
            return ()
        if part == "ffn_down":
            sizes = (self.one("feed_forward_length", layer), self.one("expert_shared_feed_forward_length", layer))
            return tuple(size for size in sizes if size is not None)
        width, heads = self.one("embedding_length", layer), self.one("attention.head_count", layer)
        if part not in _HEADS or not width or not heads or any(self.one(key, layer) for key in _OTHERWISE):
            return ()
        length = self.one(f"attention.{_HEADS[part]}_length", layer) or width // heads
        if part in ("attn_k", "attn_v"):
            heads = self.one("attention.head_count_kv", layer) or heads
        # gates may stand among the queries, as many as there are
        return (heads * length, 2 * heads * length) if part == "attn_q" else (heads * length,)


def _source(output: MappedTensor) -> str:
    return next(iter(output.tensor.sources), output.name)
