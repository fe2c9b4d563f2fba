"""MobileNet V5, Gemma 3n's encoder of images, whose config says nothing of its blocks."""

from __future__ import annotations

from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation

_BLOCKS = "vision_tower.timm_model.blocks"


@derivation
def mobilenet_blocks(model: ModelContext) -> list[str]:
    """Its blocks as ``STAGE.BLOCK``, numbered from 0 without a gap, by the names of the checkpoint's tensors."""
    blocks = {tuple(name.removeprefix(_BLOCKS).split(".")[1:3]) for name in model.tensors if name.startswith(_BLOCKS)}
    numbered = []
    stage = block = 0
    while (str(stage), "0") in blocks:
        while (str(stage), str(block)) in blocks:
            numbered.append(f"{stage}.{block}")
            block += 1
        stage, block = stage + 1, 0
    return numbered


@derivation
def gemma3n_audio_layers(model: ModelContext) -> int:
    """Layers of the sounds' tower."""
    return model.count("audio.conf_num_hidden_layers")
