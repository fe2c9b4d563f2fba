"""Tensors made from the same source take turns, so that over a line it is fetched once for both."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from qconv import pipeline
from qconv.pipeline import Block, Encoding, TensorWork, schedule
from qconv.storage import read_ahead
from qconv.tensors import StoredTensor, TensorLocation, operations
from qconv.types import Rows, TensorInfo
from tests.storage.test_read_ahead import DATA, Line

SHAPE = (8, 512, 1024)
SIZE = 4 * 8 * 512 * 1024


class Collected:
    """A sink that keeps the rows."""

    def __init__(self) -> None:
        self.rows: dict[str, NDArray[np.uint8]] = {}

    def take(self, block: Block, encoding: Encoding, rows: Rows, encoded: NDArray[np.uint8]) -> None:
        whole = self.rows.setdefault(block.work.name, np.zeros((block.work.rows, encoding.row_bytes), np.uint8))
        whole[block.start : block.stop] = encoded

    def memory(self, work: TensorWork, rows: int) -> int:
        return 0


def works(line: Line) -> list[TensorWork]:
    """Even and odd rows of one tensor, then its two halves."""
    stored = StoredTensor(TensorLocation(TensorInfo("gate_up", "F32", SHAPE), 0), line)
    made = {f"{name} {n}": operations()[name](stored, n) for name in ("every_other", "half") for n in (0, 1)}
    return [pipeline.as_read(name, tensor) for name, tensor in made.items()]


@pytest.mark.parametrize("pair", [0, 2])
@pytest.mark.parametrize("threads", [1, 8])
def test_both_halves_of_a_tensor_are_fetched_once(pair: int, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_ahead, "_LARGEST", 1 << 20)
    monkeypatch.setattr("qconv.pipeline.sizing.ROW_BLOCK", 1 << 15)
    line = Line()
    both = works(line)[pair : pair + 2]
    sink = Collected()
    pipeline.run(pipeline.segments([(work, 0, work.rows) for work in both]), sink, threads=threads)
    grid = np.frombuffer(DATA[:SIZE], np.uint8).reshape(8, 512, 4096)
    parts = [grid[:, 0::2], grid[:, 1::2]] if pair == 0 else [grid[:, :256], grid[:, 256:]]
    for work, part in zip(both, parts, strict=True):
        np.testing.assert_array_equal(sink.rows[work.name], part.reshape(-1, 4096))
    assert sum(size for _, size in line.fetched) <= 1.02 * SIZE


def test_others_follow_each_other() -> None:
    """Tensors of other sources, and what is only left of one of two."""
    line = Line()
    one, other = works(line)[:2]
    blocks = [Block(one, 0, 4, one.encodings), Block(other, 0, 4, other.encodings), Block(one, 4, 8, one.encodings)]
    cut = schedule.row_blocks(blocks, lambda work: 2)
    assert [(b.work is one, b.start) for b in cut] == [
        (True, 0),
        (False, 0),
        (True, 2),
        (False, 2),
        (True, 4),
        (True, 6),
    ]
