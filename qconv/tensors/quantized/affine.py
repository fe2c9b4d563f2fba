"""Integers with a scale, and a zero point or an offset, for each group of columns: the float32 tensors they stand for.

``(code - zero) * scale + offset``, in float32.  Codes and zero points have at most 8 bits and scales are stored in 8 or
16, so that the product is exact unless a scale is F32; the sum with an offset is rounded once.  The libraries compute
the same in the scales' own type, and round to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from qconv.errors import FormatError
from qconv.tensors.base import LazyTensor, Unary, buffer, columns, memory_of_rows, n_rows, row_pieces
from qconv.tensors.dtypes import FLOATS, FLOATS8
from qconv.tensors.floats import as_float32
from qconv.types import Rows, shape_text

_SCALES = (*FLOATS, *FLOATS8)


@dataclass(frozen=True, slots=True)
class Affine(Unary):
    """``inner``: codes, U8 or I8, ``(..., rows, columns)``; ``scale``: ``(..., rows, groups)``.

    ``zero``: the zero points, numbers of any type in the scale's shape, or one for all.  ``offset``: added, in the
    scale's shape.  ``group``: columns that a scale lasts for, the last group may be shorter.  ``order``: I32
    ``(columns,)``, the group of each column, where groups are no runs of columns.

    ``prepare`` reads ``order``, and prepares the others.
    """

    scale: LazyTensor
    zero: LazyTensor | int
    offset: LazyTensor | None
    group: int
    order: LazyTensor | None = None
    groups: NDArray[np.intp] | None = field(default=None, compare=False, repr=False)

    @property
    def dtype(self) -> str:
        return "F32"

    @property
    def sources(self) -> tuple[str, ...]:
        return (*self.inner.sources, *(name for part in self.parts for name in part.sources))

    @property
    def parts(self) -> tuple[LazyTensor, ...]:
        """What there is beside the codes."""
        parts = (self.scale, self.zero, self.offset, self.order)
        return tuple(part for part in parts if part is not None and not isinstance(part, int))

    @property
    def resident_bytes(self) -> int:
        parts = sum(part.resident_bytes for part in self.parts)
        return self.inner.resident_bytes + parts + (0 if self.order is None else 8 * columns(self))

    def memory(self, rows: int) -> int:
        of_groups = [
            part for part in (self.scale, self.zero, self.offset) if part is not None and part is not self.order
        ]
        parts = sum(
            memory_of_rows(part, rows) + 8 * rows * columns(part) for part in of_groups if not isinstance(part, int)
        )
        spread = 0 if self.order is None else 8 * rows * columns(self) + 16 * columns(self)
        return Unary.memory(self, rows) + parts + spread + (1 << 16)

    def prepare(self) -> Self:
        parts = {
            name: part.prepare()
            for name in ("inner", "scale", "zero", "offset")
            if (part := getattr(self, name)) is not None and not isinstance(part, int)
        }
        if self.order is None or self.groups is not None:
            return self if all(part is getattr(self, name) for name, part in parts.items()) else replace(self, **parts)
        groups = self.order.read(0, 1)[0].astype(np.intp)
        count = columns(self.scale)
        wrong = np.flatnonzero((groups < 0) | (groups >= count))
        if wrong.size:
            at = int(wrong[0])
            message = f"puts column {at} into group {int(groups[at])}, and there are {count}"
            raise FormatError(message, tensor=self.order.sources[0], hint="download the file again")
        runs = np.array_equal(groups, np.arange(columns(self)) // self.group)
        return replace(self, **parts, order=None) if runs else replace(self, **parts, groups=groups)

    def read(self, start: int, stop: int, out: NDArray[np.uint8] | None = None) -> Rows:
        if self.order is not None and self.groups is None:
            return self.prepare().read(start, stop, out)
        rows = buffer(self, stop - start, out)
        if not rows.size:
            return rows
        codes = self.inner.read(start, stop)
        zero = _constant(self.zero) if isinstance(self.zero, int) else _numbers(self.zero, start, stop)
        scale = _numbers(self.scale, start, stop)
        offset = _constant(0) if self.offset is None else _numbers(self.offset, start, stop)
        with np.errstate(over="ignore", invalid="ignore"):  # encoding names infinities and NaN
            for piece in row_pieces(*rows.shape):
                parts = (part if len(part) == 1 else part[piece] for part in (zero, scale, offset))
                self._apply(codes[piece], rows[piece], *parts)
        return rows

    def _apply(self, codes: Rows, rows: NDArray[np.float32], *parts: NDArray[np.float32]) -> None:
        """Fills ``rows`` with the codes' weights; ``parts``: zero points, scales and offsets of the rows' groups."""
        if self.groups is not None:
            _apply(codes, rows, *(_spread(part, self.groups) for part in parts))
            return
        whole = rows.shape[1] // self.group
        edge = whole * self.group
        if whole:
            grouped = (len(rows), whole, self.group)
            of_groups = (part[:, :whole, None] for part in parts)
            _apply(codes[:, :edge].reshape(grouped), rows[:, :edge].reshape(grouped), *of_groups)
        if edge < rows.shape[1]:
            _apply(codes[:, edge:], rows[:, edge:], *(part[:, -1:] for part in parts))

    def describe(self) -> str:
        return self.inner.describe()


def _apply(
    codes: Rows,
    rows: NDArray[np.float32],
    zero: NDArray[np.float32],
    scale: NDArray[np.float32],
    offset: NDArray[np.float32],
) -> None:
    if zero.size > 1 or zero.any():
        np.subtract(codes, zero, out=rows, dtype=np.float32)
        np.multiply(rows, scale, out=rows)
    else:
        np.multiply(codes, scale, out=rows, dtype=np.float32)
    if offset.size > 1 or offset.any():
        np.add(rows, offset, out=rows)


def _spread(part: NDArray[np.float32], groups: NDArray[np.intp]) -> NDArray[np.float32]:
    """For each column its group's number."""
    return part if part.shape[1] == 1 else np.take(part, groups, axis=1)


def _constant(number: int) -> NDArray[np.float32]:
    return np.full((1, 1), number, np.float32)


def _numbers(part: LazyTensor, start: int, stop: int) -> NDArray[np.float32]:
    """A part's rows as float32; the one number of a part that has no other is every row's."""
    if n_rows(part) == 1 and columns(part) == 1:
        start, stop = 0, 1
    return as_float32(part.read(start, stop), part.dtype)


def affine(
    codes: LazyTensor,
    scale: LazyTensor,
    *,
    zero: LazyTensor | int = 0,
    offset: LazyTensor | None = None,
    group: int | None = None,
    order: LazyTensor | None = None,
) -> Affine:
    """``codes`` with scales and zero points of groups of ``group`` columns; None: as many as the scales' shape says.

    Raises ``FormatError`` when shapes or types do not fit together.
    """
    if not codes.shape:
        raise FormatError("is one number, and no weights", tensor=codes.sources[0])
    *leading, width = codes.shape
    whole = scale.shape in ((), (1,)) or (len(scale.shape) == len(codes.shape) and set(scale.shape) == {1})
    count = 1 if whole else columns(scale)
    if group is None:
        group = max(1, width // max(1, count))
    if scale.dtype not in _SCALES:
        raise FormatError(f"is {scale.dtype}, which scales are not", tensor=scale.sources[0])
    groups = -(-width // group)
    if not whole and (list(scale.shape[:-1]) != leading or groups != count):
        wanted = shape_text((*leading, groups))
        message = (
            f"is {shape_text(scale.shape)}, but {shape_text(codes.shape)} weights in groups of {group} need {wanted}"
        )
        raise FormatError(message, tensor=scale.sources[0])
    for part in (zero, offset):
        if part is not None and not isinstance(part, int) and part.shape != scale.shape:
            message = f"is {shape_text(part.shape)}, but the scales are {shape_text(scale.shape)}"
            raise FormatError(message, tensor=part.sources[0])
    if order is not None and (order.shape != (width,) or order.dtype not in ("I32", "I64")):
        message = f"is {order.dtype} {shape_text(order.shape)}, but {width} columns need as many integers"
        raise FormatError(message, tensor=order.sources[0])
    return Affine(codes, scale, zero, offset, max(1, width) if whole else group, order)
