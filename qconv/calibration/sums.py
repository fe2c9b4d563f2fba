"""Calibration files: written whole, and read back by a run that goes on where another stopped."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qconv import gguf, platform
from qconv.calibration.floats import COUNTS, PEAKS, SQUARES, SUMS, read_floats
from qconv.calibration.measurements import Measurements
from qconv.errors import FormatError, InputError, OutputError
from qconv.types import TensorInfo, Value, ValueType

_MOST_TOKENS = 2.0**53


@dataclass(frozen=True, slots=True)
class TensorSums:
    """Over the tokens a tensor's matrices saw: ``squares`` and ``sums`` of the inputs, float32 ``(matrices, columns)``,
    ``counts`` of tokens, ``(matrices,)`` or ``(1,)``.

    ``peaks``: float64 ``(blocks,)``, over all tokens the squares of the largest magnitude in each 32 columns, then in
    each 256; of those that rows are a whole number of.
    """

    squares: NDArray[np.float32]
    sums: NDArray[np.float32]
    counts: NDArray[np.int64]
    peaks: NDArray[np.float64]


def write_calibration(
    path: Path,
    sums: Mapping[str, TensorSums],
    measurements: Measurements,
    datasets: list[str],
    more_peaks: Mapping[str, NDArray[np.float64]] | None = None,
) -> None:
    """Writes an importance matrix as llama-imatrix does, with ``measurements`` in it.

    ``more_peaks``: as ``TensorSums.peaks``, of tensors whose importance is left out.

    The file is complete or not there: it is written under another name first.  Raises OutputError.
    """
    keys = {
        "general.type": Value.string("imatrix"),
        "imatrix.datasets": Value.array(ValueType.STRING, datasets),
        "imatrix.chunk_count": Value.uint32(measurements.tokens // max(1, measurements.context)),
        "imatrix.chunk_size": Value.uint32(measurements.context),
        **measurements.metadata(),
    }
    arrays: dict[str, NDArray[np.float32]] = {}
    for name, s in sorted(sums.items()):
        arrays[name + SQUARES] = s.squares
        arrays[name + COUNTS] = s.counts.astype(np.float32).reshape(-1, 1)
        arrays[name + SUMS] = s.sums
    peaks = {name: s.peaks for name, s in sums.items()} | dict(more_peaks or {})
    arrays |= {name + PEAKS: p.astype(np.float32) for name, p in sorted(peaks.items()) if len(p)}
    arrays |= measurements.arrays()
    layout = gguf.header(keys, [TensorInfo(name, "F32", array.shape) for name, array in arrays.items()])
    written = path.with_name(path.name + ".new")
    try:
        with written.open("wb") as f:
            f.write(layout.header)
            for name, array in arrays.items():
                f.seek(layout.tensors[name].offset)
                f.write(np.ascontiguousarray(array, "<f4").tobytes())
            f.truncate(layout.size)
            f.flush()
            platform.sync_data(f.fileno())
        os.replace(written, path)
        platform.sync_directory(path.parent)
    except OSError as e:
        written.unlink(missing_ok=True)
        raise OutputError(f"cannot be written: {e.strerror}", file=path) from e


def read_sums(path: Path) -> dict[str, TensorSums]:
    """The sums in a calibration file; raises InputError and FormatError."""
    try:
        with path.open("rb") as f:
            file = gguf.read(path)
            sums = {}
            for name in [n.removesuffix(SQUARES) for n in file.tensors if n.endswith(SQUARES)]:
                squares, total, counts = (read_floats(f, file, name + end) for end in (SQUARES, SUMS, COUNTS))
                shape = file.tensors[name + SQUARES].info.shape
                if total.size != squares.size or len(shape) != 2 or counts.size not in (1, shape[0]):
                    raise FormatError("holds sums that do not fit together", file=path, tensor=name)
                peaks = read_floats(f, file, name + PEAKS) if name + PEAKS in file.tensors else np.zeros(0, np.float32)
                if not all(np.isfinite(values).all() for values in (squares, total, peaks)):
                    raise FormatError("holds sums that are not finite", file=path, tensor=name)
                if not ((counts >= 0) & (counts < _MOST_TOKENS)).all():
                    raise FormatError("holds counts that are no numbers of tokens", file=path, tensor=name)
                whole = np.round(counts.astype(np.float64)).astype(np.int64)
                sums[name] = TensorSums(squares.reshape(shape), total.reshape(shape), whole, peaks.astype(np.float64))
    except OSError as e:
        raise InputError(f"cannot be read: {e.strerror}", file=path) from e
    return sums
