"""Encoders and decoders give ggml's bytes for the rows of ``formats/vectors``; needs no ggml."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import load_file

from qconv import blocks
from qconv.formats import block_types

FOLDER = Path(__file__).parents[2] / "formats" / "vectors"
ENCODED = blocks.encodable()
DECODED = blocks.decodable()
VECTORS = ("activations", "sparse sub-blocks")


@cache
def vectors(name: str) -> dict[str, NDArray[Any]]:
    return load_file(FOLDER / f"{name}.safetensors")


def kinds() -> list[str]:
    return [name for name in vectors("rows") if name not in VECTORS]


def test_every_block_type_has_vectors() -> None:
    assert {path.stem for path in FOLDER.glob("*.safetensors")} == {*DECODED, "rows"}


@pytest.mark.parametrize("block_type", [*DECODED, "rows"])
def test_vectors_name_the_ggml_that_made_them(block_type: str) -> None:
    with safe_open(FOLDER / f"{block_type}.safetensors", "numpy") as file:
        metadata = file.metadata()
    assert re.fullmatch(
        r"scripts/make_vectors: wheel xllamacpp [\d.]+, wheel commit [0-9a-f]{40}, ggml [\d.]+, .+", metadata["made by"]
    )


def test_there_are_eleven_kinds_of_rows() -> None:
    assert len(kinds()) == 11
    assert all(vectors("rows")[kind].shape == (2, 512) for kind in kinds())


@pytest.mark.parametrize("block_type", ENCODED)
def test_encode(block_type: str) -> None:
    for kind in kinds():
        ours = blocks.encode(block_type, vectors("rows")[kind])
        np.testing.assert_array_equal(ours, vectors(block_type)[kind], kind)


@pytest.mark.parametrize("vector", VECTORS)
@pytest.mark.parametrize("block_type", [name for name in ENCODED if block_types()[name].weights > 1])
def test_encode_with_importance(block_type: str, vector: str) -> None:
    for kind in kinds():
        ours = blocks.encode(block_type, vectors("rows")[kind], vectors("rows")[vector])
        np.testing.assert_array_equal(ours, vectors(block_type)[f"{kind}, {vector}"], kind)


@pytest.mark.parametrize("block_type", DECODED)
def test_decode(block_type: str) -> None:
    kinds = [name.removesuffix(", decoded") for name in vectors(block_type) if name.endswith(", decoded")]
    assert kinds
    for kind in kinds:
        expected = vectors(block_type)[f"{kind}, decoded"]
        ours = blocks.decode(block_type, vectors(block_type)[kind][: len(expected)])
        number = ~np.isnan(expected)  # of random scales one may be NaN
        np.testing.assert_array_equal(np.isnan(ours), ~number, kind)
        np.testing.assert_array_equal(ours[number].view(np.uint32), expected[number].view(np.uint32), kind)
