"""llama.cpp computes with qconv's projectors what transformers computes with the checkpoints they were made of.

Goldens compare files with those of llama.cpp's converter.  Here numbers are compared, also of models that it does not
convert: what is recorded in ``features.json`` (``scripts/record_features.py``) with what its runtime makes of the file.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from qconv.api import convert
from tests.projectors.features import CASES, RECORDED
from tests.projectors.tiny import write

TOLERANCE = 5e-3
"""Of the largest value of a case: activations are rounded to half precision within llama.cpp's tables and kernels."""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere C++ names are others")
def test_what_transformers_computes(tmp_path: Path) -> None:
    recorded = json.loads(RECORDED.read_text("utf-8"))
    assert list(recorded) == list(CASES)
    arguments: list[Path] = []
    for name, case in CASES.items():
        write(tmp_path / name, case.model)
        (file,) = convert(tmp_path / name, mmproj="f32", output=tmp_path / f"{name}.gguf")
        np.save(tmp_path / f"{name}.npy", case.noise)
        arguments += [file, tmp_path / f"{name}.npy", tmp_path / f"{name}.made.npy"]
    child = Path(__file__).with_name("encoder.py")
    done = subprocess.run([sys.executable, child, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    off = {}
    for name, rows in recorded.items():
        wanted = np.array(rows, np.float32)
        made = np.load(tmp_path / f"{name}.made.npy")
        assert made.shape == wanted.shape, name
        off[name] = float(np.abs(made - wanted).max() / np.abs(wanted).max())
    assert {name: worst for name, worst in off.items() if worst > TOLERANCE} == {}
