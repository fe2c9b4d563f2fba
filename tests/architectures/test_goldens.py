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

from qconv.types import Value, ValueType
from tests.architectures.converted import GOLDENS, converted

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


def test_there_are_goldens() -> None:
    assert len(GOLDENS) >= 5


@pytest.mark.parametrize("golden", GOLDENS, ids=lambda path: path.stem)
def test_equals_llama_cpp(golden: Path, tmp_path: Path) -> None:
    with converted(golden, tmp_path) as (recorded, model, tensors):
        expected = recorded["expected"]
        assert model.architecture == expected["architecture"]
        assert {k: plain(v) for k, v in model.metadata.items()} == expected["metadata"]
        assert list(model.metadata) == list(expected["metadata"])
        made = [[t.name, t.stored, list(t.shape), hashlib.sha256(t.data).hexdigest()] for t in tensors]
    assert made == expected["tensors"]
