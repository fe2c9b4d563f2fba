"""Make ``formats/vectors``: what ggml itself encodes and decodes, for tests that need no ggml.

    scripts/make_vectors

``rows.safetensors`` holds float32 rows by kind and importance vectors; ``TYPE.safetensors`` the blocks of each kind
(``KIND``), of each kind with each vector (``KIND, VECTOR``; plain floats have none) and what the first row's blocks
decode to (``KIND, decoded``).  Every file's metadata names the ggml build; the same build gives the
same files.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from check_kernels import DECODERS
from numpy.typing import NDArray
from reference import generators, ggml
from safetensors.numpy import save_file

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


def main() -> int:
    """Write every file; the exit code."""
    rows = {kind: generators.rows(kind, SHAPE) for kind in KINDS}
    vectors = {name: generators.importance(name, SHAPE[1]) for name in VECTORS}
    build = ", ".join(f"{key} {value}" for key, value in ggml.build().items())
    metadata = {"made by": f"scripts/make_vectors: {build}"}  # one key: their order is not kept
    FOLDER.mkdir(exist_ok=True)
    save_file({**rows, **vectors}, FOLDER / "rows.safetensors", metadata)
    for block_type in DECODERS:
        known: dict[str, NDArray[np.generic]] = {}
        for kind, values in rows.items():
            known[kind] = coded = ggml.encode(block_type, values)
            known[f"{kind}, decoded"] = ggml.decode(block_type, coded[:1])
            for name, vector in vectors.items() if block_types()[block_type].weights > 1 else ():
                known[f"{kind}, {name}"] = ggml.encode(block_type, values, vector)
        save_file(known, FOLDER / f"{block_type}.safetensors", metadata)
        print(FOLDER / f"{block_type}.safetensors")
    return 0


if __name__ == "__main__":
    sys.exit(main())
