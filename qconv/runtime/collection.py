"""Sums over a text, taken in the session's process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qconv.runtime.child import Child
from qconv.runtime.results import Gram, Importance, Sums


class Chunker(Protocol):
    """What a collection needs to know of its session."""

    context: int
    batch: int

    def chunks(self, tokens: ArrayLike) -> NDArray[np.int32]: ...


class Collection:
    """Sums being taken in a session (``Session.collect``), which has one at a time; a context manager.

    ``run`` adds tokens, as often as one likes; results can be had at any time, and summing goes on.
    """

    def __init__(
        self,
        child: Child,
        session: Chunker,
        importance: bool,
        output: bool,
        gram: tuple[str, ...],
        start: Importance | None,
    ) -> None:
        self._child = child
        self._session = session
        sums = start.sums if start is not None else {}
        arrays = [array for s in sums.values() for array in (s.squares, s.sums, s.counts, s.peaks)]
        if start is not None:
            arrays.insert(0, start.tokens)
        values = {"importance": importance, "output": output, "names": list(sums), "gram": gram}
        child.call("collect", values, arrays)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._child.alive:
            self._child.call("end_collection", {})

    def run(self, tokens: ArrayLike, *, progress: Callable[[int], None] | None = None) -> None:
        """Adds what the model sees of these tokens, a batch at a time."""
        chunks = self._session.chunks(tokens)
        step = max(1, self._session.batch // self._session.context)
        for start in range(0, len(chunks), step):
            part = chunks[start : start + step]
            self._child.call("run", {}, [part])
            if progress is not None:
                progress(part.size)

    def importance(self) -> Importance:
        """The sums so far."""
        values, (tokens, *arrays) = self._child.call("importance", {})
        each = zip(*(arrays[i::4] for i in range(4)), strict=True)
        return Importance({name: Sums(*four) for name, four in zip(values["names"], each, strict=True)}, tokens)

    def gram(self, tensors: Sequence[str] | None = None) -> Iterator[Gram]:
        """H so far of every input, or of those that one of ``tensors`` reads, one matrix at a time.

        Raises ``UsageError`` for a tensor never multiplied with.
        """
        restart = True
        while True:
            values, panels = self._child.call("gram", {"restart": restart, "names": tensors})
            if not values["tensors"]:
                return
            restart = False
            yield Gram(
                tuple(values["tensors"]), values["matrix"], values["count"], _symmetric(values["columns"], panels)
            )


def _symmetric(columns: int, panels: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    """The whole of a matrix of whose lower triangle there are panels of rows."""
    whole = np.empty((columns, columns), np.float32)
    start = 0
    for panel in panels:
        stop = start + len(panel)
        whole[start:stop, :stop] = panel
        whole[:start, start:stop] = panel[:, :start].T
        start = stop
    return whole
