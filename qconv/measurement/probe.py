"""Two whole files, quantized and run: how many times its prediction is a file's KL divergence, and what is no weight's.

llama.cpp rounds what it multiplies quantized weights with, for K-quants to 8 bits with one scale for 256, so that even
the best file differs; and a text's later positions are worse than the few that sensitivities are measured at.  With
KL = floor + scale · prediction, a file of many bits and one of fewer tell both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qconv import checkpoints, conversion
from qconv.allocation import Losses, rounding_errors
from qconv.calibration import Measurements
from qconv.errors import LlamaCppError, UsageError
from qconv.measurement.base import BaseModel
from qconv.options import ConvertOptions, RunOptions
from qconv.plan import Planner
from qconv.runtime import Reference, Session

FILES = ("Q6_K", "Q4_K_M")
_SCALES = (0.25, 4.0)
"""What lies outside says more of the noise than of the model."""


@dataclass(frozen=True, slots=True)
class Probe:
    """``scale`` and ``floor`` as in ``Measurements``."""

    scale: float
    floor: float


def reference_of(session: Session, tokens: NDArray[np.int32]) -> Reference:
    """The model's outputs on a text: hidden states where they are enough, else logits."""
    try:
        return Reference(tokens, list(session.hidden(tokens)), session.head())
    except UsageError:
        return Reference(tokens, list(session.logits(tokens)))


def probe(
    source: Path,
    base: BaseModel,
    reference: Reference,
    imatrix: Path,
    measurements: Measurements,
    run: RunOptions,
    context: int,
) -> Probe:
    """Makes both files of ``source`` beside the base, runs them, and fits scale and floor."""
    predicted, actual = [], []
    options = ConvertOptions(
        types=tuple(name.lower() for name in FILES), imatrix=imatrix, output=str(base.folder), allow_requantize=True
    )
    quick = RunOptions(threads=run.threads, memory=run.memory, force=True)
    with checkpoints.open(source) as checkpoint:
        planner = Planner(checkpoint, options)
        choices = [planner.choice(mix) for mix in planner.mixes()]
        free = [d for d in choices[0].decisions if d.free and d.encodes]
        menus: dict[str, list[str]] = {d.name: [] for d in free}
        for choice in choices:
            for d in choice.decisions:
                if d.name in menus:
                    menus[d.name].append(d.type)
        table = rounding_errors(free, menus, planner.tensors(), planner.importances(free), threads=run.threads)
        losses = Losses(table, replace(measurements, scale=1.0, floor=0.0), len(free))
        for mix, choice in zip(planner.mixes(), choices, strict=True):
            (result,) = conversion.run([planner.plan(mix)], checkpoint.files, [base.folder], quick)
            with Session(result.files[0], context=context, threads=run.threads) as session:
                actual.append(session.kl_divergence(reference).mean)
            result.files[0].unlink()
            predicted.append(losses.total((d.name, d.type) for d in choice.decisions))
    return _fit(predicted, actual)


def _fit(predicted: list[float], actual: list[float]) -> Probe:
    rise = predicted[1] - predicted[0]
    scale = (actual[1] - actual[0]) / rise if rise > 0 else 1.0
    if not np.isfinite(scale):
        raise LlamaCppError("the quantized model's outputs are not finite", hint="try another --base or context")
    scale = min(max(scale, _SCALES[0]), _SCALES[1])
    return Probe(scale, max(0.0, actual[0] - scale * predicted[0]))
