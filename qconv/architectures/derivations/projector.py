"""What projectors' tables derive; their config has the towers' parts at ``vision`` and ``audio``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from qconv.architectures.model import ModelContext
from qconv.architectures.registry import condition, derivation, rename
from qconv.errors import PlanError
from qconv.files import read_object

_LAYERS = (
    "n_layers", "num_hidden_layers", "n_layer", "num_layers", "depth", "layers", "encoder_layers",
    "vt_num_hidden_layers",
)  # fmt: skip


@derivation
def vision_layers(model: ModelContext) -> int:
    """Layers of the images' tower."""
    return _layers(model, "vision")


@derivation
def audio_layers(model: ModelContext) -> int:
    """Layers of the sounds' tower."""
    return _layers(model, "audio")


def _layers(model: ModelContext, tower: str) -> int:
    """By the first of the words for it that the tower's config has."""
    keys = [f"{tower}.{key}" for key in _LAYERS]
    return model.count(next(filter(model.has, keys), f"{tower}.num_hidden_layers"))


@condition
def hears(model: ModelContext) -> bool:
    """It has a tower of sounds."""
    return model.find("audio") is not None


@condition
def only_sees(model: ModelContext) -> bool:
    """It has no tower of sounds."""
    return not hears(model)


@derivation
def radio_layers(model: ModelContext) -> int:
    """Layers of RADIO's ViT-Huge, which its config does not count."""
    return 32


@derivation
def patches_a_side(model: ModelContext) -> int:
    """Patches along a side of an image."""
    return model.count("force_image_size", default=512) // model.count("vision.patch_size")


@derivation
def one_side(model: ModelContext, key: str) -> int:
    """A size in pixels, or the first of a height and a width."""
    return model.integer(f"{key}.0" if isinstance(model.find(key), list) else key)


@derivation
def square_of(model: ModelContext, key: str) -> int:
    """The side of a square of so many pixels."""
    return math.isqrt(model.integer(key))


@derivation
def upsampling(model: ModelContext, key: str = "downsample_ratio") -> int:
    """Of how many patches a side one embedding is made: the inverse of a ratio."""
    return int(1 / model.number(key))


@derivation
def feature_layers(model: ModelContext) -> list[int]:
    """Numbers of the layers whose outputs go to the projector, the embedding being 0; llama.cpp joins them in order."""
    count = vision_layers(model)
    said = model.find("vision_feature_layer")
    layers = said if isinstance(said, list) else [model.integer("vision_feature_layer", default=-2)]
    if not all(isinstance(layer, int) and not isinstance(layer, bool) for layer in layers):
        raise model.lacks(["vision_feature_layer"], said, "numbers of layers")
    numbers = [layer if layer >= 0 else count + 1 + layer for layer in layers]
    if not numbers or numbers != sorted(set(numbers)) or not 0 < numbers[-1] <= count or numbers[0] < 0:
        raise model.lacks(["vision_feature_layer"], said, f"layers up to {count}, the first ones first")
    return numbers


@derivation
def layers_looked_at(model: ModelContext) -> int:
    """Layers up to the last one whose output goes to the projector: all, or fewer."""
    return feature_layers(model)[-1]


@derivation
def pinpoints(model: ModelContext) -> list[int]:
    """Sizes that images are cut into tiles from, as widths and heights in turn."""
    pairs = model.find("image_grid_pinpoints")
    if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise model.lacks(["image_grid_pinpoints"], pairs, "heights and widths")
    return [size for height, width in pairs for size in (width, height)]


@derivation
def hidden_aligner_layers(model: ModelContext) -> list[int]:
    """Layers of Janus' projector after its first."""
    return list(range(1, model.count("vision.depth")))


@derivation
def deepstack_layers(model: ModelContext) -> list[int]:
    """Layers of the images' tower whose outputs go into the text model by themselves."""
    count = vision_layers(model)
    layers = model.find("vision.deepstack_visual_indexes") or []
    if not isinstance(layers, list) or not all(isinstance(n, int) and 0 <= n < count for n in layers):
        raise model.lacks(["vision.deepstack_visual_indexes"], layers, f"layers from 0 to {count - 1}")
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


@derivation
def layers_to_feature(model: ModelContext) -> int:
    """Layers up to the one whose outputs are taken, which is counted from the last, -1."""
    return vision_layers(model) + 1 + model.integer("vision_feature_layer", default=-1)


_RESIZING = {1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""What PIL's numbers of ways to resize mean."""


@derivation
def resize_algorithm(model: ModelContext) -> str | None:
    """How images are resized, where the preprocessor says so."""
    number = model.find("preprocessor.resample")
    if number is not None and number not in _RESIZING:
        raise model.lacks(["resample"], number, f"one of {', '.join(map(str, _RESIZING))}")
    return None if number is None else _RESIZING[number]


@derivation
def vision_layers_but_last(model: ModelContext) -> int:
    """Layers of the images' tower, where the outputs taken are those of the last but one."""
    return vision_layers(model) - 1


@derivation
def last_vision_layer(model: ModelContext) -> list[int]:
    """The last layer of the images' tower alone."""
    return [vision_layers(model) - 1]


@derivation
def image_size_by_position_rows(model: ModelContext) -> int:
    """The side of an image, in pixels, that has as many patches as there are rows of positions."""
    positions = model.tensors.get("vision_model.embeddings.position_embedding.weight")
    rows = 0 if positions is None else positions.shape[0]
    if math.isqrt(rows) ** 2 != rows:
        raise PlanError(f"has {rows} positions, which are no square", file=model.location)
    return math.isqrt(rows) * model.count("preprocessor.patch_size")


@derivation
def pixels_of_patches(model: ModelContext, key: str) -> int:
    """A number of patches in pixels."""
    return model.integer(f"preprocessor.{key}", key) * model.count("preprocessor.patch_size") ** 2


@derivation
def part_of_ratio(model: ModelContext, key: str, index: int) -> int:
    """The first (0) or second (1) number of a ratio like "4/8"."""
    parts = str(model.find(key)).split("/")
    if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
        raise model.lacks([key], model.find(key), "a ratio like 4/8")
    return int(parts[index])


@derivation
def widths_and_heights(model: ModelContext, key: str) -> list[int] | None:
    """Sizes given as height and width, one after another as width and height."""
    return [number for height, width in model.find(key) or [] for number in (width, height)]


@derivation
def moonvit_heads(model: ModelContext) -> int:
    """Attention heads as llama.cpp's converter counts them where it turns queries and keys."""
    return model.count("vision.num_attention_heads", default=16)


@derivation
def sam_layers(model: ModelContext) -> int:
    """Layers of Segment Anything's encoder."""
    return model.count("vision_config.width.sam_vit_b.layers")


@derivation
def window_pattern(model: ModelContext) -> int | None:
    """After how many layers one attends to all of an image, where others attend within windows; none without them."""
    layers = model.find("vision.fullatt_block_indexes")
    if not layers:
        return None
    period: int = layers[0] + 1
    if layers != list(range(period - 1, period * (len(layers) + 1) - 1, period)):
        raise model.lacks(["vision.fullatt_block_indexes"], layers, "layers at equal distances")
    return period


@derivation
def gemma3_scale_factor(model: ModelContext) -> int | None:
    """How many patches a side become one; none where that is 4, which llama.cpp takes it for."""
    side = int(model.count("preprocessor.image_seq_length", default=256) ** 0.5)
    factor = model.count("vision.image_size") // model.count("vision.patch_size") // side
    return None if factor in (0, 4) else factor


@derivation
def pixels_of_tokens(model: ModelContext, key: str) -> int | None:
    """Pixels of an image that becomes so many tokens."""
    if model.find(key) is None:
        return None
    side = model.count("preprocessor.patch_size", default=14) * model.count("preprocessor.merge_size", default=2)
    return model.integer(key) * side**2


@derivation
def image_break_token(model: ModelContext) -> int:
    """The token that ends each row of an image's patches."""
    said = model.find("vision.image_break_token_id")
    if isinstance(said, int) and said >= 0:
        return said
    token = _token_id(model, "[IMG_BREAK]")
    if token is None:
        what = "no file of the tokenizer's knows [IMG_BREAK], the token that ends a row of an image"
        raise PlanError(what, file=model.location, hint="take the tokenizer's files from the original model")
    return token


_SPECIAL_TOKENS = (
    ("tokenizer_config.json", "added_tokens_decoder", "content", "id"),
    ("tokenizer.json", "added_tokens", "content", "id"),
    ("tekken.json", "special_tokens", "token_str", "rank"),
)
"""Files that name special tokens: the list in each, and of an entry the text and the number."""


def _token_id(model: ModelContext, text: str) -> int | None:
    """The number of a special token."""
    folder = model.folder
    for file, listed, spelled, numbered in _SPECIAL_TOKENS:
        said = read_object(folder, file).get(listed) if folder is not None and folder.has(file) else None
        entries: list[Any] = said if isinstance(said, list) else []
        if isinstance(said, dict):  # by their numbers
            entries = [{**entry, numbered: number} for number, entry in said.items() if isinstance(entry, dict)]
        for entry in entries:
            if isinstance(entry, dict) and entry.get(spelled) == text:
                return int(entry[numbered])
    return None


_IN_CLIP = ("embeddings.", "encoder.layers.", "pre_layrnorm.", "post_layernorm.", "head.")


@rename
def flat_clip(name: str, config: Mapping[str, Any]) -> str:
    """CLIP's and SigLIP's parts in ``vision_model``, which transformers 5 leaves out where it saves them."""
    return f"vision_model.{name}" if name.startswith(_IN_CLIP) else name


@rename
def lighton_towers(name: str, config: Mapping[str, Any]) -> str:
    """LightOnOCR's names of its parts as Pixtral's."""
    return name.replace("vision_encoder.", "vision_tower.", 1).replace(
        "vision_projection.", "multi_modal_projector.", 1
    )


@rename
def clipped_linears(name: str, config: Mapping[str, Any]) -> str:
    """The weight of a linear layer with bounds, a module within it, beside them."""
    return name.replace(".linear.", ".")
