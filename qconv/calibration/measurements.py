"""What ``qconv calibrate`` measures beside importance: how much the output suffers from each tensor's error.

A calibration file is a llama.cpp importance matrix with more in it.  Keys ``qconv.calibration.*`` say what was measured
and how; a tensor ``NAME.sensitivity``, F32 of 3 values, holds a ``Sensitivity``.  llama-quantize passes over both.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qconv import gguf
from qconv.calibration.floats import COUNTS, PEAKS, read_floats
from qconv.errors import FormatError, InputError
from qconv.types import Metadata, Value, ValueType

PREFIX = "qconv.calibration."
SENSITIVITY = ".sensitivity"
_VERSION = 1
_HINT = "calibrate again with this version of qconv"


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What one tensor's disturbance did to the model's output.

    ``kl``: mean KL divergence from the undisturbed model, in nats a token; ``deviation``: its standard error.
    ``disturbance``: Σ importance[c] · (w[r, c] - disturbed w[r, c])² over the tensor, which is proportional to the mean
    squared change of the tensor's outputs as long as importance is the mean square of its inputs.
    """

    kl: float
    deviation: float
    disturbance: float

    @property
    def slope(self) -> float:
        """KL divergence a unit of disturbance: what turns a rounding error into a prediction."""
        return max(0.0, self.kl) / self.disturbance if self.disturbance > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Measurements:
    """All that a calibration file says beyond importance.

    ``sensitivities`` by tensor name.  ``scale``: how many times its prediction a whole quantized file's KL divergence
    is, as far as weights are to blame.
    ``model``: fingerprint of the weights measured.  ``text``: SHA-256 of the text.  ``tokens``: of it that were used,
    in chunks of ``context``.  ``sensitivity_tokens``: how many sensitivities were measured with.  ``base``: the type
    the model ran in.  ``peaks`` by tensor name, float32 ``(blocks,)``: mean squares of the largest magnitude in each 32
    and each 256 columns of its input.  ``job``: hash of all that results depend on, so that an interrupted run is
    resumed with the same.
    """

    model: str
    text: str
    tokens: int
    context: int
    base: str
    job: str = ""
    sensitivity_tokens: int = 0
    scale: float = 1.0
    sensitivities: Mapping[str, Sensitivity] = field(default_factory=dict)
    peaks: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)

    def metadata(self) -> Metadata:
        keys = {
            "version": Value.uint32(_VERSION),
            "model": Value.string(self.model),
            "text": Value.string(self.text),
            "tokens": Value(ValueType.UINT64, self.tokens),
            "context": Value.uint32(self.context),
            "base": Value.string(self.base),
            "job": Value.string(self.job),
            "sensitivity_tokens": Value(ValueType.UINT64, self.sensitivity_tokens),
            "scale": Value.float32(self.scale),
        }
        return {PREFIX + key: value for key, value in keys.items()}

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        return {
            name + SENSITIVITY: np.array([s.kl, s.deviation, s.disturbance], np.float32)
            for name, s in self.sensitivities.items()
        }


def read_measurements(path: str | os.PathLike[str]) -> Measurements | None:
    """What a file measured by ``qconv calibrate`` says; None for an importance matrix of another program.

    Raises InputError when it cannot be read, FormatError when it is malformed.
    """
    try:
        with Path(path).open("rb") as f:
            if f.read(4) != b"GGUF":
                return None
            file = gguf.read(Path(path))
            if PREFIX + "version" not in file.metadata:
                return None
            keys = _Keys(path, file.metadata)
            if keys.number("version") != _VERSION:
                raise FormatError("was measured by another version of qconv", file=path, hint=_HINT)
            sensitivities, peaks = {}, {}
            for name in [name.removesuffix(PEAKS) for name in file.tensors if name.endswith(PEAKS)]:
                counted = name + COUNTS in file.tensors  # not for the output matrix, whose importance is left out
                tokens = float(read_floats(f, file, name + COUNTS).sum()) if counted else keys.number("tokens")
                if not math.isfinite(tokens):
                    raise FormatError("are not numbers of tokens", file=path, tensor=name + COUNTS, hint=_HINT)
                mean = read_floats(f, file, name + PEAKS) / np.float32(max(1.0, tokens))
                if not np.isfinite(mean).all() or (mean < 0).any():
                    raise FormatError("are not peaks", file=path, tensor=name + PEAKS, hint=_HINT)
                peaks[name] = mean
            for name, tensor in file.tensors.items():
                if not name.endswith(SENSITIVITY):
                    continue
                if tensor.info.dtype != "F32" or tensor.info.weights != 3:
                    raise FormatError("is not a sensitivity: three F32 values are", file=path, tensor=name, hint=_HINT)
                f.seek(tensor.offset)
                values = np.frombuffer(f.read(12), "<f4" if file.byte_order == "little" else ">f4")
                if len(values) != 3 or not np.isfinite(values).all() or values[1] < 0 or values[2] < 0:
                    raise FormatError("is not a sensitivity", file=path, tensor=name, hint=_HINT)
                sensitivities[name.removesuffix(SENSITIVITY)] = Sensitivity(*map(float, values))
    except OSError as e:
        raise InputError(f"cannot be read: {e.strerror}", file=path) from e
    return Measurements(
        model=keys.text("model"),
        text=keys.text("text"),
        tokens=int(keys.number("tokens")),
        context=int(keys.number("context")),
        base=keys.text("base"),
        job=keys.text("job"),
        sensitivity_tokens=int(keys.number("sensitivity_tokens")),
        scale=keys.number("scale"),
        sensitivities=sensitivities,
        peaks=peaks,
    )


class _Keys:
    """Checked access to ``qconv.calibration.*``."""

    def __init__(self, path: str | os.PathLike[str], metadata: Metadata) -> None:
        self._path, self._metadata = path, metadata

    def number(self, name: str) -> float:
        value = self._value(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0:
            return value
        raise FormatError(f"{PREFIX}{name} is not a number from 0 on", file=self._path, hint=_HINT)

    def text(self, name: str) -> str:
        value = self._value(name)
        if isinstance(value, str):
            return value
        raise FormatError(f"{PREFIX}{name} is not a text", file=self._path, hint=_HINT)

    def _value(self, name: str) -> object:
        if PREFIX + name not in self._metadata:
            raise FormatError(f"{PREFIX}{name} is missing", file=self._path, hint=_HINT)
        return self._metadata[PREFIX + name].data
