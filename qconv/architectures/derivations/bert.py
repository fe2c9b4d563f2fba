"""BERT's family: positions and classifiers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation, rename
from qconv.errors import PlanError


def labels(config: Mapping[str, Any]) -> list[str]:
    """Names of a classifier's classes in order; transformers' two for a model that does not classify count for none.

    PlanError: the classes are not numbered.
    """
    named = config.get("id2label")
    if isinstance(named, Mapping):
        try:
            found = [str(named[number]) for number in sorted(named, key=int)]
        except ValueError as e:
            raise PlanError(f"config.json's 'id2label' does not number classes: {e}") from e
    else:
        number = config.get("num_labels")
        found = [f"LABEL_{i}" for i in range(number if isinstance(number, int) and number <= 1 << 16 else 2)]
    return [] if len(found) == 2 and found[0] == "LABEL_0" else found


@derivation
def classifier_labels(model: ModelContext) -> list[str] | None:
    return labels(model.config) or None


@rename
def direct_classifier(name: str, config: Mapping[str, Any]) -> str:
    """A classifier that is one layer is the output layer of llama.cpp's, when its classes have names."""
    if name in ("classifier.weight", "classifier.bias") and labels(config):
        return name.replace("classifier.", "classifier.out_proj.")
    return name


@derivation
def position_offset(model: ModelContext) -> int:
    """Positions before the first token's: numbers up to the padding token's are never used."""
    padding = model.find("pad_token_id")
    return 0 if padding is None else 1 + model.integer("pad_token_id")


@derivation
def positions(model: ModelContext) -> int | None:
    """Positions of tokens."""
    found = model.find("max_position_embeddings")
    return None if found is None else model.integer("max_position_embeddings") - position_offset(model)
