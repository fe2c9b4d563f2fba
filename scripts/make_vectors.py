"""Make ``formats/vectors``: what ggml itself encodes and decodes, for tests that need no ggml.

    scripts/make_vectors

``rows.safetensors`` holds float32 rows by kind and importance vectors; ``TYPE.safetensors`` the blocks of each kind
(``KIND``), of each kind with each vector (``KIND, VECTOR``; plain floats have none) and what the first row's blocks
decode to (``KIND, decoded``).  Of a type that qconv only decodes there are blocks of one kind with a vector, and random
bytes.  Every file's metadata names the ggml build; the same build gives the same files.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from reference import generators, ggml
from reference.generators import F32
from safetensors.numpy import save_file

from qconv import blocks
from qconv.formats import block_types

FOLDER = Path(__file__).parent.parent / "formats" / "vectors"
KINDS = (
    "gaussian 0.02",
    "student-t 2",
    "constant",
    "zero",
    "negative zero",
    "positive",
    "denormal",
    "outliers 1e38",
    "scale of each sub-block",
    "ties of 8",
    "1e-15 within ulps",
)
VECTORS = ("activations", "sparse sub-blocks")
SHAPE = (2, 512)


def encoded(block_type: str, rows: dict[str, F32], vectors: dict[str, F32]) -> dict[str, NDArray[Any]]:
    """What is known of a type that qconv encodes."""
    known: dict[str, NDArray[Any]] = {}
    for kind, values in rows.items():
        known[kind] = ggml.encode(block_type, values)
        known[f"{kind}, decoded"] = ggml.decode(block_type, known[kind][:1])
        for name, vector in vectors.items() if block_types()[block_type].weights > 1 else ():
            known[f"{kind}, {name}"] = ggml.encode(block_type, values, vector)
    return known


def decoded(block_type: str, rows: F32, vector: F32) -> dict[str, NDArray[Any]]:
    """What is known of a type that qconv only decodes."""
    shape = (SHAPE[0], block_types()[block_type].row_bytes(SHAPE[1]))
    known: dict[str, NDArray[Any]] = {}
    known[KINDS[0]] = ggml.encode(block_type, rows, vector)
    known["random bytes"] = generators.seeded(block_type).integers(0, 256, shape, dtype=np.uint8)
    for kind, coded in list(known.items()):
        known[f"{kind}, decoded"] = ggml.decode(block_type, coded)
    return known


def main() -> int:
    """Write every file; the exit code."""
    rows = {kind: generators.rows(kind, SHAPE) for kind in KINDS}
    vectors = {name: generators.importance(name, SHAPE[1]) for name in VECTORS}
    build = ", ".join(f"{key} {value}" for key, value in ggml.build().items())
    metadata = {"made by": f"scripts/make_vectors: {build}"}  # one key: their order is not kept
    FOLDER.mkdir(exist_ok=True)
    save_file({**rows, **vectors}, FOLDER / "rows.safetensors", metadata)
    for block_type in blocks.decodable():
        if block_type in blocks.encodable():
            known = encoded(block_type, rows, vectors)
        else:
            known = decoded(block_type, rows[KINDS[0]], vectors[VECTORS[0]])
        save_file(known, FOLDER / f"{block_type}.safetensors", metadata)
        print(FOLDER / f"{block_type}.safetensors")
    return 0


if __name__ == "__main__":
    sys.exit(main())
