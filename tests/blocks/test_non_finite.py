"""NaN and infinity are found wherever they are, and said to be at their row and column."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from qconv import blocks

TYPES = blocks.encodable()
PLACES = ((0, 0), (0, 511), (1, 300), (39, 17), (40, 511))


def plain(dtype: str) -> NDArray[Any]:
    rows = np.random.default_rng(1).standard_normal((41, 512)).astype(np.float32)
    if dtype == "bfloat16":
        return (rows.view(np.uint32) >> 16).astype(np.uint16)
    return rows.astype(dtype)


def bad(dtype: str, value: str) -> Any:
    if dtype == "bfloat16":
        return np.uint16({"nan": 0x7FC0, "inf": 0x7F80, "-inf": 0xFF80}[value])
    return np.dtype(dtype).type(value)


@pytest.mark.parametrize(
    ("dtype", "importance"),
    [("float32", None), ("float16", None), ("bfloat16", None), ("float32", np.ones(512, np.float32))],
    ids=["float32", "float16", "bfloat16", "importance"],
)
@pytest.mark.parametrize("block_type", TYPES)
def test_the_place_is_named(block_type: str, dtype: str, importance: NDArray[np.float32] | None) -> None:
    for number, place in enumerate(PLACES):
        rows = plain(dtype)
        rows[place] = bad(dtype, ("nan", "inf", "-inf")[number % 3])
        with pytest.raises(blocks.NonFinite) as caught:
            blocks.encode(block_type, rows, importance)
        assert (caught.value.row, caught.value.column) == place
        assert f"row {place[0]}, column {place[1]}" in str(caught.value)


@pytest.mark.parametrize("block_type", TYPES)
def test_the_first_of_several_is_named(block_type: str) -> None:
    rows = plain("float32")
    rows[30, 5] = rows[7, 400] = rows[8, 0] = np.nan
    with pytest.raises(blocks.NonFinite, match="row 7, column 400"):
        blocks.encode(block_type, rows)


@pytest.mark.parametrize("block_type", TYPES)
def test_the_largest_finite_weights_are_accepted(block_type: str) -> None:
    rows = np.full((3, 512), np.finfo(np.float32).max, np.float32)
    rows[:, ::3] *= -1
    assert blocks.encode(block_type, rows).shape[0] == 3
