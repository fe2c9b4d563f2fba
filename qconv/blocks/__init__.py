"""Block types: encode rows of weights into blocks, decode blocks into rows.

One module a block type (``q4_k.py`` holds Q4_K), imported when first used: importing this package costs nothing and
compiles nothing.  A module of a block type offers one or both of

``encode_rows(rows, importance, out, search) -> bool``
    ``rows``: C-contiguous ``(n, columns)`` of float32, float16 or uint16 (bfloat16 bits), already known to hold whole
    blocks; ``importance``: float32 ``(columns,)`` or None; ``out``: C-contiguous uint8 ``(n, row_bytes)`` to fill.
    False when a weight is NaN or infinite; ``out`` then holds nothing of use.  ``SEARCHES`` lists what ``search``
    may be; a module without it knows ``"reference"`` only.
``decode_rows(blocks, out) -> None``
    ``blocks``: C-contiguous uint8 ``(n, row_bytes)``; ``out``: C-contiguous float32 ``(n, columns)`` to fill.

Both are called from several threads at once and hold no global interpreter lock while they compute.
"""

from __future__ import annotations

import importlib
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qconv.errors import UnsupportedError, UsageError, WeightError
from qconv.formats import BlockType, block_types

SEARCHES = ("reference", "thorough")
"""How encoders look for scales: as ggml does, bit for bit, or longer for a smaller error in the same format."""


class NonFinite(WeightError):
    """A weight is NaN or infinite; ``row`` and ``column`` (from 0, within the rows given) say which is the first."""

    def __init__(self, row: int, column: int, *, tensor: str | None = None) -> None:
        super().__init__(
            f"row {row}, column {column} is NaN or infinite",
            tensor=tensor,
            hint="the checkpoint is damaged: download it again or ask its author",
        )
        self.row = row
        self.column = column


def encode(
    block_type: str,
    rows: NDArray[Any],
    importance: NDArray[np.float32] | None = None,
    *,
    out: NDArray[np.uint8] | None = None,
    search: str = "reference",
) -> NDArray[np.uint8]:
    """``rows`` as blocks, uint8 ``(n, bytes per row)``, written to ``out`` when given.

    ``rows``: ``(n, columns)`` of float32, float16 or uint16 (bfloat16 bits).  ``importance``: float32 ``(columns,)``,
    how much each column's error weighs; types without a search ignore it.  ``search``: ``"reference"`` gives ggml's
    bytes; ``"thorough"`` looks longer where the type has such a search and is the same as ``"reference"`` elsewhere
    and with ``importance``.

    Raises NonFinite for NaN and infinity, UnsupportedError for a type that cannot be encoded, UsageError when shapes
    or types do not fit together.
    """
    layout, module = _known(block_type)
    if search not in SEARCHES:
        raise UsageError(f"unknown search '{search}'", hint=f"one of {', '.join(SEARCHES)}")
    if not hasattr(module, "encode_rows"):
        raise UnsupportedError(f"qconv cannot encode {block_type}")
    if rows.ndim != 2 or rows.dtype not in (np.float32, np.float16, np.uint16):
        raise UsageError(f"rows to encode are 2-D float32, float16 or uint16, not {rows.ndim}-D {rows.dtype}")
    if importance is not None and (importance.dtype != np.float32 or importance.shape != rows.shape[1:]):
        raise UsageError(
            f"an importance vector is float32 of {rows.shape[1]}, not {importance.dtype} {importance.shape}"
        )
    out = _output(out, np.uint8, (len(rows), layout.row_bytes(rows.shape[1])))
    rows = np.ascontiguousarray(rows)
    if importance is not None:
        importance = np.ascontiguousarray(importance)
    if rows.size and not module.encode_rows(rows, importance, out, search):
        raise _first_non_finite(rows)
    return out


def decode(
    block_type: str, blocks: NDArray[np.uint8], *, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """``blocks``, uint8 ``(n, bytes per row)``, as float32 ``(n, columns)``, written to ``out`` when given.

    Raises UnsupportedError for a type that cannot be decoded, UsageError when shapes or types do not fit together.
    """
    layout, module = _known(block_type)
    if not hasattr(module, "decode_rows"):
        raise UnsupportedError(f"qconv cannot decode {block_type}")
    if blocks.ndim != 2 or blocks.dtype != np.uint8 or blocks.shape[1] % layout.bytes:
        raise UsageError(
            f"{block_type} rows are 2-D uint8 of whole {layout.bytes}-byte blocks, not {blocks.dtype} {blocks.shape}"
        )
    out = _output(out, np.float32, (len(blocks), blocks.shape[1] // layout.bytes * layout.weights))
    if blocks.size:
        module.decode_rows(np.ascontiguousarray(blocks), out)
    return out


@cache
def _known(block_type: str) -> tuple[BlockType, ModuleType]:
    layout = block_types().get(block_type)
    if layout is None:
        raise UsageError(f"unknown block type '{block_type}'")
    name = f"{__name__}.{block_type.lower()}"
    try:
        return layout, importlib.import_module(name)
    except ModuleNotFoundError as e:
        if e.name != name:
            raise
        raise UnsupportedError(f"qconv can neither encode nor decode {block_type}") from e


def _output(out: NDArray[Any] | None, dtype: type[np.generic], shape: tuple[int, int]) -> NDArray[Any]:
    if out is None:
        return np.empty(shape, dtype)
    if out.dtype != dtype or out.shape != shape or not out.flags.c_contiguous or not out.flags.writeable:
        raise UsageError(f"out must be a writable contiguous {np.dtype(dtype)} {shape}, not {out.dtype} {out.shape}")
    return out


def _first_non_finite(rows: NDArray[Any]) -> NonFinite:
    bad = (rows & 0x7F80) == 0x7F80 if rows.dtype == np.uint16 else ~np.isfinite(rows)
    row, column = divmod(int(bad.argmax()), rows.shape[1])
    return NonFinite(row, column)
