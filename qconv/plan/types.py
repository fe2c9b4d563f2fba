"""The plan: everything decided before a weight is read.

A ``Plan`` is one output (one ``--type``) of one source: its metadata, and for every output tensor its name, shape,
block type, lazy tensor, place and size.  It is made from headers alone, so a dry run is exact, disk space can be
checked, and any part of it can be made by any process in any order.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from qconv.storage import FileIdentity
from qconv.tensors import FLOATS, LazyTensor
from qconv.types import ModelPart

if TYPE_CHECKING:
    from qconv.calibration import TensorHessian

NonFinite: TypeAlias = Literal["refuse", "ask", "keep"]
"""What NaN and infinity in the source are: an error, one that names the option to keep them, or kept."""


@dataclass(frozen=True, slots=True)
class TensorPlan:
    """One output tensor.

    ``tensor``: its rows as they are read.  ``intermediate_type``: the type llama.cpp's converter would write before
    quantizing: values that an operation computed are rounded to it before they are encoded.  ``block_type ==
    tensor.dtype`` with no rounding in between means a copy.
    ``importance``: float32 ``(matrices, columns)``, row ``r`` of the tensor uses matrix ``r * matrices // rows``.
    ``hessian``: rounding goes by it; matrices as with importance.
    ``offset`` is absolute in ``Plan.files[file]``.
    """

    name: str
    shape: tuple[int, ...]
    tensor: LazyTensor
    intermediate_type: str
    block_type: str
    reason: str
    wanted: str | None
    file: int
    offset: int
    size: int
    importance: NDArray[np.float32] | None = None
    hessian: TensorHessian | None = None
    loss: float | None = None
    """KL divergence the tensor is predicted to cost, in nats a token, where that is known."""

    @property
    def source_type(self) -> str:
        """The type the weights have in the source, also where they are decoded."""
        return self.tensor.dtype if self.intermediate_type in FLOATS else self.intermediate_type

    @property
    def columns(self) -> int:
        return self.shape[-1] if self.shape else 1

    @property
    def weights(self) -> int:
        return math.prod(self.shape)

    @property
    def rows(self) -> int:
        return self.weights // self.columns if self.columns else 0


@dataclass(frozen=True, slots=True)
class OutputFile:
    """One file of the output: its name, its header's exact bytes (padding included), its exact size."""

    name: str
    header: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Sized:
    """How a plan's types were chosen, when for a size.

    ``size``: as it was asked for.  ``limit``: bytes its files may have.  ``predicted``: KL divergence from the
    unquantized model, in nats a token; None where nothing was measured of the model.  ``calibration``: what
    ``Measurements.job`` says, empty for none.  ``by_mix``: no choice was better than a mix's, so that the file is the
    mix's own.
    """

    size: str
    limit: int
    predicted: float | None
    calibration: str
    by_mix: bool = False

    @property
    def method(self) -> str:
        return "measured sensitivities" if self.calibration else "typical sensitivities"


@dataclass(frozen=True, slots=True)
class Plan:
    """One output of one source; several files when it is split."""

    mix: str
    search: str
    files: tuple[OutputFile, ...]
    tensors: tuple[TensorPlan, ...]
    sources: tuple[FileIdentity, ...]
    warnings: tuple[str, ...] = ()
    dropped: tuple[tuple[str, str], ...] = ()
    """Source tensors left out, each with the rule's reason."""
    non_finite: NonFinite = "refuse"
    sized: Sized | None = None
    part: ModelPart = "text"

    @property
    def size(self) -> int:
        """Bytes of all output files."""
        return sum(f.size for f in self.files)

    @property
    def weights(self) -> int:
        return sum(t.weights for t in self.tensors)

    @property
    def bits_per_weight(self) -> float:
        return sum(t.size for t in self.tensors) * 8 / max(1, self.weights)

    @property
    def fallbacks(self) -> tuple[TensorPlan, ...]:
        """Tensors whose rows do not fit the wanted type."""
        return tuple(t for t in self.tensors if t.wanted is not None)

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over everything the output's bytes follow from: headers, tensors, types, sources, search."""
        digest = hashlib.sha256()

        def add(*parts: object) -> None:
            for part in parts:
                text = part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogateescape")
                digest.update(len(text).to_bytes(8, "little"))
                digest.update(text)

        add("qconv plan 2", self.search)
        for f in self.files:
            add(f.name, f.size, f.header)
        for source in self.sources:
            add(source.location, source.size, source.version)
        for t in self.tensors:
            add(t.name, t.shape, repr(t.tensor.key), t.intermediate_type, t.block_type, t.file, t.offset, t.size)
            add(b"" if t.importance is None else t.importance.tobytes())
            if t.hessian is not None:
                add(*t.hessian.key)
        return digest.hexdigest()
