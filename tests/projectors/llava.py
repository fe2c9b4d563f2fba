"""Small models of LLaVA's kind, of which llama.cpp's converter makes nothing, as golden files would hold them."""

from __future__ import annotations

from typing import Any

LAYERS = 3
WIDTH, INNER, TEXT = 32, 48, 64

CONFIG: dict[str, Any] = {
    "architectures": ["LlavaForConditionalGeneration"],
    "model_type": "llava",
    "image_seq_length": 576,
    "vision_feature_layer": -2,
    "vision_feature_select_strategy": "default",
    "text_config": {
        "model_type": "llama",
        "hidden_size": TEXT,
        "intermediate_size": TEXT,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
        "vocab_size": 288,
    },
    "vision_config": {
        "model_type": "clip_vision_model",
        "hidden_size": WIDTH,
        "image_size": 56,
        "intermediate_size": INNER,
        "num_attention_heads": 2,
        "num_hidden_layers": LAYERS,
        "patch_size": 14,
    },
}
PREPROCESSOR = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}

TILES = {
    "architectures": ["LlavaNextForConditionalGeneration"],
    "model_type": "llava_next",
    "image_grid_pinpoints": [[56, 112], [112, 56]],
}
"""What LLaVA 1.6 says otherwise, or besides."""

ONE_VISION = TILES | {
    "architectures": ["LlavaOnevisionForConditionalGeneration"],
    "model_type": "llava_onevision",
    "vision_feature_layer": -1,
    "text_config": CONFIG["text_config"] | {"model_type": "qwen2", "num_key_value_heads": 2},
}


def tensors(*, siglip: bool = False, layers_joined: int = 1, newline: bool = False) -> dict[str, tuple[str, list[int]]]:
    """As transformers saves them: ``layers_joined``, how many layers' outputs the projector takes."""
    shapes: dict[str, list[int]] = {
        "embeddings.patch_embedding.weight": [WIDTH, 3, 14, 14],
        "embeddings.position_embedding.weight": [16 if siglip else 17, WIDTH],
        "post_layernorm.weight": [WIDTH],
        "post_layernorm.bias": [WIDTH],
    }
    if siglip:
        shapes["embeddings.patch_embedding.bias"] = [WIDTH]
    else:
        shapes |= {"embeddings.class_embedding": [WIDTH], "pre_layrnorm.weight": [WIDTH], "pre_layrnorm.bias": [WIDTH]}
    linear = {f"self_attn.{part}_proj": (WIDTH, WIDTH) for part in ("q", "k", "v", "out")}
    linear |= {"mlp.fc1": (INNER, WIDTH), "mlp.fc2": (WIDTH, INNER)}
    for layer in range(LAYERS):
        for name, (rows, columns) in linear.items():
            shapes[f"encoder.layers.{layer}.{name}.weight"] = [rows, columns]
            shapes[f"encoder.layers.{layer}.{name}.bias"] = [rows]
        for norm in ("layer_norm1", "layer_norm2"):
            shapes |= {f"encoder.layers.{layer}.{norm}.{end}": [WIDTH] for end in ("weight", "bias")}
    made = {f"vision_tower.vision_model.{name}": shape for name, shape in shapes.items()}
    made |= {
        "multi_modal_projector.linear_1.weight": [TEXT, layers_joined * WIDTH],
        "multi_modal_projector.linear_1.bias": [TEXT],
        "multi_modal_projector.linear_2.weight": [TEXT, TEXT],
        "multi_modal_projector.linear_2.bias": [TEXT],
        "language_model.model.embed_tokens.weight": [288, TEXT],
    }
    if newline:
        made["image_newline"] = [TEXT]
    return {name: ("F16", shape) for name, shape in made.items()}


def model(
    changes: dict[str, Any], *, siglip: bool = False, layers_joined: int = 1, newline: bool = False
) -> dict[str, Any]:
    """A model with ``changes`` to ``CONFIG``; SigLIP's config is as older transformers pruned it."""
    config = CONFIG | changes
    if siglip:
        vision = CONFIG["vision_config"] | {"model_type": "siglip_vision_model", "vision_use_head": False}
        config |= {"vision_config": vision, "vision_feature_select_strategy": "full"}
    of_model = tensors(siglip=siglip, layers_joined=layers_joined, newline=newline)
    return {"config": config, "tensors": of_model, "preprocessor_config.json": PREPROCESSOR}
