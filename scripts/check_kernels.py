"""Compare qconv's encoders and decoders with ggml's, byte for byte, over many kinds of data.

    scripts/check_kernels                                      # 2 million weights a type
    scripts/check_kernels --weights 100M --types Q4_K Q6_K
    scripts/check_kernels --weights 100M --importance          # only with an importance vector

Prints a table; exits 1 if any block differs.  Weights are shared out evenly over the kinds of data, and for encoding
with importance over the kinds of importance vectors too.  Encoding is tried from float32, float16 and bfloat16 rows,
decoding on what was encoded and on random bytes.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from reference import generators, ggml

from qconv import blocks
from qconv.formats import block_types

ENCODERS = (
    *("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"),
    *("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS"),
)
DECODERS = (*ENCODERS, "MXFP4")
_SHAPE = 1 << 20
"""The most weights encoded at once."""


@dataclass
class Outcome:
    """What comparing one type, one way, found."""

    block_type: str
    way: str
    weights: int = 0
    cases: int = 0
    blocks: int = 0
    different: int = 0
    first: str = ""
    seconds: float = field(default=0.0, repr=False)

    def add(self, ours: NDArray[np.uint8], theirs: NDArray[np.uint8], size: int, weights: int, what: str) -> None:
        """Count the blocks of ``size`` bytes that differ."""
        self.cases += 1
        self.weights += weights
        self.blocks += ours.size // size
        if np.array_equal(ours, theirs):
            return
        unequal = (ours.reshape(-1, size) != theirs.reshape(-1, size)).any(axis=1)
        self.different += int(unequal.sum())
        self.first = self.first or f"{what}, block {int(unequal.argmax())}"


def sources(rows: NDArray[np.float32], turn: int) -> tuple[NDArray[Any], NDArray[np.float32]]:
    """Rows as float32, float16 or bfloat16 bits by turns, and the float32 values they stand for."""
    if turn % 3 == 1:
        bits = (rows.view(np.uint32) >> 16).astype(np.uint16)
        return bits, (bits.astype(np.uint32) << 16).view(np.float32)
    if turn % 3 == 2:
        with np.errstate(over="ignore", under="ignore"):
            half = np.clip(rows, -65504, 65504).astype(np.float16)
        return half, half.astype(np.float32)
    return rows, rows


def cases(block: int, weights: int, kinds: list[tuple[str, str | None]]) -> Iterator[tuple[str, str | None, Any, int]]:
    """(kind of rows, kind of importance, shape, number) for about ``weights`` weights over all ``kinds``."""
    number = 0
    for kind, importance in kinds:
        for shape in generators.shapes(_SHAPE, block, max(weights // len(kinds), block * 2)):
            yield kind, importance, shape, number
            number += 1


def check_encoder(block_type: str, weights: int, with_importance: bool, every_source: bool = True) -> Outcome:
    """Encode ``weights`` weights both ways, from float32 rows only unless ``every_source``."""
    outcome = Outcome(block_type, "encode, importance" if with_importance else "encode")
    layout = block_types()[block_type]
    vectors: tuple[str | None, ...] = tuple(generators.IMPORTANCE) if with_importance else (None,)
    block = max(layout.weights, 32)
    for kind, vector, shape, number in cases(block, weights, list(itertools.product(generators.ROWS, vectors))):
        given, widened = sources(generators.rows(kind, shape, number), number if every_source else 0)
        importance = None if vector is None else generators.importance(vector, shape[1], number)
        start = time.perf_counter()
        ours = blocks.encode(block_type, given, importance)
        outcome.seconds += time.perf_counter() - start
        theirs = ggml.encode(block_type, widened, importance)
        what = f"{kind}, importance {vector}, {shape} of {given.dtype}, seed {number}"
        outcome.add(ours, theirs, layout.bytes, given.size, what)
    return outcome


def check_decoder(block_type: str, weights: int) -> Outcome:
    """Decode ``weights`` weights both ways; NaN equals NaN, everything else to the bit."""
    outcome = Outcome(block_type, "decode")
    layout = block_types()[block_type]
    block = max(layout.weights, 32)
    for kind, _, shape, number in cases(block, weights, [(kind, None) for kind in generators.ROWS]):
        if number % 2:
            size = (shape[0], layout.row_bytes(shape[1]))
            coded = generators.seeded(kind, number).integers(0, 256, size, dtype=np.uint8)
        else:
            coded = ggml.encode(block_type, generators.rows(kind, shape, number))
        start = time.perf_counter()
        ours = blocks.decode(block_type, coded)
        outcome.seconds += time.perf_counter() - start
        theirs = ggml.decode(block_type, coded)
        what = f"{'random bytes' if number % 2 else kind}, {shape}, seed {number}"
        outcome.add(same_nan(ours), same_nan(theirs), layout.weights * 4, theirs.size, what)
    return outcome


def same_nan(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The bytes of ``values``, every NaN the same one."""
    return np.where(np.isnan(values), np.float32(np.nan), values).view(np.uint8)


def count(text: str) -> int:
    """``100M`` as a number."""
    units = {"k": 10**3, "m": 10**6, "g": 10**9}
    unit = units.get(text[-1:].lower())
    return int(float(text[:-1]) * unit) if unit else int(text)


def main() -> int:
    """Run from the command line; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=count, default=count("2M"), help="weights a type and way, such as 100M")
    parser.add_argument("--types", nargs="+", default=DECODERS, choices=DECODERS, metavar="TYPE")
    parser.add_argument("--importance", action="store_true", help="only encode, only with importance")
    options = parser.parse_args()
    print(", ".join(f"{key} {value}" for key, value in ggml.build().items()))
    print(f"{len(generators.ROWS)} kinds of rows, {len(generators.IMPORTANCE)} of importance vectors\n")
    print(f"| {'type':7} | {'way':18} | {'cases':>6} | {'weights':>12} | {'blocks':>11} | {'different':>9} | Mw/s |")
    print(f"|{'-' * 9}|{'-' * 20}|{'-' * 7}:|{'-' * 13}:|{'-' * 12}:|{'-' * 10}:|-----:|")
    wrong = 0
    for block_type in options.types:
        encoder = functools.partial(check_encoder, block_type, options.weights)
        ways = [functools.partial(encoder, True)] if block_type in ENCODERS else []
        if not options.importance:
            ways.insert(0, functools.partial(check_decoder, block_type, options.weights))
            if block_type in ENCODERS:
                ways.insert(0, functools.partial(encoder, False))
        for way in ways:
            outcome = way()
            wrong += outcome.different
            print(
                f"| {outcome.block_type:7} | {outcome.way:18} | {outcome.cases:6} | {outcome.weights:12,} |"
                f" {outcome.blocks:11,} | {outcome.different:9,} | {outcome.weights / outcome.seconds / 1e6:4.0f} |"
                f"{'  first: ' + outcome.first if outcome.first else ''}",
                flush=True,
            )
    print(f"\n{wrong} blocks differ" if wrong else "\nno block differs")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
