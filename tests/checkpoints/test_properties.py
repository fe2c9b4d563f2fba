"""Round trips and mutations of safetensors files that hypothesis makes up."""

from __future__ import annotations

import contextlib
import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from safetensors.numpy import save

from qconv import checkpoints
from qconv.errors import QconvError
from tests.checkpoints import packing as p

ONE_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)

names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30).filter(lambda name: name != "__metadata__")
dtypes = st.sampled_from(["<f4", "<f2", "<f8", "<i8", "<i4", "<u1", "|b1"])
tensors = st.dictionaries(
    names,
    dtypes.flatmap(lambda d: arrays.arrays(d, arrays.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=5))),
    max_size=6,
)


@ONE_FOLDER
@given(tensors=tensors, data=st.data())
def test_what_the_library_saves_is_read_back(tmp_path: Path, tensors: Any, data: Any) -> None:
    (tmp_path / "model.safetensors").write_bytes(save(tensors))
    with checkpoints.open(tmp_path / "model.safetensors") as opened:
        assert list(opened.tensors) == sorted(tensors)
        for name, array in tensors.items():
            info = opened.tensors[name]
            assert info.shape == array.shape
            rows = array.reshape(info.rows, info.columns).view(np.uint8 if array.dtype == bool else array.dtype)
            start = data.draw(st.integers(0, info.rows))
            stop = data.draw(st.integers(start, info.rows))
            read = opened.read(name, start, stop)
            assert read.dtype == rows.dtype
            assert read.tobytes() == rows[start:stop].tobytes()


VALID = p.tensors({"w": p.numbers(2, 8), "bias": p.numbers(8), "half": p.numbers(4).astype(np.float16)})
edit = st.tuples(
    st.sampled_from(["set", "cut", "insert", "digit"]), st.integers(0, len(VALID) - 1), st.binary(max_size=9)
)


def mutated(edits: list[tuple[str, int, bytes]]) -> bytes:
    data = bytearray(VALID)
    for what, at, new in edits:
        if what == "set":
            data[at : at + len(new)] = new
        elif what == "cut":
            del data[at : at + len(new)]
        elif what == "insert":
            data[at:at] = new
        else:  # another number somewhere in the header
            digits = [i for i, byte in enumerate(data) if 48 <= byte <= 57]
            if digits:
                data[random.Random(new).choice(digits)] = 48 + at % 10
    if edits and edits[0][2][:1] < b"\x80" and len(data) > 8:  # half of them with a length that is right
        end = data.rfind(b"}") + 1
        data[:8] = struct.pack("<Q", max(end - 8, 0))
    return bytes(data)


@settings(ONE_FOLDER, max_examples=400)
@given(edits=st.lists(edit, min_size=1, max_size=5))
def test_mutated_files_are_read_or_refused(tmp_path: Path, edits: list[tuple[str, int, bytes]]) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(mutated(edits))
    with contextlib.suppress(QconvError), checkpoints.open(path) as opened:
        for name, info in opened.tensors.items():
            assert opened.read(name, 0, info.rows).nbytes <= path.stat().st_size
