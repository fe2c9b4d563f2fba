"""Rounding errors against numpy's, with the ``gguf`` package's encoders; losses by hand."""

from __future__ import annotations

from collections.abc import Mapping

import gguf
import numpy as np
import pytest
from gguf.quants import dequantize, quantize
from numpy.typing import NDArray

from qconv import policy
from qconv.allocation import ErrorTable, Losses, disturbance_type, menu, rounding_errors, samples, table
from qconv.calibration import Measurements, Sensitivity
from qconv.policy import Decision
from qconv.types import TensorInfo
from tests.conversion.fakes import Copy, Memory

F32 = np.float32
Array = NDArray[np.float32]


def some(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape, F32)


def measured(
    arrays: Mapping[str, Array], types: tuple[str, ...], importances: Mapping[str, Array] | None = None
) -> ErrorTable:
    memory = Memory(arrays)
    return rounding_errors(
        [Decision(name, array.shape, "F32", types[0], "", None, True) for name, array in arrays.items()],
        dict.fromkeys(arrays, types),
        {name: Copy(name, array.shape, "F32", arrays=memory) for name, array in arrays.items()},
        importances or {},
        threads=2,
    )


def squared_errors(array: Array, block_type: str) -> NDArray[np.float64]:
    """By row and column, as the ``gguf`` package rounds."""
    kind = gguf.GGMLQuantizationType[block_type]
    rows = array.reshape(-1, array.shape[-1])
    errors: NDArray[np.float64] = np.square(dequantize(quantize(rows, kind), kind) - rows, dtype=np.float64)
    return errors


def test_every_row_of_a_small_tensor_is_looked_at() -> None:
    arrays = {"a": some(1, 40, 64), "b": some(2, 64, 96)}
    result = measured(arrays, ("Q4_0", "Q5_0", "Q8_0"))
    for name, array in arrays.items():
        for block_type in ("Q4_0", "Q5_0", "Q8_0"):
            expected = squared_errors(array, block_type).sum()
            assert result.errors[name, block_type] == pytest.approx(expected, rel=1e-5)
        squares = np.square(array, dtype=np.float64)
        assert result.energies[name] == pytest.approx(squares.sum(), rel=1e-5)
        np.testing.assert_allclose(result.columns[name], squares.sum(0), rtol=1e-5)


def test_errors_are_weighted_by_importance() -> None:
    """Q8_0 is encoded without heed to importance, so that the weights alone make the difference."""
    array, importance = some(1, 40, 64), np.abs(some(2, 1, 64))
    result = measured({"a": array}, ("Q8_0",), {"a": importance})
    assert result.errors["a", "Q8_0"] == pytest.approx((squared_errors(array, "Q8_0") @ importance[0]).sum(), rel=1e-5)
    squares = np.square(array, dtype=np.float64)
    assert result.energies["a"] == pytest.approx((squares @ importance[0]).sum(), rel=1e-5)
    np.testing.assert_allclose(result.columns["a"], squares.sum(0), rtol=1e-5)
    np.testing.assert_array_equal(result.importances["a"], importance)


def test_experts_have_an_importance_each() -> None:
    """Of 120 rows 64 are looked at, 8 every 15: those from row 75 on lie in two matrices of 40."""
    array, importance = some(1, 3, 40, 64), np.abs(some(2, 3, 64)) * np.array([[1], [10], [100]], F32)
    result = measured({"a": array}, ("Q8_0",), {"a": importance})
    rows = [15 * place + row for place in range(8) for row in range(8)]
    by_row = (squared_errors(array, "Q8_0") * np.repeat(importance, 40, axis=0)).sum(1)
    assert result.errors["a", "Q8_0"] == pytest.approx(by_row[rows].sum() * 120 / 64, rel=1e-5)


def test_of_a_large_tensor_one_row_in_16_stands_for_all() -> None:
    assert list(samples((2048, 32))) == [(256 * place, 256 * place + 16) for place in range(8)]
    assert list(samples((3, 32))) == [(0, 1), (1, 2), (2, 3)]
    assert list(samples((0, 32))) == []
    array = some(1, 2048, 32)
    array[~np.isin(np.arange(2048) % 256, range(16))] = np.nan  # rows that would be refused are not read
    looked_at = array[np.isfinite(array[:, 0])]
    result = measured({"a": array}, ("Q4_0",))
    assert result.errors["a", "Q4_0"] == pytest.approx(16 * squared_errors(looked_at, "Q4_0").sum(), rel=1e-5)


@pytest.mark.parametrize("rows", [1, 5, 63, 64, 65, 1000, 1024, 4099])
def test_samples_are_rows_of_the_tensor_each_once(rows: int) -> None:
    looked_at = [row for start, stop in samples((rows, 32)) for row in range(start, stop)]
    assert looked_at == sorted(set(looked_at))
    assert len(looked_at) == min(rows, max(64, rows // 16))
    assert 0 <= looked_at[0] <= looked_at[-1] < rows


def test_half_a_million_weights_are_enough() -> None:
    assert sum(stop - start for start, stop in samples((1 << 20, 1024))) == 512


def test_plain_types_round_nothing() -> None:
    result = measured({"a": some(1, 4, 32)}, ("F16", "Q8_0"))
    assert set(result.errors) == {("a", "Q8_0")}


COLUMNS = np.array([2.0] * 32 + [6.0] * 32)
"""Σ w² by column of a tensor of 64."""
TABLE = ErrorTable(
    {("a", "Q4_0"): 3.0, ("a", "Q8_0"): 0.5, ("b", "Q4_0"): 4.0, ("b", "Q8_0"): 0.25},
    {"a": 100.0, "b": 80.0},
    {"a": COLUMNS, "b": COLUMNS},
    {"a": np.full((2, 64), 0.01, F32)},
)


def measurements(**more: object) -> Measurements:
    values: dict[str, object] = {
        "sensitivities": {"a": Sensitivity(0.5, 0.1, 10.0), "b": Sensitivity(-0.2, 0.3, 4.0)},
        **more,
    }
    return Measurements("", "", 1, 1, "F32", **values)  # type: ignore[arg-type]  # each test gives what it is about


def test_a_loss_is_sensitivity_times_error() -> None:
    losses = Losses(TABLE, measurements(scale=2.0), {})
    assert losses.measured
    assert losses.predicted("a", "Q4_0") == pytest.approx(0.05 * 2 * 3)
    # a sensitivity below nothing is noise; its error bar is not
    assert losses.predicted("b", "Q4_0") == 0
    assert losses.cautious("a", "Q4_0") == pytest.approx((0.5 + 0.1) / 10 * 2 * 3)
    assert losses.cautious("b", "Q4_0") == pytest.approx(0.3 / 4 * 2 * 4)
    types = [("a", "Q4_0"), ("b", "Q8_0"), ("norm", "F32")]
    assert losses.total(types) == pytest.approx(0.3)
    assert losses.of_weights(types) == pytest.approx(0.15)
    assert losses.of_inputs(types) == 0


def test_rounding_the_inputs_to_8_bits_costs_too() -> None:
    """A step of peak / 127 has a mean square error of step² / 12; what is smaller than that becomes nothing."""
    step_squares = np.array([0.06, 12.0])
    peaks = {name: (step_squares * 127**2).astype(F32) for name in ("a", "b")}
    losses = Losses(TABLE, measurements(peaks=peaks, scale=2.0), {})
    of_a = 32 * (0.06 / 12) * 2 + 32 * 0.01 * 6  # the second block's inputs have a mean square of 0.01 only
    assert losses.of_inputs([("a", "Q8_0")]) == pytest.approx(0.05 * of_a, rel=1e-5)
    assert losses.predicted("a", "Q8_0") == pytest.approx(0.05 * (2 * 0.5 + of_a), rel=1e-5)
    assert losses.of_inputs([("a", "F16")]) == 0
    of_b = 32 * (0.06 / 12) * 2 + 32 * 1.0 * 6  # no importance is known
    assert losses.cautious("b", "Q8_0") == pytest.approx(0.3 / 4 * (2 * 0.25 + of_b), rel=1e-5)


def test_each_type_s_inputs_are_rounded_in_blocks_of_its_own() -> None:
    squares = {"a": np.ones(512)}
    names = {("a", "Q4_K"): 0.0, ("a", "Q8_0"): 0.0}
    peaks = np.array([12.0] * 16 + [24.0, 36.0], F32) * F32(127**2)
    losses = Losses(ErrorTable(names, {"a": 1.0}, squares, {}), measurements(peaks={"a": peaks}), {})
    assert losses.of_inputs([("a", "Q8_0")]) == pytest.approx(0.05 * 512, rel=1e-5)
    assert losses.of_inputs([("a", "Q4_K")]) == pytest.approx(0.05 * 256 * (2 + 3), rel=1e-5)
    # peaks of another width are no peaks of this tensor
    other = Losses(ErrorTable(names, {"a": 1.0}, squares, {}), measurements(peaks={"a": peaks[:2]}), {})
    assert other.of_inputs([("a", "Q8_0")]) == 0


@pytest.mark.parametrize("measurements", [None, measurements(sensitivities={}, scale=7.0)])
def test_without_sensitivities_a_role_s_typical_one_counts(measurements: Measurements | None) -> None:
    name = "blk.0.ffn_down.weight"
    errors = ErrorTable({(name, "Q4_0"): 3.0}, {name: 100.0}, {}, {})
    losses = Losses(errors, measurements, {policy.role(name): 5})
    typical = table().typical.get(policy.role(name), table().typical["other"])
    assert not losses.measured
    assert losses.predicted(name, "Q4_0") == pytest.approx(typical / (100 * 5) * 3)
    assert Losses(ErrorTable({(name, "Q4_0"): 3.0}, {}, {}, {}), None, {}).predicted(name, "Q4_0") == 0


def test_a_menu_is_of_types_that_rows_fit() -> None:
    wide, narrow, odd = (TensorInfo("a", "BF16", (4, n)) for n in (512, 96, 17))
    assert menu(wide) == table().menu
    assert menu(narrow) == table().narrow_menu
    assert menu(odd) == ("F16",)
    assert menu(wide, ("Q4_K", "Q8_0")) == ("Q4_K", "Q8_0")
    assert menu(narrow, ("Q4_K", "Q8_0")) == ("Q8_0",)
    assert menu(narrow, ("Q4_K",)) == table().narrow_menu
    assert (disturbance_type(wide)[0], disturbance_type(narrow)[0]) == ("Q3_K", "Q4_0")
