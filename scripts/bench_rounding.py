"""Measure rounding by Hessians next to the matrix products it cannot do without.

    scripts/bench rounding                                # Q4_K, 4096 x 4096
    scripts/bench rounding --types Q4_K,Q3_K --rows 512   # less to wait for

``products``: numpy's time for the trailing updates alone, each panel's errors times what U has right of it, with one
thread of BLAS.  ``encode``: all of rounding, the ordinary encoder that it is compared with included, in one thread, and
how many times the products that is.  ``factor``: making U of H, once a tensor.  ``error``: Σ ΔW H ΔWᵀ over that of the
ordinary encoder with H's diagonal as importance.  CPU time, because wall time is at the mercy of whoever shares the
machine.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from qconv import blocks
from qconv.blocks import EncodeContext

T = TypeVar("T")


def clocked(work: Callable[[], T]) -> tuple[float, T]:
    """Seconds of CPU time, and what came of them."""
    start = time.process_time()
    result = work()
    return time.process_time() - start, result


def hessian(columns: int) -> NDArray[np.float32]:
    """Of inputs that are correlated and of different sizes."""
    random = np.random.default_rng(1)
    mixing = random.standard_normal((columns, columns), np.float32)
    mixing *= np.exp(random.standard_normal(columns)).astype(np.float32) / np.float32(columns**0.5)
    x = random.standard_normal((2 * columns, columns), np.float32) @ mixing
    h: NDArray[np.float32] = x.T @ x
    return h


def products(errors: NDArray[np.float32], u: NDArray[np.float32]) -> None:
    for start in range(0, len(u) - blocks.PANEL, blocks.PANEL):
        stop = start + blocks.PANEL
        errors @ u[start:stop, stop:]


def error(weights: NDArray[np.float32], coded: NDArray[np.uint8], block_type: str, h: NDArray[np.float32]) -> float:
    off = weights - blocks.decode(block_type, coded)
    return float(np.einsum("ij,ij->", off @ h, off, dtype=np.float64))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--types", default="Q4_K", help="block types, with commas")
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--columns", type=int, default=4096)
    args = parser.parse_args()
    h = hessian(args.columns)
    weights = np.random.default_rng(3).standard_normal((args.rows, args.columns), np.float32)
    with threadpool_limits(1, "blas"):
        spent, factor = clocked(lambda: blocks.factor_of(h))
        print(f"factor of {args.columns:,} columns: {spent:.2f} s")
        errors = np.ascontiguousarray(weights[:, : blocks.PANEL])
        alone, _ = clocked(lambda: products(errors, h))
        print(f"products for {args.rows:,} rows: {alone:.2f} s")
        for block_type in args.types.split(","):
            context = EncodeContext(factor=factor)
            blocks.encode(block_type, weights[:1], context=context)  # compiles
            spent, coded = clocked(partial(blocks.encode, block_type, weights, context=context))
            ordinary = blocks.encode(block_type, weights, factor.importance)
            share = error(weights, coded, block_type, h) / error(weights, ordinary, block_type, h)
            print(f"{block_type}: encode {spent:.2f} s, {spent / alone:.2f} times the products, error {share:.3f}")


if __name__ == "__main__":
    main()
