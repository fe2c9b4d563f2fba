"""What rounding by Hessians leaves of errors, against the whole product in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from reference import ggml

import qconv
from qconv.allocation.gains import gains
from qconv.calibration import HessiansInfo, read_hessians, write_hessians
from qconv.policy import Decision
from tests.conversion.fakes import Copy, Memory

COLUMNS = 512


def hessian(seed: int) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    x = random.standard_normal((900, COLUMNS)) @ random.standard_normal((COLUMNS, COLUMNS))
    return (x.T @ x).astype(np.float32)


def error(rows: NDArray[np.float32], coded: NDArray[np.uint8], h: NDArray[np.float32]) -> float:
    off = rows.astype(np.float64) - ggml.decode("Q4_K", coded)
    return float((off @ h * off).sum())


def test_the_share_that_is_left_of_each_type(tmp_path: Path) -> None:
    names = ["a.weight", "b.weight"]
    weights = {
        n: np.random.default_rng(i).standard_normal((200, COLUMNS)).astype(np.float32) for i, n in enumerate(names)
    }
    info = HessiansInfo("model", "text", 900, 512, "F32", "job")
    ratios = []
    for i, name in enumerate(names):
        h, rows = hessian(i), weights[name][:128]
        write_hessians(tmp_path / f"{i}.gguf", info, [name], COLUMNS, [900], [h])
        damped = (np.diag(h) * 1.0 + 0.01 * np.diag(h).mean()).astype(np.float32)
        after = error(rows, qconv.quantize(rows, "Q4_K", hessian=h), h)
        ratios.append(after / error(rows, ggml.encode("Q4_K", rows, damped), h))
    memory = Memory(weights)
    left = gains(
        [Decision(n, (200, COLUMNS), "F32", "Q4_K", "", None, True) for n in names],
        {n: ["F16", "Q4_K", "Q6_K", "TQ1_0"] for n in names},
        {n: Copy(n, (200, COLUMNS), "F32", arrays=memory) for n in names},
        read_hessians(tmp_path).by_tensor,
        {},
    )
    assert left.keys() == {"Q4_K", "Q6_K"}
    assert left["Q4_K"] == pytest.approx(float(np.sqrt(ratios[0] * ratios[1])), rel=1e-3)
    assert left["Q4_K"] < 0.6
