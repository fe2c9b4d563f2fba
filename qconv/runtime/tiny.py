"""A Llama of two layers, without a tokenizer, to try a library with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qconv import gguf
from qconv.types import Metadata, TensorInfo, Value

LAYERS: Final = 2
COLUMNS: Final = 64
VOCABULARY: Final = 48
EPSILON: Final = 1e-5
_FEED_FORWARD = 96
_HEADS = 2
_HEAD = COLUMNS // _HEADS


def tiny_weights() -> dict[str, NDArray[np.float32]]:
    """Its weights, always the same, in the order of the file."""
    layer = {
        "attn_norm": (COLUMNS,),
        "attn_q": (COLUMNS, COLUMNS),
        "attn_k": (_HEAD, COLUMNS),
        "attn_v": (_HEAD, COLUMNS),
        "attn_output": (COLUMNS, COLUMNS),
        "ffn_norm": (COLUMNS,),
        "ffn_gate": (_FEED_FORWARD, COLUMNS),
        "ffn_up": (_FEED_FORWARD, COLUMNS),
        "ffn_down": (COLUMNS, _FEED_FORWARD),
    }
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (VOCABULARY, COLUMNS)}
    shapes |= {f"blk.{i}.{name}.weight": shape for i in range(LAYERS) for name, shape in layer.items()}
    shapes |= {"output_norm.weight": (COLUMNS,), "output.weight": (VOCABULARY, COLUMNS)}
    random = np.random.default_rng(1)
    return {
        name: (random.standard_normal(shape) / 8 + (len(shape) == 1)).astype(np.float32)
        for name, shape in shapes.items()
    }


def write_tiny(path: Path, weights: Mapping[str, NDArray[np.float32]]) -> None:
    """A GGUF file of these weights, in F32."""
    metadata: Metadata = {
        "general.architecture": Value.string("llama"),
        "llama.context_length": Value.uint32(1024),
        "llama.embedding_length": Value.uint32(COLUMNS),
        "llama.block_count": Value.uint32(LAYERS),
        "llama.feed_forward_length": Value.uint32(_FEED_FORWARD),
        "llama.attention.head_count": Value.uint32(_HEADS),
        "llama.attention.head_count_kv": Value.uint32(1),
        "llama.attention.layer_norm_rms_epsilon": Value.float32(EPSILON),
        "llama.rope.dimension_count": Value.uint32(_HEAD),
        "llama.vocab_size": Value.uint32(VOCABULARY),
        "tokenizer.ggml.model": Value.string("none"),
    }
    infos = [TensorInfo(name, "F32", tuple(array.shape)) for name, array in weights.items()]
    layout = gguf.header(metadata, infos)
    with path.open("wb") as file:
        file.write(layout.header)
        for name, array in weights.items():
            file.seek(layout.tensors[name].offset)
            file.write(array.tobytes())
        file.truncate(layout.size)
