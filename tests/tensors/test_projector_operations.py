"""Operations that encoders of images and sounds need, by hand arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qconv.errors import PlanError
from tests.tensors.arrays import ArrayTensor
from tests.tensors.test_operations import KINDS, apply, arrays, check, numbers


@pytest.mark.parametrize("kind", KINDS)
def test_channels_first(kind: Any) -> None:
    x = numbers(5, 4 * 4 * 3, kind=kind)
    kernel = x.reshape(5, 4, 4, 3).transpose(0, 3, 1, 2)
    check(apply("channels_first", 3, 4)(ArrayTensor("x", x)), kernel)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_grid(kind: Any) -> None:
    x = numbers(3, 4, 5, kind=kind)
    check(apply("rows_of_grid")(ArrayTensor("x", x)), x.reshape(12, 5))


def test_a_batch_norm_is_a_factor_and_a_shift() -> None:
    memory = arrays(
        weight=np.array([2, 3], np.float32),
        variance=np.array([4 - 1e-5, 0.25 - 1e-5], np.float32),
        bias=np.array([1, -1], np.float32),
        mean=np.array([5, 0.5], np.float32),
    )
    weight, variance, bias, mean = memory.values()
    check(apply("scale_of_batch_norm")([weight, variance]), np.array([1, 6], np.float32))
    check(apply("shift_of_batch_norm")([weight, variance, bias, mean]), np.array([-4, -4], np.float32))
    with pytest.raises(PlanError, match="weight is 2"):
        apply("scale_of_batch_norm")([weight, ArrayTensor("variance", numbers(3))])
