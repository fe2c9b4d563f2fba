"""A model running in a child process: what the other rooms use."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from qconv.cores import usable
from qconv.errors import UsageError
from qconv.runtime.child import Child
from qconv.runtime.collection import Collection
from qconv.runtime.importance import FEWEST_ROWS
from qconv.runtime.model import ModelInfo
from qconv.runtime.reference import KeptReference, Reference, Tokens
from qconv.runtime.results import Divergence, Gram, Head, Importance, MatrixInput, WeightTensor, joined
from qconv.storage import open_regular

T = TypeVar("T")
Progress = Callable[[int], None]


@dataclass(slots=True)
class _Census:
    inputs: tuple[MatrixInput, ...] = ()
    tables: tuple[str, ...] = ()
    tensors: dict[str, WeightTensor] = field(default_factory=dict)


class Session:
    """llama.cpp with a GGUF file loaded, in a process of its own, which ends with the session.

    Use it as a context manager::

        with Session(path) as session:
            tokens = session.tokenize(text)
            importance = session.importance(tokens)

    ``context``: tokens in a chunk.  ``batch``: tokens sent at once, 2048 in llama.cpp's tools; sums are bit for bit
    theirs only with the same.  ``threads``: of llama.cpp and of the sums; default: every core this process may use.
    ``writable``: weights can be replaced; the file is then read into memory instead of being mapped, and no type is
    repacked for the processor, which makes some slower and rounds their products otherwise.  ``gpu_layers``: layers
    given to a GPU, where the library has one; -1: all.  ``log``: called with every line of llama.cpp's log, from
    another thread; nothing of it is printed.

    The model is loaded here.  Raises ``LlamaCppError`` when llama.cpp is not installed, is a build that qconv does not
    know, or ends while it works; ``InputError`` when the file cannot be read or llama.cpp does not load it;
    ``UnsupportedError`` for encoders.

    ``info``: what the model says of itself.

    Tokens are int32 ``(n,)``.  They are taken in chunks of ``context``, each a text of its own that begins with the
    beginning-of-sequence token where the model wants one (it replaces the chunk's first); what is left at the end is
    not used.  ``progress`` is called with the number of tokens each step has added.  A session answers one call at a
    time; Ctrl-C ends it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        context: int = 512,
        batch: int = 2048,
        threads: int | None = None,
        writable: bool = False,
        gpu_layers: int = 0,
        log: Callable[[str], None] | None = None,
    ) -> None:
        if context < 2 or batch < FEWEST_ROWS:
            raise UsageError(f"a context of {context} tokens and batches of {batch} are too small")
        cores = usable()
        self.threads = cores if threads is None else max(1, min(threads, cores))
        self.path = Path(path)
        self.context = context
        self.batch = batch
        self.writable = writable
        os.close(open_regular(self.path))
        self._child = Child(self.threads, log)
        self._census: _Census | None = None
        self._keys = 0
        try:
            info = self._ask(
                "open",
                path=os.fsencode(self.path.absolute()),  # not resolved: shards are found by their names
                context=context,
                batch=batch,
                writable=writable,
                gpu_layers=gpu_layers,
            )
        except BaseException:
            self.close()
            raise
        self.library = info.pop("library")
        self.info = msgspec.convert(info, ModelInfo)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process."""
        self._child.close()

    @property
    def log(self) -> tuple[str, ...]:
        """The last lines of llama.cpp's log."""
        return self._child.lines

    def _ask(self, method: str, /, *arrays: NDArray[Any], **values: Any) -> dict[str, Any]:
        return self._child.call(method, values, arrays)[0]

    def _fetch(self, method: str, /, *arrays: NDArray[Any], **values: Any) -> NDArray[Any]:
        return self._child.call(method, values, arrays)[1][0]

    # text

    def tokenize(self, text: str | bytes, *, special: bool = False) -> Tokens:
        """The text's tokens, as llama-imatrix and llama-perplexity make them.

        ``special``: what spells a special token becomes one (``--parse-special``).  These tools leave out one newline
        at the end of a file; that is the caller's to do.  Raises ``UsageError`` for a model without a tokenizer.
        """
        data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        return self._fetch("tokenize", np.frombuffer(data, np.uint8), special=special)

    def chunks(self, tokens: ArrayLike) -> NDArray[np.int32]:
        """A copy of the tokens as ``(chunks, context)``; raises ``UsageError`` when they fill none."""
        array = np.asarray(tokens, np.int32)
        count = len(array) // self.context
        if array.ndim != 1 or not count:
            raise UsageError(f"{array.size} tokens do not fill a context of {self.context}: give more text")
        return array[: count * self.context].reshape(count, self.context).copy()

    # what the model consists of

    def _known(self) -> _Census:
        if self._census is None:
            self._census = msgspec.convert(self._ask("census"), _Census)
        return self._census

    def tensors(self) -> dict[str, WeightTensor]:
        """Every weight tensor the model computes with, norms and biases too, by name."""
        return self._known().tensors

    def tables(self) -> tuple[str, ...]:
        """Names of the tensors in which rows are looked up: the token embeddings and their like."""
        return self._known().tables

    def inputs(self) -> tuple[MatrixInput, ...]:
        """Every distinct input that weight matrices are multiplied with, in the order of computing."""
        return self._known().inputs

    # sums over a text

    def collect(
        self,
        *,
        importance: bool = True,
        output: bool = False,
        gram: Sequence[str] = (),
        start: Importance | None = None,
    ) -> Collection:
        """Begins to sum up what the model's matrices are multiplied with; see ``Collection``.

        ``importance``: sums of squares of every layer's matrices; ``output``: of the output matrix too, as
        ``--process-output`` has it.  ``gram``: names of tensors whose H = Σ x xᵀ is summed; tensors that share an input
        share one.  It takes about ``2 * columns² * matrices`` bytes for each input (``inputs()``).  ``start``: go on
        from these sums; those of a text in two parts are bit for bit those of the whole where the first has a whole
        number of batches.
        """
        return Collection(self._child, self, importance, output, tuple(gram), start)

    def importance(
        self,
        tokens: ArrayLike,
        *,
        output: bool = False,
        start: Importance | None = None,
        progress: Progress | None = None,
    ) -> Importance:
        """Sums of squares over a text, those of llama-imatrix; arguments as in ``collect``.

        They are bit for bit its own with the same build, context and batch, in a session that is not writable.

        Raises ``WeightError`` when activations are not finite.
        """
        with self.collect(output=output, start=start) as collection:
            collection.run(tokens, progress=progress)
            return collection.importance()

    def gram(self, tokens: ArrayLike, tensors: Sequence[str], *, progress: Progress | None = None) -> Iterator[Gram]:
        """H of the inputs of these tensors over a text, one at a time."""
        with self.collect(importance=False, gram=tensors) as collection:
            collection.run(tokens, progress=progress)
            yield from collection.gram()

    # outputs

    def _first(self, first: int | None) -> int:
        chosen = self.context // 2 if first is None else first
        if not 0 <= chosen < self.context - 1:
            raise UsageError(f"no position from {chosen} on has a next token in a context of {self.context}")
        return chosen

    def _each(self, tokens: ArrayLike, progress: Progress | None, do: Callable[[Tokens], T]) -> Iterator[T]:
        for chunk in self.chunks(tokens):
            yield do(chunk)
            if progress is not None:
                progress(len(chunk))

    def logits(
        self, tokens: ArrayLike, *, first: int | None = None, progress: Progress | None = None
    ) -> Iterator[NDArray[np.float32]]:
        """For each chunk float32 ``(positions, vocabulary)``: logits at the positions scored.

        These are from ``first`` on (default: half the context, as in llama-perplexity) to the last but one: the logits
        at a position are about the next token.
        """
        at = self._first(first)
        return self._each(tokens, progress, lambda chunk: self._fetch("logits", chunk, first=at))

    def hidden(
        self, tokens: ArrayLike, *, first: int | None = None, progress: Progress | None = None
    ) -> Iterator[NDArray[np.float32]]:
        """The same as final hidden states, ``(positions, columns)``: what the output matrix is multiplied with.

        With ``head()`` they stand for logits, in a ``Reference``; rounded to float16 they still do.  Raises
        ``UsageError`` where a model makes its logits in another way: they are then scaled, capped or biased.
        """
        at = self._first(first)

        def states(chunk: Tokens) -> NDArray[np.float32]:
            values, (array,) = self._child.call("hidden", {"first": at}, [chunk])
            if not values["plain"]:
                raise UsageError("its logits are not those of its output matrix alone: use logits", file=self.path)
            return array

        return self._each(tokens, progress, states)

    def head(self) -> Head:
        """The output matrix, or the embeddings that stand in for it."""
        values, (data,) = self._child.call("head", {})
        rows, columns = values["shape"]
        return Head(values["type"], (rows, columns), data)

    def likelihoods(
        self, tokens: ArrayLike, *, first: int | None = None, progress: Progress | None = None
    ) -> NDArray[np.float64]:
        """-log of the probability of each token scored, in nats; exp of their mean is the perplexity."""
        at = self._first(first)
        return np.concatenate(
            list(self._each(tokens, progress, lambda chunk: self._fetch("likelihoods", chunk, first=at)))
        )

    def keep(self, tokens: ArrayLike, *, first: int | None = None, progress: Progress | None = None) -> KeptReference:
        """Computes logits and keeps them in the session's process, to measure from once weights are replaced.

        They take ``4 * positions * vocabulary`` bytes; ``forget`` frees them.
        """
        at = self._first(first)

        def kept(chunk: Tokens) -> int:
            self._keys += 1
            self._ask("keep", chunk, key=self._keys, first=at)
            return self._keys

        keys = tuple(self._each(tokens, progress, kept))
        return KeptReference(self.chunks(tokens).reshape(-1), at, keys)

    def forget(self, reference: KeptReference) -> None:
        """Frees what ``keep`` kept."""
        self._ask("forget", keys=reference.keys)

    def kl_divergence(self, base: Reference | KeptReference, *, progress: Progress | None = None) -> Divergence:
        """How this model's predictions differ from the base's, at every position of the base's text that is scored.

        Raises ``UsageError`` when the base's outputs do not fit the model or the text.
        """
        at = self._first(base.first)
        parts = []
        chunks = self.chunks(base.tokens)
        if isinstance(base, Reference) and base.head is not None:
            self._ask("use_head", base.head.data, type=base.head.type, shape=base.head.shape)
        for chunk, (values, arrays) in zip(chunks, base.requests(), strict=False):
            _, results = self._child.call("divergence", {"first": at, **values}, [chunk, *arrays])
            parts.append(Divergence(*results))
            if progress is not None:
                progress(len(chunk))
        if len(parts) < len(chunks):
            raise UsageError(f"the base has outputs for {len(parts)} chunks of a text of {len(chunks)}")
        return joined(parts)

    # weights

    def read(self, name: str) -> NDArray[np.uint8]:
        """A weight tensor's bytes as they are now, in its storage type."""
        return self._fetch("read", name=name)

    @contextmanager
    def replaced(self, name: str, rows: NDArray[np.float32] | Iterable[NDArray[np.float32]]) -> Iterator[None]:
        """While it lasts, a tensor has other weights.

        ``rows``: float32 ``(rows, columns)``, all of the tensor's rows or the first of them, in one array or as blocks
        one after the other.  They are rounded to the type the tensor is stored in: exact in an F32 file.  Experts'
        rows are one expert's after the other's.  Raises ``UsageError`` for rows that do not fit, a type that cannot be
        encoded without importance, or a session that is not writable; ``WeightError`` for NaN and infinity.
        """
        blocks = [rows] if isinstance(rows, np.ndarray) else rows
        first = 0
        try:
            for block in blocks:
                self._ask("replace", np.asarray(block, np.float32), name=name, first=first)
                first += len(block)
            yield
        finally:
            if first and self._child.alive:
                self._ask("restore", name=name)
