"""Tensors of one number, where a source says no more than that the layer is there."""

from __future__ import annotations

import numpy as np

from qconv.tensors.base import LazyTensor
from qconv.tensors.registry import operation
from qconv.tensors.stored import Constant


@operation
def one_number(tensor: LazyTensor, size: int, value: float) -> LazyTensor:
    """``size`` times ``value``: the weight of a norm that has none in the checkpoint, but a factor behind it."""
    return Constant("one_number", np.full(size, value, np.float32))
