"""Every golden file: what llama.cpp's converter made of a tiny checkpoint, qconv makes too, to the byte.

Recorded by ``scripts/record_architectures.py``.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType, quantize
from numpy.typing import NDArray

from qconv import architectures, checkpoints, policy
from qconv.types import Value, ValueType
from tests.architectures.tiny import write

GOLDENS = sorted((Path(__file__).parent / "goldens").glob("*.json"))
LONG = 40


def plain(value: Value, long: int = LONG) -> list[Any]:
    """A metadata value as golden files have it: arrays of more than ``long`` elements as their hash."""
    if value.element is None:
        number = value.type is ValueType.FLOAT32
        return [value.type.name, float(np.float32(value.data)) if number else value.data]
    is_float = value.element is ValueType.FLOAT32
    data = [float(np.float32(v)) if is_float else v for v in np.asarray(value.data).tolist()]
    if len(data) > long:
        return [
            f"ARRAY:{value.element.name}",
            {"length": len(data), "sha256": hashlib.sha256(json.dumps(data).encode()).hexdigest()},
        ]
    return [f"ARRAY:{value.element.name}", data]


def rounded(rows: NDArray[Any], dtype: str, stored: str) -> NDArray[Any]:
    """Rows of one plain type in another, to nearest, ties to even."""
    if dtype == stored:
        return rows
    wide = (rows.astype("<u4") << 16).view("<f4") if dtype == "BF16" else rows.astype("<f4")
    if stored != "BF16":
        return wide.astype({"F32": "<f4", "F16": "<f2"}[stored])
    bits: NDArray[np.uint32] = wide.view("<u4")
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def test_there_are_goldens() -> None:
    assert len(GOLDENS) >= 5


@pytest.mark.parametrize("golden", GOLDENS, ids=lambda path: path.stem)
def test_equals_llama_cpp(golden: Path, tmp_path: Path) -> None:
    recorded = json.loads(golden.read_text("utf-8"))
    expected = recorded["expected"]
    write(tmp_path, recorded["config"], recorded["tensors"])
    with checkpoints.open(tmp_path) as checkpoint:
        model = architectures.resolve(checkpoint, recorded.get("target"), recorded.get("mtp", "keep"))
        assert model.architecture == expected["architecture"]
        assert {k: plain(v) for k, v in model.metadata.items()} == expected["metadata"]
        assert list(model.metadata) == list(expected["metadata"])
        types = {kind for _, kind, _, _ in expected["tensors"]}
        by_tensors = 32 if "BF16" in types else 1 if "F16" in types else 0  # for converters that write no file type
        file_type = expected["metadata"].get("general.file_type", [0, by_tensors])[1]
        float_type = {0: "F32", 1: "F16", 32: "BF16"}.get(file_type, "BF16")
        made = []
        for output in model.tensors:
            tensor = output.tensor
            rows = tensor.read(0, int(np.prod(tensor.shape[:-1])))
            stored = tensor.dtype
            if tensor.dtype in ("F32", "F16", "BF16"):
                stored = policy.converter.intermediate_type(output.name, tensor.shape, float_type, output.store)
                rows = (
                    rounded(rows, tensor.dtype, stored)
                    if stored != "Q8_0"
                    else quantize(rows, GGMLQuantizationType.Q8_0)
                )
            digest = hashlib.sha256(np.ascontiguousarray(rows).tobytes()).hexdigest()
            made.append([output.name, stored, list(tensor.shape), digest])
    assert made == expected["tensors"]
