"""What ``encode`` and ``decode`` promise, whatever the block type."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from reference import generators

from qconv import blocks
from qconv.errors import UnsupportedError, UsageError
from qconv.formats import block_types

TYPES = blocks.encodable()


@pytest.mark.parametrize("importance", [None, generators.importance("activations", 512)], ids=["", "importance"])
@pytest.mark.parametrize("block_type", TYPES)
def test_rows_do_not_depend_on_their_neighbours(block_type: str, importance: np.ndarray | None) -> None:
    rows = generators.rows("student-t 3", (37, 512))
    whole = blocks.encode(block_type, rows, importance)
    out = np.zeros_like(whole)
    for start, stop in [(0, 1), (1, 4), (4, 21), (21, 37)]:
        blocks.encode(block_type, rows[start:stop], importance, out=out[start:stop])
    np.testing.assert_array_equal(out, whole)


@pytest.mark.parametrize("block_type", TYPES)
def test_threads_do_not_disturb_each_other(block_type: str) -> None:
    rows = [generators.rows("gaussian 1", (40, 512), seed) for seed in range(4)]
    alone = [blocks.encode(block_type, each) for each in rows]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda n: blocks.encode(block_type, rows[n % 4]), range(32)))
    for number, coded in enumerate(together):
        np.testing.assert_array_equal(coded, alone[number % 4])


@pytest.mark.parametrize("block_type", TYPES)
def test_decoding_what_was_encoded_comes_close(block_type: str) -> None:
    rows = generators.rows("gaussian 1", (8, 512))
    out = np.full(rows.shape, np.nan, np.float32)
    decoded = blocks.decode(block_type, blocks.encode(block_type, rows), out=out)
    assert decoded is out
    # a gaussian in b bits is off by about 2**-b of its deviation times a little more than 2; floats by their mantissa,
    # and ternary quants, which the largest weight scales, by less than the weights themselves
    mantissa = {"F32": 24, "F16": 11, "BF16": 8}
    bits = mantissa.get(block_type, block_types()[block_type].bits - 1.5)
    assert float(np.sqrt(np.mean((decoded - rows) ** 2))) <= (2.0**-bits if bits > 1 else 0.9)


@pytest.mark.parametrize("block_type", blocks.decodable())
def test_no_rows_give_nothing(block_type: str) -> None:
    layout = block_types()[block_type]
    assert blocks.decode(block_type, np.empty((0, layout.row_bytes(256)), np.uint8)).shape == (0, 256)
    if block_type in TYPES:
        assert blocks.encode(block_type, np.empty((0, 256), np.float32)).shape == (0, layout.row_bytes(256))


def test_rows_given_with_gaps_are_read_right() -> None:
    rows = generators.rows("gaussian 1", (6, 1024))
    np.testing.assert_array_equal(
        blocks.encode("Q4_K", rows[::2, 256:768]), blocks.encode("Q4_K", rows[::2, 256:768].copy())
    )


def test_a_context_says_what_importance_and_search_say() -> None:
    rows, importance = generators.rows("gaussian 1", (2, 256)), generators.importance("activations", 256)
    for context in (blocks.EncodeContext(importance=importance), blocks.EncodeContext("thorough")):
        coded = blocks.encode("Q4_K", rows, context.importance, search=context.search)
        np.testing.assert_array_equal(blocks.encode("Q4_K", rows, context=context), coded)
        assert not np.array_equal(coded, blocks.encode("Q4_K", rows))


def test_what_does_not_fit_is_refused() -> None:
    rows = np.zeros((2, 256), np.float32)
    with pytest.raises(UsageError, match="unknown block type"):
        blocks.encode("Q4_Z", rows)
    with pytest.raises(UnsupportedError, match="cannot encode IQ2_XXS"):
        blocks.encode("IQ2_XXS", rows)
    with pytest.raises(UnsupportedError, match="can neither encode nor decode Q8_1"):
        blocks.encode("Q8_1", rows)
    with pytest.raises(UsageError, match="unknown search 'Thorough'"):
        blocks.encode("Q4_K", rows, context=blocks.EncodeContext("Thorough"))
    with pytest.raises(UsageError, match="not a multiple"):
        blocks.encode("Q4_K", rows[:, :128])
    with pytest.raises(UsageError, match="float32, float16 or uint16"):
        blocks.encode("Q8_0", rows.astype(np.float64))
    with pytest.raises(UsageError, match="importance"):
        blocks.encode("Q8_0", rows, np.zeros(128, np.float32))
    with pytest.raises(UsageError, match="out must be"):
        blocks.encode("Q8_0", rows, out=np.zeros((2, 10), np.uint8))
    with pytest.raises(UsageError, match="whole 144-byte blocks"):
        blocks.decode("Q4_K", np.zeros((1, 100), np.uint8))
