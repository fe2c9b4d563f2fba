"""Hessians of a model's inputs, summed over a text in as many passes as memory asks for, a file an input.

In each pass a part of the text comes last, which tells how much they want to be damped (``damping``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qconv import platform
from qconv.calibration import HessiansInfo, hessian_bytes, hessian_file, read_hessian_file, write_hessians
from qconv.errors import InputError, OutputError
from qconv.measurement.damping import Trials, parted, tried
from qconv.policy import Decision
from qconv.runtime import Collection, MatrixInput, Session
from qconv.tensors import LazyTensor

Floats = NDArray[np.float32]

_OUTPUTS = ("output.weight", "token_embd.weight")
DEFAULT_MEMORY = 2_000_000_000
"""Bytes of Hessians summed up in one pass over the text, unless told otherwise."""


class Passes:
    """What is to be measured of a model, and what is there already.

    ``inputs``: those the session tells of, the output matrix's included, also where it is the token embedding: rows
    that are looked up become worse by compensating for errors of logits, but a model on the whole better.  Of
    SmolLM2-135M with that tensor alone rounded, to Q4_0 or Q5_0, errors of rows were 1.6 times as large, those of
    logits a sixth, and KL divergence 60 or 45 % less than with ordinary rounding.

    ``decisions``: block types that dampings are tried with.  ``tensors``: the weights by name.
    """

    def __init__(
        self,
        inputs: Sequence[MatrixInput],
        folder: Path,
        info: HessiansInfo,
        decisions: Sequence[Decision],
        tensors: Mapping[str, LazyTensor],
        memory: int | None,
        resume: bool,
    ) -> None:
        self._folder, self._info = folder, info
        measured = [(i, [t for t in i.tensors if t.startswith("blk.") or t in _OUTPUTS]) for i in inputs]
        named = [MatrixInput(tuple(t), i.columns, i.matrices) for i, t in measured if t]
        self._decisions, self._tensors = {d.name: d for d in decisions}, tensors
        self._missing = [i for i in named if not (resume and self._is_there(i))]
        self._tried = tried(named, self._decisions)
        self.bytes = sum(hessian_bytes(i.columns) * i.matrices for i in self._missing)
        free = platform.free_bytes(folder.parent)
        if self.bytes > free:
            raise OutputError(
                f"{self.bytes:,} bytes are needed for Hessians, and {free:,} are free",
                file=folder.parent,
                hint="free some space, or choose another place with --output",
            )
        self.passes = _passes(self._missing, DEFAULT_MEMORY if memory is None else memory)

    def note(self, tokens: int) -> str:
        """What is going to be done, for a person."""
        size = f"{self.bytes / 1e9:.2f} GB" if self.bytes >= 1e9 else f"{self.bytes / 1e6:.1f} MB"
        passes = "one pass" if len(self.passes) == 1 else f"{len(self.passes)} passes"
        return (
            f"Hessians of {len(self._missing)} inputs, {size} in {self._folder.name}/: {passes} over {tokens:,} tokens"
        )

    def run(self, session: Session, tokens: NDArray[np.int32], progress: Callable[[int], None]) -> None:
        """Raises OutputError, and as ``Session.collect`` does."""
        first, held_out = parted(tokens, session.context)
        try:
            self._folder.mkdir(exist_ok=True)
        except OSError as e:
            raise OutputError(f"cannot be made: {e.strerror}", file=self._folder) from e
        for inputs in self.passes:
            names = [name for i in inputs for name in i.tensors]
            here = self._tried.intersection(names) if held_out.size else ()
            trials = Trials([self._decisions[name] for name in here], self._tensors, session.threads)
            with session.collect(importance=False, gram=names) as collection:
                collection.run(first, progress=progress)
                trials.round(collection.gram(trials.names))
                if held_out.size:
                    collection.run(held_out, progress=progress)
                errors = trials.compare(collection.gram(trials.names))
                self._write(collection, {i.tensors[0]: i for i in inputs}, errors)

    def _write(
        self, collection: Collection, inputs: dict[str, MatrixInput], trials: Mapping[str, Mapping[float, float]]
    ) -> None:
        pooled: dict[str, tuple[Floats, int]] = {}
        if any(i.matrices > 1 for i in inputs.values()):
            for gram in collection.gram():
                if inputs[gram.tensors[0]].matrices > 1:
                    h, count = pooled.get(gram.tensors[0], (np.zeros_like(gram.h), 0))
                    h += gram.h
                    pooled[gram.tensors[0]] = h, count + gram.count
        counts = {name: [0] * i.matrices for name, i in inputs.items()}
        grams = collection.gram()
        for gram in grams:
            i = inputs[gram.tensors[0]]
            own = counts[gram.tensors[0]]

            def matrices(first: Floats, count: int, i: MatrixInput = i, own: list[int] = own) -> Iterator[Floats]:
                """Those of all experts, of which the first is at hand."""
                own[0] = count
                yield first if i.matrices == 1 else shrunk(first, *pooled[i.tensors[0]])
                for number in range(1, i.matrices):
                    following = next(grams)
                    own[number] = following.count
                    yield shrunk(following.h, *pooled[i.tensors[0]])

            path = self._folder / hessian_file(gram.tensors[0])
            hs, of_damping = matrices(gram.h, gram.count), trials.get(gram.tensors[0], {})
            write_hessians(path, self._info, gram.tensors, i.columns, own, hs, of_damping)
            pooled.pop(gram.tensors[0], None)

    def _is_there(self, i: MatrixInput) -> bool:
        with suppress(InputError):
            info, hessian = read_hessian_file(self._folder / hessian_file(i.tensors[0]))
            return info == self._info and (hessian.columns, hessian.matrices) == (i.columns, i.matrices)
        return False


def shrunk(h: Floats, pooled: Floats, count: int) -> Floats:
    """An expert's H with that of all experts of its layer, which saw ``count`` tokens, as if it had seen as many tokens
    more as there are columns: enough that few of its own do not decide alone."""
    return h + pooled * np.float32(len(h) / max(1, count))


def _passes(inputs: Sequence[MatrixInput], memory: int) -> list[list[MatrixInput]]:
    """Inputs that are summed up at once, one at least, in their order."""
    passes: list[list[MatrixInput]] = []
    taken = 0
    for i in inputs:
        needed = hessian_bytes(i.columns) * i.matrices
        if not passes or taken + needed > memory:
            passes.append([])
            taken = 0
        passes[-1].append(i)
        taken += needed
    return passes
