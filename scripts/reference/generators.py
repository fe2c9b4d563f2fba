"""Kinds of data that find differences between two encoders, each by name and from a seed.

``ROWS[name](rng, n)`` gives ``n`` (a multiple of 32) finite float32 weights; ``IMPORTANCE[name](rng, columns)`` an
importance vector.  Sizes of 16, 32 and 256 recur: those of sub-blocks, blocks and super-blocks.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import TypeAlias

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

F32: TypeAlias = NDArray[np.float32]
Source: TypeAlias = Callable[[Generator, int], NDArray[np.number]]

_LARGEST = np.finfo(np.float32).max
_DENORMAL = np.float32(1e-45)


def seeded(name: str, seed: int = 0) -> Generator:
    """A generator of random numbers for the kind ``name``."""
    return np.random.default_rng([zlib.crc32(name.encode()), seed])


def _gaussian(scale: float) -> Source:
    return lambda r, n: r.standard_normal(n) * scale


def _student(freedom: float) -> Source:
    return lambda r, n: r.standard_t(freedom, n)


def _full(value: float) -> Source:
    return lambda r, n: np.full(n, value)


def _each(size: int, r: Generator, n: int, decades: float) -> NDArray[np.floating]:
    """A scale for each ``size`` weights, over 10^-decades to 10^decades."""
    return np.repeat(10.0 ** r.uniform(-decades, decades, -(-n // size)), size)[:n]


def _with_outliers(scale: float, one_in: int) -> Source:
    def make(r: Generator, n: int) -> NDArray[np.floating]:
        x = r.standard_normal(n)
        return np.where(r.random(n) * one_in < 1, x * scale, x)

    return make


def _bits(low: int, high: int) -> Source:
    """Random sign and mantissa, biased exponents from ``low`` to ``high``."""

    def make(r: Generator, n: int) -> NDArray[np.floating]:
        mantissa = r.integers(0, 1 << 23, n, dtype=np.uint32)
        exponent = r.integers(low, high + 1, n, dtype=np.uint32) << 23
        return (mantissa | exponent | r.integers(0, 2, n, dtype=np.uint32) << 31).view(np.float32)

    return make


def _bfloat16(x: NDArray[np.number]) -> F32:
    return (x.astype(np.float32).view(np.uint32) & 0xFFFF0000).view(np.float32)


def _one_a_block(r: Generator, n: int) -> NDArray[np.floating]:
    x = np.zeros((-(-n // 32), 32))
    x[np.arange(len(x)), r.integers(0, 32, len(x))] = r.standard_normal(len(x))
    return x.reshape(-1)[:n]


def _near(value: float, ulps: int) -> Source:
    """Within ``ulps`` steps of ``value``, both signs: thresholds crossed by the least possible."""

    def make(r: Generator, n: int) -> NDArray[np.floating]:
        bits = np.float32(value).view(np.int32) + r.integers(-ulps, ulps + 1, n, dtype=np.int32)
        signs: F32 = r.choice(np.array([-1, 1], np.float32), n)
        return bits.view(np.float32) * signs

    return make


def _ties(steps: int) -> Source:
    """Halves of a grid whose largest value fills the range: every quant a tie."""

    def make(r: Generator, n: int) -> NDArray[np.floating]:
        x = (r.integers(-steps, steps, n) + 0.5) * np.repeat(2.0 ** r.integers(-8, 8, -(-n // 16)), 16)[:n]
        x[::16] = -steps * np.repeat(2.0 ** r.integers(-8, 8, 1), len(x[::16]))
        return x

    return make


def _equal_extremes(r: Generator, n: int) -> NDArray[np.floating]:
    """Largest and smallest of every sub-block of the same magnitude: which of them comes first decides."""
    x = r.uniform(-0.9, 0.9, (-(-n // 16), 16))
    at = r.permuted(np.tile(np.arange(16), (len(x), 1)), axis=1)
    rows = np.arange(len(x))
    x[rows, at[:, 0]], x[rows, at[:, 1]] = 1.0, -1.0
    return (x * 2.0 ** r.integers(-6, 6, (len(x), 1))).reshape(-1)[:n]


ROWS: dict[str, Source] = {
    **{
        f"gaussian {scale}": _gaussian(float(scale))
        for scale in (
            "1e-38",
            "1e-30",
            "1e-20",
            "1e-12",
            "1e-7",
            "1e-5",
            "0.02",
            "1",
            "1e4",
            "1e10",
            "1e20",
            "1e30",
            "1e37",
        )
    },
    **{f"student-t {freedom}": _student(freedom) for freedom in (1, 2, 3, 5)},
    "laplace": lambda r, n: r.laplace(size=n),
    "log-normal, signed": lambda r, n: r.lognormal(0, 3, n) * r.choice([-1, 1], n),
    "uniform": lambda r, n: r.uniform(-1, 1, n),
    "zero": _full(0.0),
    "negative zero": _full(-0.0),
    "zeros of both signs": lambda r, n: r.choice([0.0, -0.0], n),
    "constant": _full(0.3),
    "constant, negative": _full(-7.7),
    "constant a sub-block": lambda r, n: np.repeat(r.standard_normal(-(-n // 16)), 16)[:n],
    "constant a block": lambda r, n: np.repeat(r.standard_normal(-(-n // 32)), 32)[:n],
    "two-valued": lambda r, n: r.choice([-0.37, 1.21], n),
    "two-valued, one sign": lambda r, n: r.choice([0.37, 1.21], n),
    "ternary": lambda r, n: r.choice([-1.0, 0.0, 1.0], n),
    "sparse 1%": lambda r, n: r.standard_normal(n) * (r.random(n) < 0.01),
    "sparse 50%": lambda r, n: r.standard_normal(n) * (r.random(n) < 0.5),
    "sparse sub-blocks": lambda r, n: r.standard_normal(n) * np.repeat(r.random(-(-n // 16)) < 0.3, 16)[:n],
    "one weight a block": _one_a_block,
    "positive": lambda r, n: np.abs(r.standard_normal(n)),
    "negative": lambda r, n: -np.abs(r.standard_normal(n)),
    "far from zero": lambda r, n: 10 + 0.1 * r.standard_normal(n),
    "far from zero, negative": lambda r, n: -1000 + 0.1 * r.standard_normal(n),
    "denormal": _bits(0, 0),
    "denormal, few bits": lambda r, n: r.integers(-40, 41, n).astype(np.float32) * _DENORMAL,
    "about the least normal": _bits(0, 3),
    "about 1e-15": lambda r, n: r.standard_normal(n) * 1e-15,
    "1e-15 within ulps": _near(1e-15, 3),
    "1e-15 within ulps, scaled": lambda r, n: _near(1e-15, 3)(r, n) * r.uniform(0.9, 1.0),
    "scale of each sub-block": lambda r, n: r.standard_normal(n) * _each(16, r, n, 4),
    "scale of each block, wild": lambda r, n: r.standard_normal(n) * _each(32, r, n, 37),
    "scale of each super-block": lambda r, n: r.standard_normal(n) * _each(256, r, n, 6),
    "scale of each weight": lambda r, n: r.standard_normal(n) * 10.0 ** r.uniform(-6, 6, n),
    "bfloat16": lambda r, n: _bfloat16(r.standard_normal(n) * 0.02),
    "bfloat16, wild": lambda r, n: _bfloat16(_bits(60, 180)(r, n)),
    "float16": lambda r, n: (r.standard_normal(n) * 0.02).astype(np.float16),
    "float16, denormal": lambda r, n: r.integers(0, 0x400, n, dtype=np.uint16).view(np.float16),
    "integers": lambda r, n: r.integers(-8, 9, n),
    "integers, wide": lambda r, n: r.integers(-128, 128, n),
    "ties of 4": _ties(4),
    "ties of 8": _ties(8),
    "ties of 32": _ties(32),
    "ties of 127": _ties(127),
    "equal extremes": _equal_extremes,
    "ramp": lambda r, n: np.linspace(-1, 1, n),
    "sorted sub-blocks": lambda r, n: np.sort(r.standard_normal((-(-n // 16), 16)), axis=1).reshape(-1)[:n],
    "alternating": lambda r, n: np.abs(r.standard_normal(n)) * np.resize([1.0, -1.0], n),
    "outliers 1e3": _with_outliers(1e3, 100),
    "outliers 1e10": _with_outliers(1e10, 50),
    "outliers 1e38": _with_outliers(5e37, 200),
    "largest": lambda r, n: r.choice([-1.0, 1.0, 0.5, 0.0], n) * _LARGEST,
    "random finite bits": _bits(0, 254),
    "random bits, 8 octaves": _bits(123, 130),
    "half's overflow": lambda r, n: r.standard_normal(n) * _each(256, r, n, 1) * 65504 * 8,
    "half's underflow": lambda r, n: r.standard_normal(n) * _each(256, r, n, 1) * 6e-8,
}


def _scattered(value: float, one_in: int) -> Source:
    return lambda r, n: np.where(r.random(n) * one_in < 1, value, 0.0)


IMPORTANCE: dict[str, Source] = {
    "ones": _full(1.0),
    "activations": lambda r, n: r.chisquare(2, n) * 10.0 ** r.normal(0, 0.5, n),
    "zeros": _full(0.0),
    "one-hot": lambda r, n: (np.arange(n) == r.integers(n)).astype(np.float32),
    "one-hot a sub-block": lambda r, n: (np.arange(n) % 16 == np.repeat(r.integers(0, 16, -(-n // 16)), 16)[:n]) * 2.0,
    "sparse": _scattered(3.0, 10),
    "sparse sub-blocks": lambda r, n: r.random(n) * np.repeat(r.random(-(-n // 16)) < 0.5, 16)[:n],
    "huge ratios": lambda r, n: 10.0 ** r.uniform(-30, 30, n),
    "huge ratios of sub-blocks": lambda r, n: _each(16, r, n, 18) * r.random(n),
    "tiny": lambda r, n: r.random(n) * 1e-38,
    "huge": lambda r, n: r.random(n) * 1e38,
}


def rows(kind: str, shape: tuple[int, int], seed: int = 0) -> F32:
    """Float32 rows of the kind, cut to what float32 can hold."""
    x = np.asarray(ROWS[kind](seeded(kind, seed), shape[0] * shape[1]))
    if x.dtype == np.float64:
        x = np.clip(x, -_LARGEST, _LARGEST)
    return np.ascontiguousarray(x.astype(np.float32).reshape(shape))


def importance(kind: str, columns: int, seed: int = 0) -> F32:
    """A float32 importance vector of the kind."""
    return np.ascontiguousarray(np.asarray(IMPORTANCE[kind](seeded(kind, seed), columns)).astype(np.float32))


def shapes(weights: int, block: int, total: int) -> Iterator[tuple[int, int]]:
    """Shapes of about ``total`` weights: tails of 1 to 19 blocks of ``block``, in one row and in several, then large.

    ``weights``: the most weights of one shape.
    """
    for count in range(1, 20):
        rows_ = 1 + count % 3
        if total < block * count * rows_:
            return
        yield rows_, block * count
        total -= block * count * rows_
    columns = block * 16
    while total >= columns:
        count = max(1, min(total, weights) // columns)
        yield count, columns
        total -= count * columns
