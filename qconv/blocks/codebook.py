"""What the IQ types of fewer than 4 bits share: weights in runs that are points of a codebook, and signs.

The codebooks are those of ``formats/codebooks.toml``.
"""

# numba types these functions by running them, so annotations would say nothing
# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

from functools import cache

import msgspec
import numpy as np
from numpy.typing import NDArray

from qconv.blocks.lanes import bits, floats, inline, join, load, select, to_float
from qconv.blocks.tiles import SIGN
from qconv.blocks.unpack import signed
from qconv.errors import TableError
from qconv.formats import ROOT
from qconv.formats import load as load_table

_FILE = ROOT / "codebooks.toml"
_BITS = (1 << np.arange(8)).astype(np.int32)


class _Codebook(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    values: tuple[int, ...]
    points: str


@cache
def _codebooks() -> dict[str, _Codebook]:
    return load_table(_FILE, dict[str, _Codebook])


def codebook(name: str, count: int, weights: int) -> NDArray[np.uint8]:
    """The ``count`` points of ``weights`` weights of a codebook one after the other, as bytes in two's complement.

    Raises TableError where the table says otherwise.
    """
    book = _codebooks()[name]
    words = book.points.split()
    digits = np.frombuffer("".join(words).encode(), np.uint8) - ord("0")
    if len(words) != count or {len(word) for word in words} != {weights} or digits.max() >= len(book.values):
        raise TableError(f"{name} is not {count} points of {weights} digits below {len(book.values)}", file=_FILE)
    return np.array(book.values, np.int8)[digits].view(np.uint8)


@inline
def eight(points, k):
    """Point ``k`` of a codebook of runs of 8."""
    return to_float(signed(load(points, 8 * k, 8)))


@inline
def four_and_four(points, first, second):
    """Two points of a codebook of runs of 4."""
    return to_float(signed(join(load(points, 4 * first, 4), load(points, 4 * second, 4))))


@inline
def negate(v, signs):
    """8 lanes, negative where a byte has a bit set."""
    return floats(bits(v) ^ select((load(_BITS, 0, 8) & signs) != 0, SIGN, bits(v) & 0))


@inline
def even_signs(seven):
    """Seven bits with an eighth that makes their number even."""
    parity = seven ^ seven >> 4
    parity ^= parity >> 2
    return seven | (parity ^ parity >> 1) << 7 & 128
