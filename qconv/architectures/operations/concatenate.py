"""Several tensors in one, put together as the runtime reads them."""

from __future__ import annotations

from collections.abc import Sequence

from qconv.architectures.operations.combine import join
from qconv.architectures.registry import combination
from qconv.types import Recipe


@combination
def one_after_another(parts: Sequence[Recipe]) -> Recipe:
    """The rows of each part in turn, or their values where they have one dimension."""
    return join("one_after_another", parts, axis=0)
