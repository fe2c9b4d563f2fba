"""Round trips and mutations of GGUF files that hypothesis makes up."""

import contextlib
import random
import struct
from pathlib import Path
from typing import TypeAlias

import gguf as reference
import numpy as np
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from qconv import gguf
from qconv.errors import QconvError
from qconv.types import Metadata, TensorInfo, Value, ValueType
from tests.gguf import packing as p

ONE_FOLDER = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)

integers = {
    ValueType.UINT8: (0, 2**8 - 1),
    ValueType.INT8: (-(2**7), 2**7 - 1),
    ValueType.UINT16: (0, 2**16 - 1),
    ValueType.INT16: (-(2**15), 2**15 - 1),
    ValueType.UINT32: (0, 2**32 - 1),
    ValueType.INT32: (-(2**31), 2**31 - 1),
    ValueType.UINT64: (0, 2**64 - 1),
    ValueType.INT64: (-(2**63), 2**63 - 1),
}
texts = st.text(st.characters(codec="utf-8"), max_size=40)
scalars: dict[ValueType, SearchStrategy[float] | SearchStrategy[str]] = {
    **{kind: st.integers(*bounds) for kind, bounds in integers.items()},
    ValueType.FLOAT32: st.floats(width=32, allow_nan=False),
    ValueType.FLOAT64: st.floats(allow_nan=False),
    ValueType.BOOL: st.booleans(),
    ValueType.STRING: texts,
}


def _values(kind: ValueType) -> SearchStrategy[Value]:
    single = scalars[kind].map(lambda data: Value(kind, data))
    many = st.lists(scalars[kind], min_size=1, max_size=9).map(lambda data: Value.array(kind, data))
    return single | many


metadata = st.dictionaries(
    texts.filter(lambda k: k and not k.startswith("general.alignment")),
    st.sampled_from(list(scalars)).flatmap(_values),
    max_size=8,
)
shapes = st.lists(st.integers(1, 6), max_size=3).flatmap(
    lambda lead: st.sampled_from(
        [("F32", (*lead, 5)), ("F16", (*lead, 3)), ("BF16", (*lead, 8)), ("Q8_0", (*lead, 64)), ("Q4_K", (*lead, 256))]
    )
)
tensors = st.dictionaries(texts.filter(bool), shapes, max_size=6).map(
    lambda named: [TensorInfo(name, *kind) for name, kind in named.items()]
)


def _plain(value: Value) -> object:
    data = value.data
    if isinstance(data, gguf.Strings):
        return [item.decode() for item in data]
    return data.tolist() if isinstance(data, np.ndarray) else data


def _write(path: Path, metadata: Metadata, tensors: list[TensorInfo]) -> gguf.Layout:
    layout = gguf.header(metadata, tensors)
    path.write_bytes(layout.header + bytes(layout.size - layout.data_offset))
    return layout


@ONE_FOLDER
@given(metadata=metadata, tensors=tensors)
def test_what_is_written_is_read_back(tmp_path: Path, metadata: Metadata, tensors: list[TensorInfo]) -> None:
    layout = _write(tmp_path / "x.gguf", metadata, tensors)
    read = gguf.read(tmp_path / "x.gguf")
    assert read.tensors == layout.tensors
    assert list(read.metadata) == list(metadata)
    for key, value in metadata.items():
        again = read.metadata[key]
        assert (again.type, again.element, _plain(again)) == (value.type, value.element, value.data)


@ONE_FOLDER
@given(metadata=metadata, tensors=tensors)
def test_the_gguf_package_reads_the_same(tmp_path: Path, metadata: Metadata, tensors: list[TensorInfo]) -> None:
    # the package's reader takes these names for its own fields of the header
    metadata = {key: value for key, value in metadata.items() if not key.startswith("GGUF.")}
    layout = _write(tmp_path / "x.gguf", metadata, tensors)
    reader = reference.GGUFReader(tmp_path / "x.gguf")
    for key, value in metadata.items():
        field = reader.fields[key]
        assert field.types[0].value == value.type.value
        assert field.contents() == (value.data if value.type is not ValueType.ARRAY else list(value.data))
    assert [t.name for t in reader.tensors] == [t.name for t in tensors]
    for theirs, ours in zip(reader.tensors, tensors, strict=True):
        assert theirs.tensor_type.name == ours.dtype
        assert tuple(theirs.shape.tolist()) == ours.shape[::-1]
        place = layout.tensors[ours.name]
        assert (theirs.data_offset, theirs.n_bytes) == (place.offset, place.size)


def _valid_file() -> bytes:
    keys = [
        p.key("general.architecture", p.STRING, p.text("llama")),
        p.key("general.alignment", p.U32, struct.pack("<I", 32)),
        p.key("tokens", p.ARRAY, p.array(p.STRING, 3, p.text("a") + p.text("bb") + p.text("ccc"))),
        p.key("scores", p.ARRAY, p.array(p.F32_VALUE, 3, bytes(12))),
    ]
    records = [p.tensor("w", [256, 2], p.Q4_K, 0), p.tensor("b", [8], p.F32, 288)]
    return p.file(keys, records, bytes(320))


VALID = _valid_file()
Edit: TypeAlias = tuple[str, int, bytes]
edit = st.tuples(
    st.sampled_from(["set", "cut", "insert", "number"]), st.integers(0, len(VALID) - 1), st.binary(max_size=9)
)
edits = st.lists(edit, min_size=1, max_size=6)
HUGE = [0, 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1]


def mutated(edits: list[Edit]) -> bytes:
    """The valid file after some edits; "number" puts a boundary number where a length or count may stand."""
    data = bytearray(VALID)
    for what, at, new in edits:
        if what == "set":
            data[at : at + len(new)] = new
        elif what == "cut":
            del data[at : at + len(new)]
        elif what == "insert":
            data[at:at] = new
        else:
            data[at : at + 8] = struct.pack("<Q", random.Random(new).choice(HUGE))
    return bytes(data)


@settings(ONE_FOLDER, max_examples=400)
@given(edits=edits)
@example(edits=[("number", 8, b"")])
def test_mutated_files_are_read_or_refused(tmp_path: Path, edits: list[Edit]) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(mutated(edits))
    with contextlib.suppress(QconvError):
        read = gguf.read(path)
        for tensor in read.tensors.values():
            assert read.data_offset <= tensor.offset <= tensor.offset + tensor.size <= read.size
