"""The checkpoints made from golden files are those llama.cpp's converter was given."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType, quantize
from numpy.typing import NDArray

from tests.architectures.tiny import weights
from tests.projectors.tiny import GOLDENS, OUT_TYPES, digest


def widened(name: str, dtype: str, shape: list[int]) -> NDArray[np.float32]:
    """A tiny checkpoint's tensor of floats as float32."""
    data = weights(name, dtype, tuple(shape))
    if dtype == "BF16":
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4").reshape(shape)
    return np.frombuffer(data, {"F32": "<f4", "F16": "<f2"}[dtype]).astype("<f4").reshape(shape)


@pytest.mark.parametrize("golden", GOLDENS, ids=lambda path: path.stem)
def test_tensors_taken_unchanged_are_recorded(golden: Path) -> None:
    recorded = json.loads(golden.read_text("utf-8"))
    of_digest: dict[str, NDArray[np.float32]] = {}
    nested = [folder["tensors"].items() for folder in recorded.get("folders", {}).values()]
    for name, (dtype, shape) in chain(recorded["tensors"].items(), *nested):
        if dtype in ("F32", "F16", "BF16"):
            values = widened(name, dtype, shape)
            of_digest[digest(values.tobytes())] = values
    unchanged = 0
    for _, shape, types, digests in recorded["expected"]["tensors"]:
        assert len(types.split()) == len(OUT_TYPES)
        assert set(types.split()) == set(digests)
        if not isinstance(digests.get("F32"), list) and digests.get("F32") in of_digest:
            unchanged += 1
            rows = of_digest[digests["F32"]].reshape(shape)
            made = {kind: digest(quantize(rows, GGMLQuantizationType[kind]).tobytes()) for kind in digests}
            assert made == digests
    assert unchanged > len(recorded["expected"]["tensors"]) // 2


def test_there_are_goldens() -> None:
    assert GOLDENS
