"""How much damping Hessians want, on text that they were not summed over.

Rounding goes by what is chance in an H of few tokens as well.  Damping draws H towards a diagonal one, by which errors
do not cancel.  So rows of a few tensors are rounded by the H of nine tenths of a text, with several dampings, and what
comes of them is compared by the H of the tenth that is left.  ``plan`` chooses by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from qconv import blocks, policy
from qconv.allocation import first_tile, rounding
from qconv.calibration import squared_error
from qconv.plan import dequantized
from qconv.policy import Decision
from qconv.runtime import Gram, MatrixInput
from qconv.tensors import LazyTensor

Floats = NDArray[np.float32]

DAMPINGS = (0.003, 0.01, 0.03, 0.1, 0.3)
_FOR_WIDE = (0.01, 0.03, 0.1)
_WIDE = 4096
"""Columns of inputs above which making a factor takes so long that fewer dampings are tried, of one tensor a role."""
_HELD_OUT = 10
"""One chunk of the text in so many."""
_TENSORS = 3
"""Of each role."""


def parted(tokens: NDArray[np.int32], context: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The tokens that roundings are made by, and those they are compared on; of a single chunk, all and none."""
    chunks = tokens.reshape(-1, context)
    held_out = np.arange(len(chunks)) % _HELD_OUT == min(_HELD_OUT, len(chunks)) - 1
    if len(chunks) == 1:
        held_out[:] = False
    return chunks[~held_out].reshape(-1), chunks[held_out].reshape(-1)


def dampings(columns: int) -> tuple[float, ...]:
    """Those to try with an input of so many columns."""
    return DAMPINGS if columns <= _WIDE else _FOR_WIDE


def tried(inputs: Sequence[MatrixInput], decisions: Mapping[str, Decision]) -> frozenset[str]:
    """The tensors that dampings are tried with, of each role a few, spread over the layers.

    ``decisions``: by name, with block types to round to.  Experts', which are drawn to each other already, are not
    tried.
    """
    by_role: dict[str, list[str]] = {}
    for i in inputs:
        name, d = i.tensors[0], decisions.get(i.tensors[0])
        if d is not None and i.matrices == 1 and d.encodes and blocks.can_compensate(d.type):
            by_role.setdefault(policy.role(name), []).append(name)
    wide = {i.tensors[0] for i in inputs if i.columns > _WIDE}
    return frozenset(
        name for names in by_role.values() for name in _spread(names, _TENSORS if wide.isdisjoint(names) else 1)
    )


def _spread(names: Sequence[str], most: int) -> Iterator[str]:
    count = min(most, len(names))
    for place in range(count):
        yield names[(2 * place + 1) * len(names) // (2 * count)]


class Trials:
    """Roundings of some tensors with each damping; of each the decision and the weights are given."""

    def __init__(self, decisions: Sequence[Decision], tensors: Mapping[str, LazyTensor], threads: int) -> None:
        self._threads = threads
        self._decisions = {d.name: d for d in decisions}
        self._tensors = tensors
        self._rounded: dict[str, list[Floats]] = {}
        self._errors: dict[str, NDArray[np.float64]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Tensors to sum Hessians for, twice."""
        return tuple(self._decisions)

    def round(self, grams: Iterable[Gram]) -> None:
        """Rounds by H of the first part of the text."""
        for gram in grams:
            d = self._decisions[gram.tensors[0]]
            rows = first_tile(dequantized(self._tensors[d.name], d.type), d.intermediate_type)
            lower = list(blocks.lower_panels(gram.h))
            importance = np.ascontiguousarray(gram.h.diagonal())
            self._rounded[d.name] = [
                rounding(d.type, rows, blocks.EncodeContext(importance=importance, factor=factor))
                for factor in (
                    blocks.factorize(lower, len(gram.h), damping, self._threads) for damping in dampings(len(gram.h))
                )
            ]
            self._errors[d.name] = np.array([squared_error(off, lower) for off in self._rounded[d.name]])

    def compare(self, grams: Iterable[Gram]) -> dict[str, dict[float, float]]:
        """By tensor and damping the errors on what was held out: by H of all of the text, less those by H of the first
        part."""
        trials = {}
        for gram in grams:
            name = gram.tensors[0]
            lower = list(blocks.lower_panels(gram.h))
            errors = [squared_error(off, lower) for off in self._rounded.pop(name)] - self._errors[name]
            if (errors > 0).all():
                trials[name] = dict(zip(dampings(len(gram.h)), errors.tolist(), strict=True))
        return trials
