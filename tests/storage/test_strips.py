"""Matrices stored turned, and too large to be held: over a line, too, each byte is fetched about once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
import pytest

import qconv
from qconv.errors import QconvError
from qconv.storage import read_ahead
from qconv.tensors import StoredTensor, TensorLocation, shapes, strips, transpose
from qconv.types import TensorInfo
from tests.checkpoints import packing
from tests.storage.hub_server import HubServer

INPUTS, OUTPUTS = 2048, 8192
NAME = "acme/Packed"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """What is held, a strip and a window are small beside a matrix; returns the place of temporary files."""
    monkeypatch.setattr(shapes, "_HELD", 1 << 20)
    monkeypatch.setattr(strips, "SIZE", 1 << 18)
    monkeypatch.setattr(strips, "_MOST", 1 << 20)
    monkeypatch.setattr(read_ahead, "_LARGEST", 1 << 18)
    monkeypatch.setattr(read_ahead, "_SMALLEST", 1 << 18)
    monkeypatch.setattr(read_ahead, "_PATIENCE", 30.0)  # as in test_hub
    place = tmp_path / "cache"
    monkeypatch.setattr(platformdirs, "user_cache_path", lambda _: place)
    return place


def packed(method: str) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    shape = (INPUTS, OUTPUTS // 8) if method == "awq" else (INPUTS // 8, OUTPUTS)
    return {
        "a.qweight": rng.integers(0, 1 << 31, shape, np.int32),
        "a.qzeros": rng.integers(0, 1 << 31, (INPUTS // 128, OUTPUTS // 8), np.int32),
        "a.scales": rng.random((INPUTS // 128, OUTPUTS)).astype(np.float16),
    }


@pytest.mark.parametrize("method", ["awq", "gptq"])
def test_packed_matrices_are_fetched_once(hub: HubServer, tmp_path: Path, small: Path, method: str) -> None:
    file = packing.save(tmp_path / "m" / "model.safetensors", packed(method))
    hub.add(NAME, file.parent)
    (there,) = qconv.convert(file, "q8_0", output=tmp_path / "there.gguf")
    (made,) = qconv.convert(f"hf://{NAME}/model.safetensors", "q8_0", output=tmp_path / "made.gguf")
    assert made.read_bytes() == there.read_bytes()
    assert hub.sent["store"] <= 1.03 * file.stat().st_size
    assert list(small.iterdir()) == []


class Line:
    """A file that comes over a line, as far as tensors can tell."""

    name = "line"

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.sent = 0

    def read_into(self, view: memoryview, offset: int) -> None:
        view[:] = self.data[offset : offset + len(view)]
        self.sent += len(view)

    def fetch(self) -> None: ...


def experts(count: int) -> tuple[Any, Line]:
    """Stacked matrices, each larger than a strip."""
    values = np.random.default_rng(2).integers(0, 1 << 16, (count, 512, 768), np.uint16)
    line = Line(values.tobytes())
    location = TensorLocation(TensorInfo("experts", "BF16", values.shape), 0)
    return transpose(StoredTensor(location, line)), line  # type: ignore[arg-type]  # a stand-in


def test_stacked_matrices_are_fetched_once(small: Path) -> None:
    turned, line = experts(4)
    values = np.frombuffer(line.data, np.uint16).reshape(4, 512, 768)
    ready = turned.prepare()
    rows = [ready.read(at, at + 100) for at in range(0, 3072 - 100, 100)]
    rows.append(ready.read(3000, 3072))
    np.testing.assert_array_equal(np.concatenate(rows), values.swapaxes(1, 2).reshape(3072, 512))
    assert line.sent == len(line.data)


def test_a_disk_that_takes_nothing_is_told(small: Path) -> None:
    small.write_text("no folder")
    turned, _ = experts(1)
    with pytest.raises(QconvError, match=r"experts.*: a temporary file for it cannot be written in .*cache"):
        turned.prepare().read(0, 100)
