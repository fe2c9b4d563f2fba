"""What projectors' tables derive; their config has the towers' parts at ``vision`` and ``audio``."""

from __future__ import annotations

from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation

_LAYERS = (
    "n_layers", "num_hidden_layers", "n_layer", "num_layers", "depth", "layers", "encoder_layers",
    "vt_num_hidden_layers",
)  # fmt: skip


@derivation
def vision_layers(model: ModelContext) -> int:
    """Layers of the images' tower."""
    return model.count(*(f"vision.{key}" for key in _LAYERS))


@derivation
def audio_layers(model: ModelContext) -> int:
    """Layers of the sounds' tower."""
    return model.count(*(f"audio.{key}" for key in _LAYERS))


@derivation
def deepstack_layers(model: ModelContext) -> list[int]:
    """Layers of the images' tower whose outputs go into the text model by themselves."""
    count = vision_layers(model)
    layers = model.find("vision.deepstack_visual_indexes") or []
    if not isinstance(layers, list) or not all(isinstance(n, int) and 0 <= n < count for n in layers):
        raise model.lacks(["vision_config.deepstack_visual_indexes"], layers, f"layers from 0 to {count - 1}")
    return layers


@derivation
def is_deepstack_layers(model: ModelContext) -> list[bool]:
    """Of each layer, whether it is one of ``deepstack_layers``."""
    chosen = deepstack_layers(model)
    return [layer in chosen for layer in range(vision_layers(model))]


@derivation
def image_size_by_positions(model: ModelContext) -> int:
    """The side of an image, in pixels, that has as many patches as there are positions, where no size is given."""
    if model.find("vision.image_size") is not None:
        return model.integer("vision.image_size")
    positions = model.count("vision.num_position_embeddings", default=2304)
    return int(positions**0.5 * model.count("vision.patch_size", default=16))
