"""Operations that encoders of images and sounds need, by hand arithmetic or against torch's bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from qconv.errors import PlanError
from tests.tensors.arrays import ArrayTensor
from tests.tensors.test_operations import KINDS, apply, arrays, check, numbers

TORCH_RESIZED = ["0x1.3482200000000p-1", "-0x1.f4e5700000000p-4", "-0x1.12df4a0000000p+0", "-0x1.0e407a0000000p-3"]
"""Of 6 x 6 places of sixteen numbers, fitted to 4 x 4, the first number of some: torch 2.13."""
SOME = [1, 6, 10, 14]


@pytest.mark.parametrize("kind", KINDS)
def test_channels_first(kind: Any) -> None:
    x = numbers(5, 4 * 4 * 3, kind=kind)
    kernel = x.reshape(5, 4, 4, 3).transpose(0, 3, 1, 2)
    check(apply("channels_first", 3, 4)(ArrayTensor("x", x)), kernel)


@pytest.mark.parametrize("kind", KINDS)
def test_as_kernel(kind: Any) -> None:
    x = numbers(5, 3 * 4 * 4, kind=kind)
    check(apply("as_kernel", 3, 4)(ArrayTensor("x", x)), x.reshape(5, 3, 4, 4))
    with pytest.raises(PlanError, match="does not make 5 x 3 x 5 x 5"):
        apply("as_kernel", 3, 5)(ArrayTensor("x", x))


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


def test_resize_grid_as_torch_does() -> None:
    resized = apply("resize_grid", 4)(ArrayTensor("x", numbers(1, 36, 16)))
    rows = resized.read(0, 16)
    assert [float(value).hex() for value in rows[SOME, 0]] == TORCH_RESIZED
    check(resized, rows.reshape(1, 16, 16))


def test_resize_grid_keeps_corners_and_halves_what_is_between() -> None:
    x = np.arange(16, dtype=np.float32).reshape(1, 16, 1)  # rows of four: 0 1 2 3, 4 5 6 7, ...
    between = np.array([0, 1.5, 3, 6, 7.5, 9, 12, 13.5, 15], np.float32)
    check(apply("resize_grid", 3)(ArrayTensor("x", x)), between.reshape(1, 9, 1))
    assert apply("resize_grid", 4)(tensor := ArrayTensor("x", x)) is tensor


@pytest.mark.parametrize(("shape", "side"), [((1, 15, 2), 3), ((2, 16, 2), 3), ((1, 16, 2), 5), ((1, 16, 2), 0)])
def test_resize_grid_wants_a_larger_square(shape: tuple[int, ...], side: int) -> None:
    with pytest.raises(PlanError, match="no square grid"):
        apply("resize_grid", side)(ArrayTensor("x", numbers(*shape)))
