"""What is known of a file once it has been run beside the unquantized model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qconv.runtime import Divergence, standard_error


@dataclass(frozen=True, slots=True)
class TensorShare:
    """A tensor's block type, and the share of the file's KL divergence that was predicted of it."""

    name: str
    type: str
    share: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """One file on one text, as llama-perplexity has it.

    ``size``: bytes.  ``bits``: per weight.  ``predicted``: the KL divergence the file says was predicted; None for
    none.  ``shares``: of its tensors, the greatest first; none where nothing was predicted.  ``divergence``: position
    by position.
    """

    path: Path
    size: int
    bits: float
    predicted: float | None
    divergence: Divergence
    shares: tuple[TensorShare, ...] = ()

    @property
    def perplexity(self) -> float:
        return float(np.exp(self.divergence.nll.mean()))

    @property
    def perplexity_error(self) -> float:
        """Standard error of ``perplexity``."""
        return self.perplexity * standard_error(self.divergence.nll)

    @property
    def ratio(self) -> float:
        """The perplexity over the unquantized model's."""
        return float(np.exp((self.divergence.nll - self.divergence.base_nll).mean()))

    @property
    def ratio_error(self) -> float:
        """Standard error of ``ratio``, the positions' pairs taken together."""
        return self.ratio * standard_error(self.divergence.nll - self.divergence.base_nll)

    @property
    def same_top(self) -> float:
        """The share of positions where both hold the same token likeliest."""
        return float(self.divergence.same_top.mean())

    @property
    def same_top_error(self) -> float:
        """Standard error of ``same_top``."""
        share, count = self.same_top, len(self.divergence.same_top)
        return float(np.sqrt(share * (1 - share) / (count - 1))) if count > 1 else 0.0

    def quantile(self, share: float) -> float:
        """The KL divergence that ``share`` of the positions stay under, interpolated."""
        return float(np.quantile(self.divergence.kl, share))
