"""Make ``formats/codebooks.toml``: the points of the IQ types' codebooks, as ggml decodes them.

    scripts/make_codebooks

Every index of a codebook is put into blocks of its type whose scale is 1 and whose signs are all positive; what ggml
makes of them are the points.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from reference import ggml

from qconv.blocks.layout import fields
from qconv.formats import block_types

FILE = Path(__file__).parent.parent / "formats" / "codebooks.toml"
HEAD = """\
# Codebooks of the IQ types: `points` are runs of weights, of which a block stores the numbers, counted from 0 in the
# order here.  A digit is a weight: its place in `values`.  Blocks scale the values and say which are negative; those of
# IQ1_S and IQ1_M are shifted by 1/8 up or down instead.
# Made by scripts/make_codebooks from blocks that ggml decoded: {build}.
"""
PER_LINE = 12
Bytes = NDArray[np.uint8]


def low_bytes(numbers: NDArray[np.int64]) -> dict[str, Bytes]:
    """Indices of 8 bits."""
    return {"qs": numbers.astype(np.uint8)}


def ninth_bits(numbers: NDArray[np.int64]) -> dict[str, Bytes]:
    """Indices of 9 bits, the ninth of 8 at a time in a byte."""
    return {**low_bytes(numbers & 255), "qh": np.packbits(numbers >> 8, axis=1, bitorder="little")}


def two_high_bits(numbers: NDArray[np.int64]) -> dict[str, Bytes]:
    """Indices of 10 bits, the upper two of 4 at a time in a byte."""
    high = (numbers >> 8).reshape(len(numbers), -1, 4) << [0, 2, 4, 6]
    return {**low_bytes(numbers & 255), "qh": high.sum(axis=2).astype(np.uint8)}


def three_high_bits(numbers: NDArray[np.int64]) -> dict[str, Bytes]:
    """Indices of 11 bits, the upper three of 4 at a time in two bytes."""
    high = (numbers >> 8).reshape(len(numbers), -1, 4) << [0, 3, 6, 9]
    return {**low_bytes(numbers & 255), "qh": high.sum(axis=2).astype("<u2").view(np.uint8)}


def beside_signs(numbers: NDArray[np.int64]) -> dict[str, Bytes]:
    """Indices of 8 bits, 4 and then 4 bytes of signs and scale."""
    four = numbers.astype(np.uint8).reshape(len(numbers), -1, 4)
    return {"qs": np.concatenate([four, np.zeros_like(four)], axis=2).reshape(len(numbers), -1)}


def below_signs(numbers: NDArray[np.int64]) -> dict[str, Bytes]:
    """Indices of 9 bits in two bytes, below their signs."""
    return {"qs": numbers.astype("<u2").view(np.uint8)}


BOOKS: dict[str, tuple[str, int, int, float, Callable[[NDArray[np.int64]], dict[str, Bytes]]]] = {
    "IQ1": ("IQ1_S", 2048, 8, 1.0, three_high_bits),
    "IQ2_XXS": ("IQ2_XXS", 256, 8, 8.0, beside_signs),
    "IQ2_XS": ("IQ2_XS", 512, 8, 8.0, below_signs),
    "IQ2_S": ("IQ2_S", 1024, 8, 8.0, two_high_bits),
    "IQ3_XXS": ("IQ3_XXS", 256, 4, 4.0, low_bytes),
    "IQ3_S": ("IQ3_S", 512, 4, 1.0, ninth_bits),
}
"""Each codebook's block type, points, weights of a point, the ``d`` that makes a scale of 0 come to 1, and how its
indices are stored."""


def points(book: str) -> NDArray[np.int64]:
    """``(points, weights)`` of a codebook."""
    block_type, count, length, d, pack = BOOKS[book]
    layout = block_types()[block_type]
    numbers = np.arange(count).reshape(-1, layout.weights // length)
    coded = np.zeros((len(numbers), layout.bytes), np.uint8)
    for name, data in {**pack(numbers), "d": np.full(len(numbers), d, "<f2").view(np.uint8).reshape(-1, 2)}.items():
        field = fields(layout)[name]
        coded[:, field.offset : field.offset + field.size] = data
    decoded = ggml.decode(block_type, coded) - (1 / 8 if book == "IQ1" else 0)
    if (decoded != np.rint(decoded)).any():
        raise RuntimeError(f"the points of {book} are not of whole numbers")
    return decoded.astype(np.int64).reshape(count, length)


def main() -> int:
    """Write the file; the exit code."""
    build = ggml.build()
    lines = [HEAD.format(build=f"{build['wheel']}, ggml {build['ggml']}")]
    for book in BOOKS:
        values, digits = np.unique(points(book), return_inverse=True)
        words = ["".join(map(str, row)) for row in digits.reshape(-1, BOOKS[book][2])]
        lines += [f"[{book}]", f"values = {values.tolist()}", 'points = """']
        lines += [" ".join(words[i : i + PER_LINE]) for i in range(0, len(words), PER_LINE)]
        lines += ['"""', ""]
    FILE.write_text("\n".join(lines[:-1]) + "\n", encoding="utf-8")
    print(FILE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
