"""What qconv makes of the tiny checkpoint of a golden file, in memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from gguf import GGMLQuantizationType, quantize
from numpy.typing import NDArray

from qconv import architectures, checkpoints, policy
from tests.architectures.tiny import write

GOLDENS = sorted((Path(__file__).parent / "goldens").glob("*.json"))


class Made(NamedTuple):
    """A tensor of the file: its name, its type there, its shape, the bytes of its rows."""

    name: str
    stored: str
    shape: tuple[int, ...]
    data: bytes


@contextmanager
def converted(golden: Path, directory: Path) -> Iterator[tuple[dict[str, Any], architectures.Resolved, list[Made]]]:
    """What is recorded, and what of the same checkpoint, written to ``directory``, becomes here."""
    recorded = json.loads(golden.read_text("utf-8"))
    expected = recorded["expected"]
    write(directory, recorded["config"], recorded["tensors"])
    types = {kind for _, kind, _, _ in expected["tensors"]}
    by_tensors = 32 if "BF16" in types else 1 if "F16" in types else 0  # for converters that write no file type
    file_type = expected["metadata"].get("general.file_type", [0, by_tensors])[1]
    float_type = {0: "F32", 1: "F16", 32: "BF16"}.get(file_type, "BF16")
    with checkpoints.open(directory) as checkpoint:
        model = architectures.resolve(checkpoint, recorded.get("target"), recorded.get("mtp", "keep"))
        yield recorded, model, [_made(output, float_type) for output in model.tensors]


def _made(output: architectures.MappedTensor, float_type: str) -> Made:
    tensor = output.tensor
    rows = tensor.read(0, int(np.prod(tensor.shape[:-1])))
    stored = tensor.dtype
    if tensor.dtype in ("F32", "F16", "BF16"):
        stored = policy.converter.intermediate_type(output.name, tensor.shape, float_type, output.store)
        to_q8_0 = stored == "Q8_0"
        rows = quantize(rows, GGMLQuantizationType.Q8_0) if to_q8_0 else _rounded(rows, tensor.dtype, stored)
    return Made(output.name, stored, tuple(tensor.shape), np.ascontiguousarray(rows).tobytes())


def _rounded(rows: NDArray[Any], dtype: str, stored: str) -> NDArray[Any]:
    """Rows of one plain type in another, to nearest, ties to even."""
    if dtype == stored:
        return rows
    wide = (rows.astype("<u4") << 16).view("<f4") if dtype == "BF16" else rows.astype("<f4")
    if stored != "BF16":
        return wide.astype({"F32": "<f4", "F16": "<f2"}[stored])
    bits: NDArray[np.uint32] = wide.view("<u4")
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
