"""The few types all rooms share: what a tensor is called and looks like, how it may be encoded, and
metadata values.

Shapes are row-major everywhere in Python, outermost dimension first, as safetensors writes them; only ``qconv.gguf``
reverses them into GGUF's ``ne``.  A tensor's *rows* are its elements viewed as ``(prod(shape[:-1]), shape[-1])``; a
1-D tensor is one row, a 0-D tensor one row of one element.

*Storage types* are strings: ``F64 F32 F16 BF16 F8_E4M3 F8_E5M2 I64 I32 I16 I8 U8 BOOL`` (safetensors' names) or the
name of a block type in ``formats/blocks.toml`` (``Q8_0``, ``MXFP4``, ...).  Rows of F32 and F16 are numpy arrays of
those types, BF16 rows are ``uint16`` bit patterns, F8 rows ``uint8``, rows of a block type ``uint8`` of
``(rows, bytes per row)``.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from numpy.typing import NDArray

Rows: TypeAlias = "NDArray[Any]"

SEARCHES = ("reference", "thorough")
"""How encoders look for scales: as ggml does, bit for bit, or longer for a smaller error in the same format."""

ModelPart: TypeAlias = Literal["text", "projector"]
"""What a multimodal model is made of: the text model, and what turns images or sounds into its embeddings."""


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor as a file holds it: name, storage type, row-major shape."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def columns(self) -> int:
        return self.shape[-1] if self.shape else 1

    @property
    def rows(self) -> int:
        return math.prod(self.shape[:-1])

    @property
    def weights(self) -> int:
        return math.prod(self.shape)


def shape_text(shape: tuple[int, ...]) -> str:
    """A shape for people, outermost dimension first: ``1024 x 256``."""
    return " x ".join(map(str, shape)) if shape else "scalar"


def without_leading_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape as ggml counts dimensions: up to the last that is not 1, and at least one."""
    first = next((i for i, n in enumerate(shape) if n != 1), max(0, len(shape) - 1))
    return shape[first:] or (1,)


class ValueType(enum.IntEnum):
    """GGUF's metadata value types."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


@dataclass(frozen=True, slots=True)
class Value:
    """A typed metadata value.

    ``data``: int, float, bool, str; for arrays a list of those, of ``bytes`` for strings already in UTF-8, or a numpy
    array for numbers.  ``element`` is set for arrays only.
    """

    type: ValueType
    data: Any
    element: ValueType | None = None

    @classmethod
    def uint32(cls, data: int) -> Value:
        return cls(ValueType.UINT32, data)

    @classmethod
    def int32(cls, data: int) -> Value:
        return cls(ValueType.INT32, data)

    @classmethod
    def float32(cls, data: float) -> Value:
        return cls(ValueType.FLOAT32, data)

    @classmethod
    def boolean(cls, data: bool) -> Value:
        return cls(ValueType.BOOL, data)

    @classmethod
    def string(cls, data: str) -> Value:
        return cls(ValueType.STRING, data)

    @classmethod
    def array(cls, element: ValueType, data: Any) -> Value:
        return cls(ValueType.ARRAY, data, element)


Metadata: TypeAlias = dict[str, Value]
"""Metadata keys in the order they are written."""
