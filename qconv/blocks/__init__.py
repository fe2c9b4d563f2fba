"""Block types: encode rows of weights into blocks, decode blocks into rows.

One module a block type: ``q4_k.py`` holds ``CODEC``, the ``Codec`` of Q4_K.  A row of ``formats/blocks.toml`` and such
a module are all it takes; nothing lists them.  Modules are imported when first used: importing this package imports no
numba and compiles nothing.

The modules of block types share the rest: ``lanes`` (vectors for numba) and ``compile`` below everything, ``layout``
(offsets of fields), ``tiles`` and ``groups`` (weights side by side in lanes), ``search`` (ggml's searches for scales),
and what families of types have in common (``plain``, ``symmetric``, ``asymmetric``, ``subblocks16``, ...).
"""

from __future__ import annotations

import importlib
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qconv.blocks.assemble import HIGHEST, LOWEST, assemble
from qconv.blocks.blas import single_threaded
from qconv.blocks.codec import Codec, EncodeContext
from qconv.blocks.factor import (
    DAMPING,
    MOST_DAMPING,
    PANEL,
    TILE_ROWS,
    Factor,
    factor_bytes,
    factorize,
    lower_panels,
)
from qconv.blocks.scales import first_without_number
from qconv.errors import UnsupportedError, UsageError, WeightError
from qconv.formats import block_types
from qconv.types import SEARCHES

__all__ = [
    "DAMPING",
    "HIGHEST",
    "LOWEST",
    "MOST_DAMPING",
    "PANEL",
    "SEARCHES",
    "TILE_ROWS",
    "Codec",
    "EncodeContext",
    "Factor",
    "NonFinite",
    "assemble",
    "cache_directory",
    "can_compensate",
    "codec",
    "decodable",
    "decode",
    "encodable",
    "encode",
    "encode_on_grid",
    "factor_bytes",
    "factor_of",
    "factorize",
    "first_without_number",
    "lower_panels",
    "single_threaded",
    "warm_up",
]


class NonFinite(WeightError):
    """A weight is NaN or infinite; ``row`` and ``column`` (from 0, within the rows given) say which is the first."""

    def __init__(self, row: int, column: int, *, tensor: str | None = None, hint: str | None = None) -> None:
        super().__init__(
            f"row {row}, column {column} is NaN or infinite",
            tensor=tensor,
            hint=hint or "the checkpoint is damaged: download it again or ask its author",
        )
        self.row = row
        self.column = column


def encode(
    block_type: str,
    rows: NDArray[Any],
    importance: NDArray[np.float32] | None = None,
    *,
    out: NDArray[np.uint8] | None = None,
    search: str = SEARCHES[0],
    context: EncodeContext | None = None,
) -> NDArray[np.uint8]:
    """``rows`` as blocks, uint8 ``(n, bytes per row)``, written to ``out`` when given.

    ``rows``: ``(n, columns)`` of float32, float16 or uint16 (bfloat16 bits).  ``context``: what else there is to know;
    ``importance`` and ``search`` alone are short for it.  By default, and with an importance, the bytes are ggml's.

    Raises NonFinite for NaN and infinity, UnsupportedError for a type that cannot be encoded, UsageError when shapes
    or types do not fit together.
    """
    context = context or EncodeContext(search, importance)
    encoder, importance = codec(block_type), context.importance
    if context.search not in SEARCHES:
        raise UsageError(f"unknown search '{context.search}'", hint=f"one of {', '.join(SEARCHES)}")
    if not encoder.searches:
        raise UnsupportedError(f"qconv cannot encode {block_type}")
    if rows.ndim != 2 or rows.dtype not in (np.float32, np.float16, np.uint16):
        raise UsageError(f"rows to encode are 2-D float32, float16 or uint16, not {rows.ndim}-D {rows.dtype}")
    if importance is not None and (importance.dtype != np.float32 or importance.shape != rows.shape[1:]):
        raise UsageError(
            f"an importance vector is float32 of {rows.shape[1]}, not {importance.dtype} {importance.shape}"
        )
    if context.factor is not None and context.factor.columns != rows.shape[1]:
        raise UsageError(f"a Hessian of {context.factor.columns} columns is none of rows of {rows.shape[1]}")
    out = _output(out, np.uint8, (len(rows), encoder.layout.row_bytes(rows.shape[1])))
    rows = np.ascontiguousarray(rows)
    if importance is not None:
        context = replace(context, importance=np.ascontiguousarray(importance))
    if rows.size and not _encode(encoder, rows, context, out):
        raise _first_non_finite(rows)
    return out


def _encode(encoder: Codec, rows: NDArray[Any], context: EncodeContext, out: NDArray[np.uint8]) -> bool:
    if context.factor is None:
        return encoder.encode(rows, context, out)
    from qconv.blocks import gptq

    return gptq.encode(encoder, rows, context.factor, context, out)


def decode(
    block_type: str, blocks: NDArray[np.uint8], *, out: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """``blocks``, uint8 ``(n, bytes per row)``, as float32 ``(n, columns)``, written to ``out`` when given.

    Raises UnsupportedError for a type that cannot be decoded, UsageError when shapes or types do not fit together.
    """
    decoder = codec(block_type)
    layout = decoder.layout
    if blocks.ndim != 2 or blocks.dtype != np.uint8 or blocks.shape[1] % layout.bytes:
        raise UsageError(
            f"{block_type} rows are 2-D uint8 of whole {layout.bytes}-byte blocks, not {blocks.dtype} {blocks.shape}"
        )
    out = _output(out, np.float32, (len(blocks), blocks.shape[1] // layout.bytes * layout.weights))
    if blocks.size:
        decoder.decode(np.ascontiguousarray(blocks), out)
    return out


def can_compensate(block_type: str) -> bool:
    """Whether rounding to a type can go by a Hessian: its quants lie apart from each other.  Imports numba."""
    from qconv.blocks.quants import quants

    return quants(codec(block_type)) is not None


def encode_on_grid(rows: NDArray[Any], step: float, least: float) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Blocks of Q4_0 and which of them give back the weights, see ``grid.encode_on_grid``.  Imports numba."""
    from qconv.blocks import grid

    return grid.encode_on_grid(rows, step, least)


def factor_of(hessian: NDArray[Any]) -> Factor:
    """What ``EncodeContext.factor`` takes, of a whole matrix H, of which the lower triangle is read.

    Raises UsageError when it is not square, WeightError for NaN, infinity and what is not a sum of x xᵀ.
    """
    if hessian.ndim != 2 or hessian.shape[0] != hessian.shape[1] or hessian.dtype.kind not in "fiu":
        raise UsageError(f"a Hessian is a square matrix of numbers, not {hessian.dtype} {hessian.shape}")
    return factorize(lower_panels(hessian), len(hessian))


@cache
def codec(block_type: str) -> Codec:
    """The codec of a block type.

    Raises UsageError for a type that ``formats/blocks.toml`` does not name, UnsupportedError for one without a module.
    """
    if block_type not in block_types():
        raise UsageError(f"unknown block type '{block_type}'")
    if block_type not in decodable():
        raise UnsupportedError(f"qconv can neither encode nor decode {block_type}")
    known: Codec = importlib.import_module(_module(block_type)).CODEC
    return known


@cache
def decodable() -> tuple[str, ...]:
    """Names of the block types that have a module, in the order of ``formats/blocks.toml``; imports none of them."""
    return tuple(name for name in block_types() if find_spec(_module(name)))


@cache
def encodable() -> tuple[str, ...]:
    """Those of ``decodable`` that can be encoded too; imports their modules, and with them numba."""
    return tuple(name for name in decodable() if codec(name).searches)


def cache_directory() -> Path | None:
    """Where compiled code is kept; None when there is no place that can be written.  Imports numba."""
    from qconv.blocks import compile

    return compile.cache_directory()


def _module(block_type: str) -> str:
    return f"{__name__}.{block_type.lower()}"


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
