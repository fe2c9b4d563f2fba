"""Granite 4 Vision's projectors: which layer's outputs each is for, and which layer of the text model it feeds.

There are two kinds, numbered each by itself in the checkpoint; GGUF has one list of them, by the layer they feed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation, rename


class _Projector(NamedTuple):
    """``vision_layer``: whose outputs it takes; ``number``: its own among those of its kind."""

    vision_layer: int
    text_layer: int
    kind: str
    number: int


def _projectors(model: ModelContext) -> list[_Projector]:
    """In the order of the text layers they feed; negative layers count from the last."""
    vision = model.count("vision_config.num_hidden_layers")
    text = model.count("text_config.num_hidden_layers")
    projectors = []
    for number, (source, target) in enumerate(sorted(_tuples(model, "deepstack_layer_map", 2))):
        source, target = (source + vision if source < 0 else source), (target + text if target < 0 else target)
        projectors.append(_Projector(source, target, "layerwise", number))
    source = model.integer("spatial_vision_layer", default=-1)
    for number, (target,) in enumerate(_tuples(model, "spatial_target_layers", 1)):
        projectors.append(_Projector(source + vision if source < 0 else source, target, "spatial", number))
    return sorted(projectors, key=lambda projector: projector.text_layer)


def _tuples(model: ModelContext, key: str, size: int) -> list[list[int]]:
    """A list of the config's whose entries are ``size`` integers each, or integers where that is one."""
    listed = model.find(key) or []
    rows: list[list[Any]] = [[None]]
    if isinstance(listed, list):
        rows = [row if isinstance(row, list) else [row] for row in listed]
    if any(len(row) != size or not all(isinstance(n, int) for n in row) for row in rows):
        raise model.lacks([key], listed, f"a list of {'pairs of ' if size == 2 else ''}layers")
    return rows


@derivation
def granite_projector_count(model: ModelContext) -> int:
    """Projectors of both kinds."""
    return len(_projectors(model))


@derivation
def granite_feature_layers(model: ModelContext) -> list[int]:
    """The layer of the images' tower that each projector takes the outputs of."""
    return [projector.vision_layer for projector in _projectors(model)]


@derivation
def granite_spatial_offsets(model: ModelContext) -> list[int]:
    """Of each projector which of the patches sampled it is for; -1 for those that take all."""
    return [projector.number if projector.kind == "spatial" else -1 for projector in _projectors(model)]


@rename
def granite_projectors(name: str, config: Mapping[str, Any]) -> str:
    """``layerwise_projectors.N`` and ``spatial_projectors.N`` as ``projectors.N``, numbered in GGUF's order."""
    for number, projector in enumerate(_projectors(ModelContext(config))):
        prefix = f"{projector.kind}_projectors.{projector.number}."
        if name.startswith(prefix):
            return f"projectors.{number}.{name[len(prefix) :]}"
    return name
