"""What a session hands back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over the tokens a tensor's matrices saw.

    ``squares``: float32 ``(matrices, columns)``, sums of squares of the input's columns (llama-imatrix's ``in_sum2``).
    ``sums``: the same of the values themselves (``in_sum``).  ``counts``: int64, tokens: ``(matrices,)`` for experts,
    which see different ones, else ``(1,)``.  ``squares / counts[:, None]`` is the importance.  ``peaks``: float64, sums
    over all tokens of the square of the largest magnitude in each 32 columns, then in each 256; of those that rows are
    a whole number of.
    """

    squares: NDArray[np.float32]
    sums: NDArray[np.float32]
    counts: NDArray[np.int64]
    peaks: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Importance:
    """``sums`` by the weight tensors' names, those llama-imatrix writes; ``tokens``: how often each token was seen.

    ``tokens``: int64 ``(vocabulary,)``, the rows of the embeddings that were looked up.
    """

    sums: dict[str, Sums]
    tokens: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Divergence:
    """How a model's predictions differ from a base's, position by position: arrays of ``(positions,)``.

    ``kl``: KL(base ‖ model) in nats, as llama-perplexity takes it.  ``nll``, ``base_nll``: -log of the probability
    that the model and the base gave to the token that came.  ``same_top``: whether both hold the same token likeliest.
    Rounding makes ``kl`` exact to about 1e-6; where it is nothing it may come out negative.
    """

    kl: NDArray[np.float64]
    nll: NDArray[np.float64]
    base_nll: NDArray[np.float64]
    same_top: NDArray[np.bool_]

    @property
    def mean(self) -> float:
        """The mean KL divergence."""
        return float(self.kl.mean())

    @property
    def error(self) -> float:
        """The standard error of ``mean``."""
        return standard_error(self.kl)


def standard_error(values: NDArray[np.float64]) -> float:
    """Of the mean of values; 0 for fewer than two."""
    return float(values.std() / np.sqrt(len(values) - 1)) if len(values) > 1 else 0.0


def joined(parts: list[Divergence]) -> Divergence:
    """The positions of several, in order."""
    return Divergence(*(np.concatenate([getattr(p, f) for p in parts]) for f in ("kl", "nll", "base_nll", "same_top")))


@dataclass(frozen=True, slots=True)
class WeightTensor:
    """A weight tensor the model computes with: storage type and row-major shape, as in the file."""

    type: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class MatrixInput:
    """An input that ``tensors`` are multiplied with, in the order in which they are.

    ``columns``: its width.  ``matrices``: 1, or how many experts each with tokens of their own choose from.
    """

    tensors: tuple[str, ...]
    columns: int
    matrices: int


@dataclass(frozen=True, slots=True)
class Gram:
    """H = Σ x xᵀ of the input that ``tensors`` share.

    ``matrix``: which of the tensors' matrices, 0 unless they hold experts.  ``count``: tokens summed.  ``h``: float32
    ``(columns, columns)``, symmetric.
    """

    tensors: tuple[str, ...]
    matrix: int
    count: int
    h: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Head:
    """The matrix that makes logits of final hidden states, as the model's file holds it.

    ``type``: storage type.  ``shape``: (vocabulary, columns).  ``data``: uint8, its bytes.
    """

    type: str
    shape: tuple[int, int]
    data: NDArray[np.uint8]
