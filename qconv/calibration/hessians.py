"""Hessians: H = Σ x xᵀ over the inputs x of weight matrices, for rounding that lets errors cancel (``blocks.gptq``).

A folder holds a file for each input that matrices share; such a file alone is read as well.  It is a GGUF file with
keys ``qconv.hessians.*`` and two tensors named after the first matrix that reads the input: ``NAME.hessian``, F32
``(matrices, values)``, and ``NAME.counts``, F32 ``(matrices,)``, of tokens.  The values of a matrix are its lower
triangle in panels of 256 rows, each ``(256, columns up to the last of these rows)``: some 2 n² bytes for n columns.

BF16 would not do: where a few inputs are much larger than the others it leaves a matrix that is no sum of x xᵀ, and
with as much damping as makes it one, errors in layers of SmolLM2-135M were up to 3.5 times as large.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from qconv import blocks, gguf, platform
from qconv.calibration.floats import COUNTS, read_floats
from qconv.errors import FormatError, InputError, OutputError
from qconv.types import Metadata, TensorInfo, Value, ValueType

HESSIAN = ".hessian"
_PREFIX = "qconv.hessians."
_VERSION = 2
_HINT = "calibrate again with this version of qconv, with --hessians"
_FILES = 100_000
_TRIALS = 100


@dataclass(frozen=True, slots=True)
class HessiansInfo:
    """What a file says of how it was measured; see ``Measurements``, of which these are the same."""

    model: str
    text: str
    tokens: int
    context: int
    base: str
    job: str

    def metadata(self, tensors: Sequence[str], trials: Mapping[float, float]) -> Metadata:
        keys = {
            "version": Value.uint32(_VERSION),
            "model": Value.string(self.model),
            "text": Value.string(self.text),
            "tokens": Value(ValueType.UINT64, self.tokens),
            "context": Value.uint32(self.context),
            "base": Value.string(self.base),
            "job": Value.string(self.job),
            "dampings": Value.array(ValueType.FLOAT32, list(trials)),
            "errors": Value.array(ValueType.FLOAT32, list(trials.values())),
            "tensors": Value.array(ValueType.STRING, list(tensors)),
        }
        return {"general.type": Value.string("hessians"), **{_PREFIX + key: value for key, value in keys.items()}}


@dataclass(frozen=True, slots=True)
class TensorHessian:
    """The Hessians of one input: of ``columns`` columns, ``matrices`` of them, in ``file`` from ``offset`` on.

    ``tensors``: the weight tensors that read it.  ``trials``: by damping the error of rounding the first of them, on
    text that was held out; empty where none was tried.  ``job``: what they follow from.  ``damping``: of factors.
    """

    file: Path
    tensors: tuple[str, ...]
    columns: int
    matrices: int
    offset: int
    trials: Mapping[float, float]
    job: str
    damping: float = blocks.DAMPING

    @property
    def key(self) -> tuple[str, str, int, int, float]:
        """Tells it from others without reading it."""
        return self.job, self.tensors[0], self.columns, self.matrices, self.damping

    @property
    def resident_bytes(self) -> int:
        """Bytes that making a factor takes, and having it beside the next where there are several matrices."""
        one = blocks.factor_bytes(self.columns)
        return one if self.matrices == 1 else one + 4 * self.columns * (self.columns + 1280)

    def panels(self, matrix: int) -> Iterator[NDArray[np.float32]]:
        """The lower triangle of one, as ``blocks.factorize`` takes it; raises InputError and FormatError."""
        try:
            with self.file.open("rb") as f:
                f.seek(self.offset + 4 * matrix * values(self.columns))
                for height, width in shapes(self.columns):
                    data = np.fromfile(f, "<f4", height * width)
                    if data.size != height * width:
                        raise FormatError("is cut short", file=self.file, tensor=self.tensors[0] + HESSIAN)
                    yield data.reshape(height, width)
        except OSError as e:
            raise InputError(f"cannot be read: {e.strerror}", file=self.file) from e

    def factor(self, matrix: int, threads: int = 1) -> blocks.Factor:
        """What an encoder is told of it, by ``threads`` threads; raises WeightError for what is not a sum of x xᵀ."""
        return blocks.factorize(self.panels(matrix), self.columns, self.damping, threads)


@dataclass(frozen=True, slots=True)
class Hessians:
    """All that were measured of a model; ``by_tensor``: the input that a weight tensor reads."""

    place: Path
    model: str
    by_tensor: Mapping[str, TensorHessian]


def squared_error(off: NDArray[np.float32], panels: Iterable[NDArray[np.float32]]) -> float:
    """Σ ΔW H ΔWᵀ of rows ``off``, from the lower triangle of H in panels (``blocks.lower_panels``)."""
    total, start = 0.0, 0
    for panel in panels:
        stop = start + len(panel)
        product = off[:, start:stop] @ panel
        total += 2 * float(np.einsum("ij,ij->", product[:, :start], off[:, :start], dtype=np.float64))
        total += float(np.einsum("ij,ij->", product[:, start:], off[:, start:stop], dtype=np.float64))
        start = stop
    return total


def shapes(columns: int) -> list[tuple[int, int]]:
    """Of the panels of a lower triangle."""
    return [
        (min(blocks.PANEL, columns - start), min(start + blocks.PANEL, columns))
        for start in range(0, columns, blocks.PANEL)
    ]


def values(columns: int) -> int:
    """Numbers in the panels of a lower triangle."""
    return sum(height * width for height, width in shapes(columns))


def hessian_bytes(columns: int) -> int:
    """Bytes that one matrix takes in a file, and about as many while it is summed up."""
    return 4 * values(columns)


def hessian_file(tensor: str) -> str:
    """Of the file with the Hessians of the input that ``tensor`` is the first to read."""
    return tensor.removesuffix(".weight").replace("/", "_") + ".gguf"


def write_hessians(
    path: Path,
    info: HessiansInfo,
    tensors: Sequence[str],
    columns: int,
    counts: Sequence[int],
    matrices: Iterable[NDArray[np.float32]],
    trials: Mapping[float, float] = MappingProxyType({}),
) -> None:
    """Writes the Hessians of one input, of ``matrices`` square ones, as many as ``counts`` of tokens.

    ``trials``: see ``TensorHessian``.

    The file is complete or not there.  Raises OutputError.
    """
    name = tensors[0]
    infos = [
        TensorInfo(name + HESSIAN, "F32", (len(counts), values(columns))),
        TensorInfo(name + COUNTS, "F32", (len(counts),)),
    ]
    layout = gguf.header(info.metadata(tensors, trials), infos)
    written = path.with_name(path.name + ".new")
    try:
        with written.open("wb") as f:
            f.write(layout.header)
            f.seek(layout.tensors[name + HESSIAN].offset)
            for h in matrices:
                start = 0
                for height, width in shapes(columns):
                    f.write(np.ascontiguousarray(h[start : start + height, :width], "<f4").tobytes())
                    start += height
            f.seek(layout.tensors[name + COUNTS].offset)
            f.write(np.asarray(counts, "<f4").tobytes())
            f.truncate(layout.size)
            f.flush()
            platform.sync_data(f.fileno())
        os.replace(written, path)
    except OSError as e:
        written.unlink(missing_ok=True)
        raise OutputError(f"cannot be written: {e.strerror}", file=path) from e


def read_hessians(place: Path) -> Hessians:
    """What a folder of Hessians, or one file of them, holds; reads headers.

    Raises InputError when there is nothing, FormatError when a file is malformed or of another model than the others.
    """
    try:
        paths = sorted(place.glob("*.gguf")) if place.is_dir() else [place]
    except OSError as e:
        raise InputError(f"cannot be read: {e.strerror}", file=place) from e
    if not paths:
        raise InputError("holds no Hessians", file=place, hint="qconv calibrate --hessians makes them")
    if len(paths) > _FILES:
        raise FormatError(f"holds {len(paths):,} files, too many for Hessians", file=place)
    by_tensor: dict[str, TensorHessian] = {}
    models: dict[str, Path] = {}
    for path in paths:
        info, hessian = read_hessian_file(path)
        models.setdefault(info.model, path)
        for name in hessian.tensors:
            if name in by_tensor:
                raise FormatError(f"is in {by_tensor[name].file.name} too", file=path, tensor=name)
            by_tensor[name] = hessian
    if len(models) > 1:
        one, other = list(models.values())[:2]
        raise FormatError(f"is of another model than {one.name}", file=other, hint="keep each model's in a folder")
    return Hessians(place, next(iter(models)), by_tensor)


def read_hessian_file(path: Path) -> tuple[HessiansInfo, TensorHessian]:
    """What one file says, and holds; raises InputError and FormatError."""
    try:
        file = gguf.read(path)
        keys = file.metadata

        def fail(message: str, tensor: str | None = None) -> FormatError:
            return FormatError(message, file=path, tensor=tensor, hint=_HINT)

        def key(name: str, kind: type) -> object:
            value = keys[_PREFIX + name].data if _PREFIX + name in keys else None
            if not isinstance(value, kind) or isinstance(value, bool):
                raise fail(f"holds no Hessians: {_PREFIX}{name} is missing, or is not what it should be")
            return value

        if key("version", int) != _VERSION:
            raise fail("was measured by another version of qconv")
        named = keys.get(_PREFIX + "tensors")
        if named is None or named.element != ValueType.STRING or not 0 < len(named.data) <= 1000:
            raise fail(f"holds no Hessians: {_PREFIX}tensors is not a list of names")
        tensors = tuple(bytes(n).decode("utf-8", "surrogateescape") if isinstance(n, bytes) else n for n in named.data)
        info = HessiansInfo(
            model=str(key("model", str)),
            text=str(key("text", str)),
            tokens=int(str(key("tokens", int))),
            context=int(str(key("context", int))),
            base=str(key("base", str)),
            job=str(key("job", str)),
        )
        tensor = file.tensors.get(tensors[0] + HESSIAN)
        if tensor is None or file.byte_order != "little":
            raise fail("is missing, or not little-endian", tensors[0] + HESSIAN)
        with path.open("rb") as f:
            counts = read_floats(f, file, tensors[0] + COUNTS)
        if not np.isfinite(counts).all() or (counts < 0).any():
            raise fail("are no numbers of tokens", tensors[0] + COUNTS)
        columns = _columns(tensor.info.weights // max(1, counts.size))
        if tensor.info.dtype != "F32" or columns is None or tensor.info.weights != counts.size * values(columns):
            raise fail(f"is no F32 triangle of {counts.size} matrices", tensors[0] + HESSIAN)
        return info, TensorHessian(
            path, tensors, columns, int(counts.size), tensor.offset, _trials(keys, fail), info.job
        )
    except OSError as e:
        raise InputError(f"cannot be read: {e.strerror}", file=path) from e


def _trials(keys: Metadata, fail: Callable[[str], FormatError]) -> Mapping[float, float]:
    lists = []
    for name in ("dampings", "errors"):
        value = keys.get(_PREFIX + name)
        if value is None or value.element != ValueType.FLOAT32:
            raise fail(f"holds no Hessians: {_PREFIX}{name} is not a list of numbers")
        lists.append(np.asarray(value.data, np.float64))
    dampings, errors = lists
    if dampings.shape != errors.shape or dampings.size > _TRIALS or not (np.concatenate(lists) > 0).all():
        raise fail(f"{_PREFIX}dampings and {_PREFIX}errors are not as many numbers above zero")
    if not np.isfinite(errors).all() or (dampings > blocks.MOST_DAMPING).any():
        raise fail(f"{_PREFIX}dampings or {_PREFIX}errors are too large")
    return dict(zip(dampings.round(6).tolist(), errors.tolist(), strict=True))


def _columns(count: int) -> int | None:
    """How many columns a triangle of so many values has."""
    low, high = 1, 1 << 20
    if not 0 < count < values(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if values(middle) < count else (low, middle)
    return low if values(low) == count else None
