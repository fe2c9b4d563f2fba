"""Rows that are no whole number of a type's blocks."""

from __future__ import annotations

from qconv import formats
from qconv.types import TensorInfo


def fitting(tensor: TensorInfo, wanted: str) -> str:
    """``wanted``, or what stands in for it when the rows are no whole number of its blocks."""
    types = formats.block_types()
    for name in (wanted, types[wanted].fallback):
        if tensor.columns % types[name].weights == 0:
            return name
    return "F16"
