"""Compiling kernels before they are needed: what a first conversion would wait for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np

from qconv import blocks
from qconv.formats import block_types

DTYPES = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}
"""numpy's type for rows to encode, by storage type."""


class Kernel(NamedTuple):
    """Compiled code: an encoder for rows of a type, or (``dtype`` empty) a decoder.

    ``compensated``: all that rounding by a Hessian takes, too.
    """

    block_type: str
    search: str = ""
    weighed: bool = False
    dtype: str = ""
    compensated: bool = False

    def load(self) -> None:
        """Loads it from the cache, or compiles it and puts it there."""
        columns = block_types()[self.block_type].weights
        if not self.dtype:
            blocks.decode(self.block_type, np.zeros((1, block_types()[self.block_type].bytes), np.uint8))
            return
        rows = np.zeros((1, columns), DTYPES[self.dtype])
        importance = np.ones(columns, np.float32) if self.weighed else None
        blocks.encode(self.block_type, rows, importance, search=self.search)
        if self.compensated:
            factor = blocks.factor_of(np.eye(columns, dtype=np.float32))
            blocks.encode(self.block_type, rows, context=blocks.EncodeContext(self.search, factor=factor))


def processor() -> str:
    """The processor kernels are compiled for, and how many float32 lanes they use."""
    from qconv.blocks.lanes import machine

    return f"{machine.target()[1]}, {machine.lanes()} lanes"


def kernels(types: Iterable[str]) -> Iterator[Kernel]:
    """All that encoding and decoding ``types`` may need."""
    for name in types:
        yield Kernel(name)
        for search in blocks.codec(name).searches:
            yield from map(partial(Kernel, name, search, False), DTYPES)
            yield from map(partial(Kernel, name, search, True), DTYPES)
