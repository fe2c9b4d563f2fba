"""Which model weights belong to: the same in every container, another for every fine-tune."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import qconv
from qconv import calibration, checkpoints
from qconv.options import ConvertOptions
from qconv.plan import Planner
from tests.cli.commands import make_checkpoint

SMALL = ("--hidden", "64", "--heads", "4", "--kv-heads", "2", "--ffn", "96", "--layers", "2", "--vocab", "288")


def fingerprint_of(source: Path) -> str:
    with checkpoints.open(source) as checkpoint:
        planner = Planner(checkpoint, ConvertOptions(types=("q8_0",), allow_requantize=True))
        tensors = planner.tensors()
        decisions = planner.choice(planner.mixes()[0]).decisions
        return calibration.fingerprint((d.name, tensors[d.name], d.intermediate_type) for d in decisions)


@pytest.mark.parametrize("dtype", ["bf16", "f16", "f32"])
def test_a_checkpoint_is_its_own_gguf(dtype: str, tmp_path: Path) -> None:
    """Whether the file is whole or split; its queries and keys are in another order of rows than the checkpoint's."""
    checkpoint = make_checkpoint(tmp_path / "Noise", *SMALL, "--dtype", dtype)
    (file,) = qconv.convert(checkpoint, dtype, output=tmp_path)
    (first, *others) = qconv.convert(checkpoint, dtype, output=tmp_path / "split.gguf", split_max_size=60_000)
    assert others
    assert fingerprint_of(file) == fingerprint_of(first) == fingerprint_of(checkpoint)


def changed(checkpoint: Path, directory: Path, change: Callable[[NDArray[np.uint8]], None]) -> Path:
    """A copy whose weights' bytes are changed; they begin after the header."""
    directory.mkdir()
    for file in checkpoint.iterdir():
        (directory / file.name).write_bytes(file.read_bytes())
    weights = directory / "model.safetensors"
    data = bytearray(weights.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    values = np.frombuffer(data, np.uint8)[start:]
    change(values)
    weights.write_bytes(data)
    return directory


def test_another_fine_tune_is_another_model(tmp_path: Path) -> None:
    base = make_checkpoint(tmp_path / "Noise", *SMALL)
    same = changed(base, tmp_path / "same", lambda values: None)
    tuned = changed(base, tmp_path / "tuned", lambda values: values.__setitem__(slice(None, None, 1000), 61))
    other = make_checkpoint(tmp_path / "other", *SMALL, "--seed", "2")
    assert fingerprint_of(same) == fingerprint_of(base)
    assert len({fingerprint_of(each) for each in (base, tuned, other)}) == 3


def test_quantized_weights_are_other_weights(tmp_path: Path) -> None:
    base = make_checkpoint(tmp_path / "Noise", *SMALL)
    (file,) = qconv.convert(base, "q8_0", output=tmp_path)
    assert fingerprint_of(file) != fingerprint_of(base)
