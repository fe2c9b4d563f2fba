"""What is told to be read is what is read: byte for byte over whole tensors, whatever they are made of."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from qconv.storage import FileIdentity
from qconv.tensors import (
    LazyTensor,
    StoredTensor,
    TensorLocation,
    combinations,
    n_rows,
    operations,
    stored_files,
    stored_ranges,
)
from qconv.types import TensorInfo

ROW = 64 * 4


@dataclass(eq=False)
class Recorder:
    """A ``StoredFile`` of zeros that keeps which bytes are read."""

    name: str = "model.safetensors"
    location: str = "model.safetensors"
    size: int = 1 << 30
    sha256: str | None = None
    bytes_read: set[int] = field(default_factory=set)

    def identity(self) -> FileIdentity:
        return FileIdentity(self.location, self.size, "1")

    def read(self, size: int, offset: int) -> bytes:
        raise AssertionError("tensors read into buffers")

    def read_into(self, view: memoryview, offset: int) -> None:
        self.bytes_read.update(range(offset // ROW, -(-(offset + len(view)) // ROW)))
        view[:] = bytes(len(view))

    def prefetch(self, size: int) -> None:
        pass

    def close(self) -> None:
        pass


def stored(file: Recorder, name: str, offset: int, *shape: int) -> StoredTensor:
    return StoredTensor(TensorLocation(TensorInfo(name, "F32", shape), offset * ROW), file)


def tensors(file: Recorder) -> dict[str, LazyTensor]:
    one = stored(file, "one", 0, 96, 64)
    stack = stored(file, "stack", 1000, 6, 8, 64)
    many = [stored(file, f"expert.{n}", 5000 + 100 * n, 8, 64) for n in range(4)]
    return {
        "stored": one,
        "permute_rope": operations()["permute_rope"](one, 4),
        "swap_groups": operations()["swap_groups"](one, 2, 4),
        "half": operations()["half"](stack, 1),
        "every_other": operations()["every_other"](stack, 0),
        "first_rows": operations()["first_rows"](one, 10),
        "pad_rows": operations()["pad_rows"](one, 128),
        "exp": operations()["negative_exp"](one),
        "transpose": operations()["transpose"](one),
        "stack": combinations()["stack"](many),
    }


@pytest.mark.parametrize("name", list(tensors(Recorder())))
@pytest.mark.parametrize("step", [1000, 24])
def test_told_is_read(name: str, step: int) -> None:
    file = Recorder()
    tensor = tensors(file)[name]
    assert set(stored_files(tensor)) == {file}
    told: set[int] = set()
    for start in range(0, n_rows(tensor), step):
        stop = min(n_rows(tensor), start + step)
        tensor.read(start, stop, np.empty((stop - start) * 4 * tensor.shape[-1], np.uint8))
        for r in stored_ranges(tensor, start, stop):
            assert r.file is file
            told.update(range(r.offset // ROW, -(-(r.offset + r.size) // ROW)))
    assert told == file.bytes_read


def test_a_prepared_transpose_reads_its_source_once() -> None:
    """And holds it, as it says, so that no strip is fetched again."""
    file = Recorder()
    tensor = operations()["transpose"](stored(file, "one", 0, 96, 64))
    prepared = tensor.prepare()
    assert file.bytes_read == set(range(96))
    assert (tensor.resident_bytes, prepared.resident_bytes) == (96 * ROW, 96 * ROW)
    file.bytes_read.clear()
    assert prepared.read(3, 5).shape == (2, 96)
    assert not file.bytes_read
