"""LLaVA with CLIP, of which llama.cpp's converter makes nothing: what its loader takes, and what its graph needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFReader

from qconv.api import convert
from qconv.errors import PlanError
from tests.projectors.tiny import write

LAYERS = 3
WIDTH, INNER, TEXT = 32, 48, 64

CONFIG: dict[str, Any] = {
    "architectures": ["LlavaForConditionalGeneration"],
    "model_type": "llava",
    "image_seq_length": 576,
    "vision_feature_layer": -2,
    "vision_feature_select_strategy": "default",
    "text_config": {"model_type": "llama", "hidden_size": TEXT},
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


def tensors() -> dict[str, tuple[str, list[int]]]:
    """As transformers saves them."""
    shapes: dict[str, list[int]] = {
        "embeddings.class_embedding": [WIDTH],
        "embeddings.patch_embedding.weight": [WIDTH, 3, 14, 14],
        "embeddings.position_embedding.weight": [17, WIDTH],
        "pre_layrnorm.weight": [WIDTH],
        "pre_layrnorm.bias": [WIDTH],
        "post_layernorm.weight": [WIDTH],
        "post_layernorm.bias": [WIDTH],
    }
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
        "multi_modal_projector.linear_1.weight": [TEXT, WIDTH],
        "multi_modal_projector.linear_1.bias": [TEXT],
        "multi_modal_projector.linear_2.weight": [TEXT, TEXT],
        "multi_modal_projector.linear_2.bias": [TEXT],
        "language_model.model.embed_tokens.weight": [288, TEXT],
    }
    return {name: ("F16", shape) for name, shape in made.items()}


def made(folder: Path, config: dict[str, Any], more: dict[str, tuple[str, list[int]]] | None = None) -> Path:
    write(folder, {"config": config, "tensors": tensors() | (more or {}), "preprocessor_config.json": PREPROCESSOR})
    (file,) = convert(folder, mmproj="f16", output=folder.with_suffix(".gguf"))
    return file


def loads(file: Path) -> bool:
    child = Path(__file__).with_name("loader.py")
    done = subprocess.run([sys.executable, child, file], capture_output=True, text=True, check=False)
    return done.stdout.strip().endswith(": vision")


def test_layers_up_to_the_one_looked_at(tmp_path: Path) -> None:
    read = GGUFReader(made(tmp_path / "llava", CONFIG))
    names = {t.name for t in read.tensors}
    assert {name.split(".")[2] for name in names if name.startswith("v.blk.")} == {"0", "1"}
    assert not any(name.startswith("v.post_ln") for name in names)  # the graph would apply it to any layer
    assert {"v.class_embd", "v.pre_ln.weight", "mm.0.weight", "mm.2.bias"} < names
    assert read.fields["clip.vision.block_count"].contents() == 2
    assert read.fields["clip.vision.feature_layer"].contents() == [2]
    assert read.fields["clip.projector_type"].contents() == "mlp"
    assert read.fields["clip.vision.projection_dim"].contents() == TEXT
    assert "clip.use_gelu" not in read.fields  # CLIP's is the quick one, which llama.cpp takes where nothing is said


@pytest.mark.parametrize(("layer", "looked_at"), [(-1, 3), (1, 1), (-3, 1)])
def test_which_layer_is_looked_at(layer: int, looked_at: int, tmp_path: Path) -> None:
    read = GGUFReader(made(tmp_path / "llava", CONFIG | {"vision_feature_layer": layer}))
    assert read.fields["clip.vision.block_count"].contents() == looked_at


def test_a_layer_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="has -5 for 'vision_feature_layer'"):
        made(tmp_path / "llava", CONFIG | {"vision_feature_layer": -5})


def test_tiles_of_large_images(tmp_path: Path) -> None:
    config = CONFIG | {
        "architectures": ["LlavaNextForConditionalGeneration"],
        "image_grid_pinpoints": [[56, 112], [112, 56]],
    }
    file = made(tmp_path / "next", config, {"image_newline": ("F16", [TEXT])})
    read = GGUFReader(file)
    assert read.fields["clip.vision.image_grid_pinpoints"].contents() == [112, 56, 56, 112]  # widths come first
    assert read.fields["clip.vision.mm_patch_merge_type"].contents() == "spatial_unpad"
    assert "v.image_newline" in {t.name for t in read.tensors}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere C++ names are others")
def test_llama_cpp_loads_them(tmp_path: Path) -> None:
    assert loads(made(tmp_path / "llava", CONFIG))
    tiles = {"architectures": ["LlavaNextForConditionalGeneration"], "image_grid_pinpoints": [[56, 112], [112, 56]]}
    assert loads(made(tmp_path / "next", CONFIG | tiles, {"image_newline": ("F16", [TEXT])}))
