"""Dampings that follow from what was measured on text held out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qconv.calibration import HessiansInfo, fingerprint, write_hessians
from qconv.plan.hessians import TensorHessians
from qconv.policy import Decision
from tests.conversion.fakes import Copy, Memory

NAMES = ("blk.0.ffn_down.weight", "blk.1.ffn_down.weight", "blk.2.ffn_down.weight", "blk.0.attn_q.weight")
DECISIONS = [Decision(n, (8, 256), "F32", "Q4_K", "", None, True) for n in NAMES]
MEMORY = Memory({n: np.ones((8, 256), np.float32) for n in NAMES})
TENSORS = {n: Copy(n, (8, 256), "F32", arrays=MEMORY) for n in NAMES}


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [
        ({0.01: 100.0, 0.1: 100.9, 0.3: 102.0}, {}, 0.1),
        ({0.01: 100.0, 0.1: 101.1, 0.3: 102.0}, {}, 0.01),
        ({0.01: 100.0, 0.1: 103.0, 0.3: 90.0}, {0.01: 1.0, 0.1: 1.0, 0.3: 2.0}, 0.01),  # 1.015 times the least, in mean
        ({0.01: 100.0, 0.1: 101.0, 0.3: 90.0}, {0.01: 1.0, 0.1: 1.0, 0.3: 2.0}, 0.1),
        ({}, {}, 0.01),
    ],
)
def test_the_largest_that_does_about_as_well_is_a_role_s(
    tmp_path: Path, one: dict[float, float], other: dict[float, float], wanted: float
) -> None:
    model = fingerprint((d.name, TENSORS[d.name], d.intermediate_type) for d in DECISIONS)
    info = HessiansInfo(model, "text", 1024, 512, "F32", "job")
    for name, trials in zip(NAMES, (one, other, {}, {}), strict=True):
        write_hessians(tmp_path / f"{name}.gguf", info, [name], 256, [9], [np.eye(256, dtype=np.float32)], trials)
    chosen = TensorHessians(tmp_path).of(DECISIONS, TENSORS)
    assert [chosen[n].damping for n in NAMES] == pytest.approx([wanted, wanted, wanted, 0.01])
    assert chosen[NAMES[0]].factor(0).added == pytest.approx(wanted)
