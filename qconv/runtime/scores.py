"""What logits say about the tokens that came: negative log-likelihoods, and KL divergence from a base's logits.

Figures are those of llama-perplexity: KL(base ‖ model) is summed over the tokens to which the base gives more than
exp(-16).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from qconv.runtime.results import Divergence

_LEAST_LOG_PROBABILITY = -16.0
_BLOCK = 1 << 18
"""Logits worked on at once by a thread: small enough for the processor's cache."""

Logits = NDArray[np.float32]
"""``(positions, vocabulary)``."""


class Scorer:
    """Scores rows of logits, several at once."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool

    def log_sums(self, logits: Logits) -> NDArray[np.float64]:
        """log Σ exp of every row: float64 ``(positions,)``."""
        return self._rowwise(lambda rows: _log_sum(logits[rows]), logits)

    def likelihoods(self, logits: Logits, targets: NDArray[np.int32]) -> NDArray[np.float64]:
        """-log p of the token that came at each position, in nats."""
        return self.log_sums(logits) - _picked(logits, targets)

    def divergence(self, base: Logits, logits: Logits, targets: NDArray[np.int32]) -> Divergence:
        """Both models' scores, position by position."""
        base_sums, sums = self.log_sums(base), self.log_sums(logits)

        def block(rows: slice) -> NDArray[np.float64]:
            return _divergence(base[rows], base_sums[rows], logits[rows], sums[rows])

        return Divergence(
            kl=self._rowwise(block, logits),
            nll=sums - _picked(logits, targets),
            base_nll=base_sums - _picked(base, targets),
            same_top=base.argmax(1) == logits.argmax(1),
        )

    def _rowwise(self, block: Callable[[slice], NDArray[np.float64]], logits: Logits) -> NDArray[np.float64]:
        return np.concatenate(list(self._pool.map(block, _blocks(logits))))


def _blocks(logits: Logits) -> Iterator[slice]:
    rows, columns = logits.shape
    step = max(1, _BLOCK // columns)
    return (slice(start, start + step) for start in range(0, rows, step))


def _picked(logits: Logits, targets: NDArray[np.int32]) -> NDArray[np.float64]:
    return np.take_along_axis(logits, targets[:, None], 1)[:, 0].astype(np.float64)


def _log_sum(logits: Logits) -> NDArray[np.float64]:
    largest = logits.max(1, keepdims=True)
    terms = logits - largest
    np.exp(terms, out=terms)
    # along the last axis numpy sums pairwise, which float32 is good enough for
    sums: NDArray[np.float64] = largest[:, 0] + np.log(terms.sum(1).astype(np.float64))
    return sums


def _divergence(
    base: Logits, base_sums: NDArray[np.float64], logits: Logits, sums: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Σ p (log p - log q): the sum of differences of logits, and the difference of what is taken off them all."""
    p = base - base_sums[:, None].astype(np.float32)
    likely = p > _LEAST_LOG_PROBABILITY
    np.exp(p, out=p)
    p *= likely
    differences = base - logits
    differences *= p
    by_logits: NDArray[np.float64] = differences.sum(1).astype(np.float64)
    by_logits += (sums - base_sums) * p.sum(1)
    return by_logits
