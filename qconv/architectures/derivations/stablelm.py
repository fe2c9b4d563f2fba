"""StableLM."""

from __future__ import annotations

from qconv.architectures.model import ModelContext
from qconv.architectures.registry import condition


@condition
def parallel_residual(model: ModelContext) -> bool:
    """Attention and feed-forward start from one norm, so that there is no second."""
    return model.find("use_parallel_residual") is not False
