"""Several tensors in one, put together as the runtime reads them."""

from __future__ import annotations

from collections.abc import Sequence

from qconv.tensors.base import LazyTensor
from qconv.tensors.combine import join
from qconv.tensors.registry import combination


@combination
def one_after_another(parts: Sequence[LazyTensor]) -> LazyTensor:
    """The rows of each part in turn, or their values where they have one dimension."""
    return join("one_after_another", parts, axis=0)
