"""Tensors of one number, where a source says no more than that the layer is there."""

from __future__ import annotations

import numpy as np

from qconv.architectures.operations.base import Constant
from qconv.architectures.registry import operation
from qconv.types import Recipe


@operation
def one_number(recipe: Recipe, size: int, value: float) -> Recipe:
    """``size`` times ``value``: the weight of a norm that has none in the checkpoint, but a factor behind it."""
    return Constant("one_number", np.full(size, value, np.float32))
