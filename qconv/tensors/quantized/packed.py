"""compressed-tensors' "pack-quantized": integers of 1 to 8 bits in 32-bit words along the inputs, with their scales.

Parts of a weight ``NAME``: ``NAME_packed``, I32 ``(..., rows, words)``; ``NAME_scale``, ``(..., rows, groups)``;
``NAME_shape``, the weight's shape; asymmetric ones ``NAME_zero_point``, packed in the same way but down the rows; with
``actorder: group`` ``NAME_g_idx``, the group of each column.  A code is the number plus ``2 ** (bits - 1)``, and a zero
point too.  Until 2025 numbers did not cross words (3, 5, 6 and 7 bits), since 2026 they do: the shape tells.

Source: compressed-tensors, ``compressors/pack_quantized``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qconv.errors import FormatError
from qconv.tensors.base import LazyTensor, read_whole
from qconv.tensors.quantized.affine import Affine, affine
from qconv.tensors.quantized.codes import Codes, Packing, VerticalCodes, words
from qconv.types import shape_text

SUFFIXES = ("_packed", "_scale", "_shape", "_zero_point", "_g_idx")
_WIDTHS = range(1, 9)
_PACKINGS: tuple[Packing, ...] = ("dense", "padded")
_LARGEST = 1 << 32
"""Rows or columns of a weight, at most."""


def packed(
    tensors: Mapping[str, LazyTensor], name: str, widths: Sequence[int] = (), group: int | None = None
) -> Affine:
    """The tensor ``name``, made of its parts in ``tensors``; its shape is read from the file.

    ``widths``: the bits that the config names; where none fits the words, others are tried.  ``group``: columns of a
    group where the scale's shape leaves a choice.

    Raises ``FormatError`` when a part is missing or they do not fit together.
    """
    for end in ("_scale", "_shape"):
        if name + end not in tensors:
            raise FormatError(f"is packed, but there is no '{name}{end}'", tensor=name)
    stored = tensors[name + "_packed"]
    *stack, rows, columns = _shape(tensors[name + "_shape"], stored)
    bits, packing = _layout(stored, (*stack, rows), columns, widths)
    scale = tensors[name + "_scale"]
    zero: LazyTensor | int = 1 << (bits - 1)
    if (points := tensors.get(name + "_zero_point")) is not None:
        zero = _zero_points(points, bits, packing, (*stack, rows, *scale.shape[len(stack) + 1 :]))
    order = tensors.get(name + "_g_idx")
    if order is not None and order.shape == (1,) and columns > 1:  # -1: none
        order = None
    count = scale.shape[-1] if scale.shape else 1
    exact = count > 0 and columns % count == 0
    return affine(
        Codes(stored, bits, columns, packing),
        scale,
        zero=zero,
        group=columns // count if exact and columns else group,
        order=order,
    )


def _shape(sizes: LazyTensor, stored: LazyTensor) -> tuple[int, ...]:
    """The weight's shape; a stack of experts may store that of one."""
    dims = len(stored.shape)
    if len(sizes.shape) != 1 or sizes.shape[0] not in (2, dims) or sizes.dtype not in ("I64", "I32"):
        raise FormatError("does not hold two sizes", tensor=sizes.sources[0])
    shape = tuple(map(int, read_whole(sizes).reshape(-1)))
    if any(not 0 <= n <= _LARGEST for n in shape):
        raise FormatError(f"says {shape_text(shape)}", tensor=sizes.sources[0], hint="the file is damaged")
    return (*stored.shape[: dims - len(shape)], *shape)


def _layout(stored: LazyTensor, rows: tuple[int, ...], columns: int, widths: Sequence[int]) -> tuple[int, Packing]:
    """Bits of a code, and whether codes cross words (dense)."""
    if stored.dtype == "I32" and stored.shape[:-1] == rows:
        said = [(bits, packing) for bits in widths if bits in _WIDTHS for packing in _PACKINGS]
        for bits, packing in (*said, *((bits, packing) for packing in _PACKINGS for bits in _WIDTHS)):
            if stored.shape[-1] == words(columns, bits, packing):
                return bits, packing
    widest = next((bits for bits in widths if bits in _WIDTHS), 4)
    wanted = f"{shape_text((*rows, columns))} weights need I32{[*rows, words(columns, widest)]} at {widest} bits"
    raise FormatError(f"is {stored.dtype}{list(stored.shape)}, but {wanted}", tensor=stored.sources[0])


def _zero_points(points: LazyTensor, bits: int, packing: Packing, shape: tuple[int, ...]) -> LazyTensor:
    """Zero points of ``shape``, packed down the rows."""
    *stack, rows, groups = shape if len(shape) > 1 else (*shape, 1)
    expected = (*stack, words(rows, bits, packing), groups)
    if points.dtype == "I32" and points.shape == expected:
        return VerticalCodes(points, bits, rows, packing)
    wanted = f"{shape_text(shape)} zero points of {bits} bits need I32{list(expected)}"
    raise FormatError(f"is {points.dtype}{list(points.shape)}, but {wanted}", tensor=points.sources[0])
