"""A whole file, quantized and run: how many times its prediction its KL divergence is.

A text's later positions are worse than the few that sensitivities are measured at, since errors of the weights add up
over positions, and errors of several tensors are not quite independent.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
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

MIX = "Q4_K_M"
_SCALES = (0.25, 4.0)
"""What lies outside says more of the noise than of the model."""


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
    progress: Callable[[int], None] | None = None,
) -> float:
    """Makes a file of ``source`` beside the base, runs it, and returns ``Measurements.scale``.

    ``progress`` is called with the number of tokens each step has run it on.

    Raises as ``conversion.run`` and ``Session`` do.
    """
    options = ConvertOptions(
        types=(MIX.lower(),), imatrix=imatrix, output=str(base.folder / "probe.gguf"), allow_requantize=True
    )
    with checkpoints.open(source) as checkpoint:
        planner = Planner(checkpoint, options)
        (mix,) = planner.mixes()
        free = [d for d in planner.choice(mix).decisions if d.free and d.encodes]
        menus = {d.name: [d.type] for d in free}
        table = rounding_errors(free, menus, planner.tensors(), planner.importances(free), threads=run.threads)
        losses = Losses(table, replace(measurements, scale=1.0), {})
        quick = RunOptions(threads=run.threads, memory=run.memory, force=True)
        (result,) = conversion.run([planner.plan(mix)], checkpoint.files, [base.folder], quick)
    with Session(result.files[0], context=context, threads=run.threads) as session:
        actual = session.kl_divergence(reference, progress=progress).mean
    types = [(d.name, d.type) for d in free]
    return scale_of(losses.of_weights(types), losses.of_inputs(types), actual)


def scale_of(weights: float, inputs: float, actual: float) -> float:
    """The scale with which scale · weights + inputs is ``actual``, as far as that makes sense."""
    if not np.isfinite(actual):
        raise LlamaCppError("the quantized model's outputs are not finite", hint="try another --base or --context")
    return float(np.clip((actual - inputs) / weights, *_SCALES)) if weights > 0 else 1.0
