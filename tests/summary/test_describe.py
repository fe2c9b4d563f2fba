"""What a file says of itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from qconv import checkpoints, gguf
from qconv.summary import describe
from qconv.types import Metadata, TensorInfo, Value


def summary(path: Path, keys: Metadata) -> tuple[str | None, float | None]:
    layout = gguf.header(
        {"general.architecture": Value.string("llama"), **keys}, [TensorInfo("a.weight", "F32", (2, 2))]
    )
    path.write_bytes(layout.header + np.zeros(8, np.float32).tobytes())
    with checkpoints.open(path) as checkpoint:
        told = describe(checkpoint)
    return told.size_method, told.predicted


def test_a_file_made_for_a_size_says_how_its_types_were_chosen(tmp_path: Path) -> None:
    keys = {
        "qconv.size.method": Value.string("measured sensitivities"),
        "qconv.size.predicted_kl_divergence": Value.float32(0.25),
    }
    assert summary(tmp_path / "sized.gguf", keys) == ("measured sensitivities", 0.25)


def test_other_files_say_nothing_of_it(tmp_path: Path) -> None:
    assert summary(tmp_path / "other.gguf", {}) == (None, None)
    odd = {"qconv.size.predicted_kl_divergence": Value.float32(float("nan"))}
    assert summary(tmp_path / "odd.gguf", odd) == (None, None)
