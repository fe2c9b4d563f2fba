"""Small models of random weights: a Llama, and one with experts, with a tokenizer whose tokens are bytes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qconv import gguf
from qconv.types import Metadata, TensorInfo, Value, ValueType

LAYERS = 2
COLUMNS = 64
HEADS, HEADS_KV, HEAD = 4, 2, 16
FEED_FORWARD = 96
EXPERTS, CHOSEN = 4, 2
FIRST_BYTE = 3
VOCABULARY = FIRST_BYTE + 256
BOS = 1
EPSILON = 1e-5

Weights = dict[str, NDArray[np.float32]]

TEXT = (
    "The sums of squares of what a matrix is multiplied with tell which of its columns matter. A column that is always "
    "near nothing can be rounded as one likes; one that is large makes every error large. So a text is read, each "
    "token's activations are squared and added up, and the quantizer weighs its errors by the sums. What text it is "
    "matters less than that there is enough of it, and that it is of the kind the model will be used for.\n"
) * 4


def weights(experts: bool = False, seed: int = 7) -> Weights:
    """Always the same for a seed: the generator is one whose numbers numpy never changes."""
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (VOCABULARY, COLUMNS)}
    for layer in range(LAYERS):
        shapes |= {
            f"blk.{layer}.attn_norm.weight": (COLUMNS,),
            f"blk.{layer}.attn_q.weight": (HEADS * HEAD, COLUMNS),
            f"blk.{layer}.attn_k.weight": (HEADS_KV * HEAD, COLUMNS),
            f"blk.{layer}.attn_v.weight": (HEADS_KV * HEAD, COLUMNS),
            f"blk.{layer}.attn_output.weight": (COLUMNS, HEADS * HEAD),
            f"blk.{layer}.ffn_norm.weight": (COLUMNS,),
        }
        if experts:
            shapes |= {
                f"blk.{layer}.ffn_gate_inp.weight": (EXPERTS, COLUMNS),
                f"blk.{layer}.ffn_gate_exps.weight": (EXPERTS, FEED_FORWARD, COLUMNS),
                f"blk.{layer}.ffn_up_exps.weight": (EXPERTS, FEED_FORWARD, COLUMNS),
                f"blk.{layer}.ffn_down_exps.weight": (EXPERTS, COLUMNS, FEED_FORWARD),
            }
        else:
            shapes |= {
                f"blk.{layer}.ffn_gate.weight": (FEED_FORWARD, COLUMNS),
                f"blk.{layer}.ffn_up.weight": (FEED_FORWARD, COLUMNS),
                f"blk.{layer}.ffn_down.weight": (COLUMNS, FEED_FORWARD),
            }
    shapes |= {"output_norm.weight": (COLUMNS,), "output.weight": (VOCABULARY, COLUMNS)}
    random = np.random.RandomState(seed)
    return {
        name: (random.standard_normal(shape) / 8 + (len(shape) == 1)).astype(np.float32)
        for name, shape in shapes.items()
    }


def metadata(experts: bool = False) -> Metadata:
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    kinds = [2, 3, 3] + [6] * 256
    of_experts = {"llama.expert_count": Value.uint32(EXPERTS), "llama.expert_used_count": Value.uint32(CHOSEN)}
    return {
        "general.architecture": Value.string("llama"),
        "llama.context_length": Value.uint32(1024),
        "llama.embedding_length": Value.uint32(COLUMNS),
        "llama.block_count": Value.uint32(LAYERS),
        "llama.feed_forward_length": Value.uint32(FEED_FORWARD),
        "llama.attention.head_count": Value.uint32(HEADS),
        "llama.attention.head_count_kv": Value.uint32(HEADS_KV),
        "llama.attention.layer_norm_rms_epsilon": Value.float32(EPSILON),
        "llama.rope.dimension_count": Value.uint32(HEAD),
        "llama.vocab_size": Value.uint32(VOCABULARY),
        **(of_experts if experts else {}),
        "tokenizer.ggml.model": Value.string("llama"),
        "tokenizer.ggml.tokens": Value.array(ValueType.STRING, tokens),
        "tokenizer.ggml.scores": Value.array(ValueType.FLOAT32, [0.0] * len(tokens)),
        "tokenizer.ggml.token_type": Value.array(ValueType.INT32, kinds),
        "tokenizer.ggml.bos_token_id": Value.uint32(BOS),
        "tokenizer.ggml.eos_token_id": Value.uint32(2),
        "tokenizer.ggml.unknown_token_id": Value.uint32(0),
        "tokenizer.ggml.add_space_prefix": Value.boolean(False),
    }


def write(path: Path, arrays: Mapping[str, NDArray[Any]], keys: Metadata, **types: str) -> Path:
    """A GGUF file; ``types`` are storage types by tensor name with the dots as underscores, else F32.

    Arrays of such tensors are the bytes of their rows.
    """
    infos = []
    for name, array in arrays.items():
        dtype = types.get(name.replace(".", "_"), "F32")
        infos.append(TensorInfo(name, dtype, array.shape if dtype == "F32" else (len(array), COLUMNS)))
    layout = gguf.header(keys, infos)
    with path.open("wb") as file:
        file.write(layout.header)
        for name, array in arrays.items():
            file.seek(layout.tensors[name].offset)
            file.write(array.tobytes())
        file.truncate(layout.size)
    return path


def llama(path: Path, *, experts: bool = False, changed: Mapping[str, NDArray[np.float32]] | None = None) -> Path:
    """The model of ``weights``, with some of them ``changed``."""
    return write(path, weights(experts) | dict(changed or {}), metadata(experts))


def disturbed() -> Weights:
    """Some of the weights, off by a few per cent."""
    random = np.random.RandomState(8)
    return {
        name: (array + 0.02 * random.standard_normal(array.shape)).astype(np.float32)
        for name, array in weights().items()
        if "ffn_down" in name or "attn_q" in name
    }
