"""Plans of whatever options ask for, types and sizes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from qconv import checkpoints, plan
from qconv.allocation.allocator import Allocator
from qconv.calibration import read_measurements
from qconv.options import ConvertOptions, RunOptions
from qconv.pipeline import Progress
from qconv.plan import Plan, Planner


def make(
    checkpoint: checkpoints.Checkpoint,
    options: ConvertOptions,
    run: RunOptions | None = None,
    progress: Callable[[], AbstractContextManager[Progress | None]] = nullcontext,
) -> tuple[tuple[Plan, ...], Allocator | None]:
    """A plan for every type and size asked for, of the projector too, and what chose for the sizes, if there are any.

    Types are planned from headers alone; for sizes a sample of the weights is read, as ``run`` says, while what
    ``progress`` opens is told.  Raises as ``plan.make``, and UsageError for a size that cannot be met.
    """
    if not options.sizes:
        return plan.make(checkpoint, options), None
    planner = Planner(checkpoint, options)
    measurements = None if options.imatrix is None else read_measurements(options.imatrix)
    with progress() as told:
        allocator = Allocator(planner, measurements, run or RunOptions(), told)
    typed = [] if not options.types else [planner.plan(mix) for mix in planner.mixes()]
    plans = (*typed, *map(allocator.plan, options.wanted_sizes))
    return plan.with_projectors(plans, checkpoint, options), allocator
