"""Tiny models in Mistral's own format: ``params.json``, ``consolidated*.safetensors``, and a tokenizer.

Of these ``recorded.json`` holds the digests of what llama.cpp's converter makes (``scripts/record_mistral.py``).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.checkpoints import packing

WIDTH, HEAD, HEADS, KEYS, HIDDEN, LAYERS = 64, 32, 4, 2, 96, 2
SPECIAL = 24
MERGED = (b" t", b"th", b"the", b" the", b"in", b" in", b"ing", b"er")
Values = np.ndarray[Any, np.dtype[Any]]

PARAMS: dict[str, Any] = {
    "dim": WIDTH,
    "n_layers": LAYERS,
    "head_dim": HEAD,
    "hidden_dim": HIDDEN,
    "n_heads": HEADS,
    "n_kv_heads": KEYS,
    "rope_theta": 1000000.0,
    "norm_eps": 1e-05,
    "max_position_embeddings": 4096,
}
YARN = {"factor": 16.0, "original_max_position_embeddings": 256, "beta": 32, "alpha": 1, "apply_scale": False}


def tekken(folder: Path, version: str, names: tuple[str, ...] | None = None) -> int:
    """A vocabulary of bytes and a few merges, more than are used as in real files; returns its size."""
    texts = [*(bytes([byte]) for byte in range(256)), *MERGED, b"unused"]
    vocab = [{"rank": i, "token_bytes": base64.b64encode(t).decode(), "token_str": None} for i, t in enumerate(texts)]
    size = SPECIAL + len(texts) - 1
    config = {
        "pattern": "[^\\r\\n\\p{L}\\p{N}]?[\\p{L}]+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s+",
        "num_vocab_tokens": len(texts),
        "default_vocab_size": size,
        "default_num_special_tokens": SPECIAL,
        "version": version,
    }
    file: dict[str, Any] = {"config": config, "vocab": vocab}
    if names is not None:
        file["special_tokens"] = [{"rank": i, "token_str": t, "is_control": True} for i, t in enumerate(names)]
    (folder / "tekken.json").write_text(json.dumps(file))
    return size


NAMES = (
    "<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]", "[MIDDLE]",
    "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]", "[ARGS]", "[CALL_ID]",
)  # fmt: skip


def varint(number: int) -> bytes:
    """A number as protocol buffers write it."""
    low, high = number & 127, number >> 7
    return bytes([low | 128]) + varint(high) if high else bytes([low])


def field(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | 2]) + varint(len(data)) + data


def sentencepiece(file: Path) -> int:
    """A model as sentencepiece_model.proto has it: BPE with bytes, and no padding token; returns its size."""
    pieces = [(b"<unk>", 0.0, 2), (b"<s>", 0.0, 3), (b"</s>", 0.0, 3), (b"[INST]", 0.0, 3), (b"[/INST]", 0.0, 3)]
    pieces += [(b"<0x%02X>" % byte, 0.0, 6) for byte in range(256)]
    words = ["▁t", "▁the", "in", "▁", "t", "h", "e", "i", "n"]
    pieces += [(word.encode(), -float(rank), 1) for rank, word in enumerate(words)]
    data = b""
    for text, score, kind in pieces:
        data += field(1, field(1, text) + b"\x15" + np.float32(score).tobytes() + b"\x18" + bytes([kind]))
    trainer = b"\x18\x02" + b"\x98\x02\x01"  # model_type: BPE; byte_fallback
    file.write_bytes(data + field(2, trainer) + field(3, b""))
    return len(pieces)


def weights(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Values]:
    """Noise as bfloat16 bits."""
    draw = np.random.default_rng(len(shapes))
    return {n: (draw.standard_normal(s, np.float32).view(np.uint32) >> 16).astype(np.uint16) for n, s in shapes.items()}


def read(file: Path) -> dict[str, Values]:
    """The tensors of a file in bfloat16, as bits."""
    data = file.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    del header["__metadata__"]
    tensors = {}
    for name, about in header.items():
        start, stop = (8 + size + place for place in about["data_offsets"])
        tensors[name] = np.frombuffer(data[start:stop], np.uint16).reshape(about["shape"])
    return tensors


def save(folder: Path, shapes: Mapping[str, tuple[int, ...]], params: Mapping[str, Any], files: int = 1) -> None:
    arrays = weights(shapes)
    names = sorted(arrays)
    for number in range(files):
        name = "consolidated" if files == 1 else f"consolidated-{number + 1:05d}-of-{files:05d}"
        part = {each: arrays[each] for each in names[number::files]}
        packing.save(folder / f"{name}.safetensors", part, dict.fromkeys(part, "BF16"))
    (folder / "params.json").write_text(json.dumps(params))


def dense_shapes(tokens: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {
        "tok_embeddings.weight": (tokens, WIDTH),
        "norm.weight": (WIDTH,),
        "output.weight": (tokens, WIDTH),
    }
    for layer in range(LAYERS):
        shapes |= {
            f"layers.{layer}.attention.wq.weight": (HEADS * HEAD, WIDTH),
            f"layers.{layer}.attention.wk.weight": (KEYS * HEAD, WIDTH),
            f"layers.{layer}.attention.wv.weight": (KEYS * HEAD, WIDTH),
            f"layers.{layer}.attention.wo.weight": (WIDTH, HEADS * HEAD),
            f"layers.{layer}.attention_norm.weight": (WIDTH,),
            f"layers.{layer}.ffn_norm.weight": (WIDTH,),
            f"layers.{layer}.feed_forward.w1.weight": (HIDDEN, WIDTH),
            f"layers.{layer}.feed_forward.w2.weight": (WIDTH, HIDDEN),
            f"layers.{layer}.feed_forward.w3.weight": (HIDDEN, WIDTH),
        }
    return shapes


def nemo(folder: Path) -> None:
    """Tekken of version 3, which lists no special tokens; two files."""
    tokens = tekken(folder, "v3")
    save(folder, dense_shapes(tokens), {**PARAMS, "vocab_size": tokens}, files=2)


def small(folder: Path) -> None:
    """Tekken of version 7, listing its special tokens; a vision encoder beside the text model; a card."""
    tokens = tekken(folder, "v7", NAMES)
    shapes = dense_shapes(tokens)
    shapes |= {"vision_encoder.patch_conv.weight": (8, 3, 2, 2), "vision_language_adapter.w_in.weight": (WIDTH, 8)}
    shapes |= {"patch_merger.merging_layer.weight": (8, 32), "pre_mm_projector_norm.weight": (8,)}
    save(folder, shapes, {**PARAMS, "vocab_size": tokens, "vision_encoder": {"image_size": 16}})
    (folder / "README.md").write_text("---\nlicense: apache-2.0\nbase_model:\n- mistralai/Mistral-Small-24B\n---\n")


def ministral(folder: Path) -> None:
    """Another architecture by its scaling of attention; YaRN, tied embeddings, a template of its own."""
    tokens = tekken(folder, "v13", NAMES)
    shapes = dense_shapes(tokens)
    del shapes["output.weight"]
    params = {**PARAMS, "vocab_size": tokens, "tied_embeddings": True, "yarn": YARN}
    params["llama_4_scaling"] = {"original_max_position_embeddings": 256, "beta": 0.1}
    save(folder, shapes, params)
    (folder / "chat_template.jinja").write_text("{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}\n")


def devstral(folder: Path) -> None:
    """Tekken of version 13 without a template, which the runtime has none for."""
    tokens = tekken(folder, "v13", NAMES)
    save(folder, dense_shapes(tokens), {**PARAMS, "vocab_size": tokens})


def newer(folder: Path) -> None:
    """The same of version 11."""
    tokens = tekken(folder, "v11", NAMES)
    save(folder, dense_shapes(tokens), {**PARAMS, "vocab_size": tokens})


def yarn(folder: Path) -> None:
    """YaRN that scales, without the other scaling."""
    tokens = tekken(folder, "v3")
    save(folder, dense_shapes(tokens), {**PARAMS, "vocab_size": tokens, "yarn": {**YARN, "apply_scale": True}})


def first(folder: Path) -> None:
    """SentencePiece of the first version under its versioned name, beside an older one."""
    tokens = sentencepiece(folder / "tokenizer.model.v1")
    save(folder, dense_shapes(tokens), {**PARAMS, "vocab_size": tokens})


def third(folder: Path) -> None:
    """Of two SentencePiece files the later one."""
    sentencepiece(folder / "tokenizer.model")
    tokens = sentencepiece(folder / "tokenizer.model.v3")
    save(folder, dense_shapes(tokens), {**PARAMS, "vocab_size": tokens})


def fp8(folder: Path) -> None:
    """8-bit floats with one scale a tensor, ``qscale_weight``; embedding, norms and output in 16 bits."""
    nemo(folder)
    params = json.loads((folder / "params.json").read_text())
    quantization = {"qformat_weight": "fp8_e4m3", "qscheme_act": "TENSOR"}
    (folder / "params.json").write_text(json.dumps({**params, "quantization": quantization}))
    shapes = dense_shapes(params["vocab_size"])
    arrays, dtypes = weights(shapes), dict.fromkeys(shapes, "BF16")
    draw = np.random.default_rng(3)
    for name, shape in shapes.items():
        if ".attention." in name or ".feed_forward." in name:
            module = name.removesuffix(".weight")
            arrays[name] = draw.integers(0, 0x7F, shape, np.uint8) | draw.integers(0, 2, shape, np.uint8) << 7
            arrays[f"{module}.qscale_weight"] = np.array(draw.random(), np.float32)
            arrays[f"{module}.qscale_act"] = np.array(0.5, np.float32)
            dtypes |= {name: "F8_E4M3", f"{module}.qscale_weight": "F32", f"{module}.qscale_act": "F32"}
    for file in folder.glob("consolidated*"):
        file.unlink()
    names = sorted(arrays)
    packing.save(folder / "consolidated.safetensors", {n: arrays[n] for n in names}, dtypes)


def large(folder: Path) -> None:
    """Latent attention and experts, the first layer dense."""
    tokens = tekken(folder, "v7", NAMES)
    rank, rope, nope, value, experts, width = 16, 8, 16, 24, 4, 32
    params = {
        **PARAMS,
        "vocab_size": tokens,
        "tied_embeddings": False,
        "n_kv_heads": HEADS,
        "q_lora_rank": 24,
        "kv_lora_rank": rank,
        "qk_rope_head_dim": rope,
        "qk_nope_head_dim": nope,
        "v_head_dim": value,
        "yarn": YARN,
        "llama_4_scaling": {"original_max_position_embeddings": 256, "beta": 0.1},
        "moe": {
            "expert_parallel": 1, "expert_model_parallel": 1, "route_every_n": 1, "first_k_dense_replace": 1,
            "num_experts": experts, "num_experts_per_tok": 2, "num_expert_groups": 1, "num_expert_groups_per_tok": 1,
            "routed_scale": 1.5, "expert_hidden_dim": width, "num_shared_experts": 1,
        },
    }  # fmt: skip
    del params["head_dim"]
    shapes = {name: shape for name, shape in dense_shapes(tokens).items() if ".attention.w" not in name}
    shapes = {name: shape for name, shape in shapes.items() if not name.startswith("layers.1.feed_forward")}
    for layer in range(LAYERS):
        at = f"layers.{layer}.attention"
        shapes |= {
            f"{at}.wq_a.weight": (24, WIDTH),
            f"{at}.q_a_norm.weight": (24,),
            f"{at}.wq_b.weight": (HEADS * (nope + rope), 24),
            f"{at}.wkv_a_with_mqa.weight": (rank + rope, WIDTH),
            f"{at}.kv_a_norm.weight": (rank,),
            f"{at}.wkv_b.weight": (HEADS * (nope + value), rank),
            f"{at}.wo.weight": (WIDTH, HEADS * value),
        }
    shapes["layers.1.gate.weight"] = (experts, WIDTH)
    for name in [*(f"experts.{number}" for number in range(experts)), "shared_experts"]:
        shapes |= {f"layers.1.{name}.w1.weight": (width, WIDTH), f"layers.1.{name}.w3.weight": (width, WIDTH)}
        shapes[f"layers.1.{name}.w2.weight"] = (WIDTH, width)
    save(folder, shapes, params)


def pixtral(folder: Path, image_break: int = 12) -> None:
    """Images go through an encoder, four patches of which are merged.

    ``image_break``: the token that ends a row of them; negative where the tokenizer is to tell.
    """
    tokens = tekken(folder, "v7", NAMES)
    width, hidden = 32, 48
    vision = {
        "hidden_size": width,
        "num_channels": 3,
        "image_size": 56,
        "patch_size": 14,
        "rope_theta": 10000.0,
        "intermediate_size": hidden,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 2,
        "adapter_bias": False,
        "mm_projector_id": "patch_merge",
        "spatial_merge_size": 2,
        "add_pre_mm_projector_layer_norm": True,
        "image_token_id": 10,
        "image_break_token_id": image_break,
        "image_end_token_id": 13,
    }
    shapes = dense_shapes(tokens)
    shapes |= {
        "vision_encoder.patch_conv.weight": (width, 3, 14, 14),
        "vision_encoder.ln_pre.weight": (width,),
        "pre_mm_projector_norm.weight": (width,),
        "patch_merger.merging_layer.weight": (width, 4 * width),
        "vision_language_adapter.w_in.weight": (WIDTH, width),
        "vision_language_adapter.w_out.weight": (WIDTH, WIDTH),
    }
    for layer in range(LAYERS):
        at = f"vision_encoder.transformer.layers.{layer}"
        shapes |= {f"{at}.attention.{name}.weight": (width, width) for name in ("wq", "wk", "wv", "wo")}
        shapes |= {f"{at}.feed_forward.{name}.weight": (hidden, width) for name in ("w1", "w3")}
        shapes |= {f"{at}.feed_forward.w2.weight": (width, hidden)}
        shapes |= {f"{at}.{name}.weight": (width,) for name in ("attention_norm", "ffn_norm")}
    save(folder, shapes, {**PARAMS, "vocab_size": tokens, "vision_encoder": vision})


def medium(folder: Path) -> None:
    """The same, but the tokenizer tells the token."""
    pixtral(folder, -1)


CASES: dict[str, Callable[[Path], None]] = {
    "Mistral-Nemo-Instruct-2407": nemo,
    "Mistral-Small-24B-Instruct-2501": small,
    "Ministral-3-14B": ministral,
    "Yarn-7B": yarn,
    "Mistral-7B-v0.1": first,
    "Mistral-7B-Instruct-v0.3": third,
    "Ministral-8B-FP8": fp8,
    "Mistral-Large-3": large,
    "Devstral-Small-2507": devstral,
    "Mistral-Small-3.2-24B": newer,
}
"""Name of the folder → what makes its files."""

PROJECTORS: dict[str, Callable[[Path], None]] = {"Pixtral-12B-2409": pixtral, "Mistral-Medium-3.5": medium}
"""Those whose projector is recorded too."""

TYPES = ("f16", "bf16", "f32", "q8_0")
"""What each projector is recorded in."""
