"""The same bytes at every vector width: the vectors' tests again, compiled for lesser processors than this one.

Nearly all the time is numba's, which compiles every kernel anew, so this processor's own width is left to
``test_vectors.py``.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import llvmlite.binding
import pytest

from qconv.blocks.lanes import machine

LANES = {"haswell": 32, "x86-64": 16} if platform.machine() in ("x86_64", "AMD64") else {"generic": 16}
if machine.lanes() == 32 or not llvmlite.binding.get_host_cpu_features().get("avx2", False):
    LANES.pop("haswell", None)


def run(cpu: str, *command: str) -> str:
    environment = {**os.environ, "NUMBA_CPU_NAME": cpu, "NUMBA_CPU_FEATURES": ""}
    done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("cpu", LANES)
def test_width_follows_the_processor(cpu: str) -> None:
    assert run(cpu, "-c", "from qconv.blocks.lanes import machine; print(machine.lanes())") == f"{LANES[cpu]}\n"


@pytest.mark.parametrize("cpu", LANES)
def test_vectors_at_this_width(cpu: str) -> None:
    tests = Path(__file__).with_name("test_vectors.py")
    passed = run(cpu, "-m", "pytest", "-o", "addopts=", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", str(tests))
    assert " passed" in passed
    assert "skipped" not in passed
