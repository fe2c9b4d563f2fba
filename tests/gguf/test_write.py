import math
import struct
from pathlib import Path

import gguf as reference
import numpy as np
import pytest
from numpy.typing import NDArray

from qconv import gguf
from qconv.errors import UsageError
from qconv.types import TensorInfo, Value, ValueType
from tests.gguf import packing as p


def test_header_bytes_by_hand() -> None:
    metadata = {
        "general.architecture": Value.string("llama"),
        "x.count": Value.uint32(7),
        "x.ids": Value.array(ValueType.INT32, [1, -1]),
        "x.names": Value.array(ValueType.STRING, ["é", b"\xff"]),
        "x.flag": Value.boolean(True),
    }
    tensors = [TensorInfo("w", "Q4_K", (3, 256)), TensorInfo("b", "F32", (3,)), TensorInfo("s", "F32", ())]
    layout = gguf.header(metadata, tensors)
    keys = [
        p.key("general.architecture", p.STRING, p.text("llama")),
        p.key("x.count", p.U32, struct.pack("<I", 7)),
        p.key("x.ids", p.ARRAY, p.array(p.I32, 2, struct.pack("<2i", 1, -1))),
        p.key("x.names", p.ARRAY, p.array(p.STRING, 2, p.text("é") + p.text(b"\xff"))),
        p.key("x.flag", p.BOOL, b"\1"),
    ]
    records = [p.tensor("w", [256, 3], p.Q4_K, 0), p.tensor("b", [3], p.F32, 448), p.tensor("s", [], p.F32, 480)]
    assert layout.header == p.file(keys, records)
    assert layout.data_offset == len(layout.header)
    assert layout.tensors["w"] == gguf.Tensor(tensors[0], layout.data_offset, 3 * 144)
    assert layout.tensors["s"].offset == layout.data_offset + 480
    assert layout.size == layout.data_offset + 512


@pytest.mark.parametrize("texts", [[], [""], ["", "é", "b" * 255, "c" * 256, "", "d" * 70_000], ["x" * 300, b"y"]])
def test_arrays_of_strings_by_hand(texts: list[str | bytes]) -> None:
    keys = {"k": Value.array(ValueType.STRING, texts)}
    wanted = p.file([p.key("k", p.ARRAY, p.array(p.STRING, len(texts), b"".join(map(p.text, texts))))], [])
    assert gguf.header(keys, []).header == wanted
    packed = gguf.packed(keys)
    assert isinstance(packed["k"].data, gguf.Strings)
    assert gguf.header(packed, []).header == wanted


def test_alignment_key_moves_everything() -> None:
    metadata = {"general.alignment": Value.uint32(256)}
    layout = gguf.header(metadata, [TensorInfo("a", "F32", (1,)), TensorInfo("b", "F32", (1,))])
    assert (layout.alignment, layout.data_offset % 256, layout.size) == (256, 0, layout.data_offset + 512)
    assert layout.tensors["b"].offset == layout.data_offset + 256


def test_same_bytes_as_the_gguf_package(tmp_path: Path) -> None:
    """The whole file against llama.cpp's Python writer."""
    writer = reference.GGUFWriter(tmp_path / "theirs.gguf", "llama")
    writer.add_uint32("llama.block_count", 2)
    writer.add_float32("llama.eps", 1e-5)
    writer.add_array("tokens", ["a", "bb", "ü" * 300])
    writer.add_array("scores", [0.5, -1.25])
    writer.add_bool("flag", False)
    writer.add_uint64("big", 2**40)
    rng = np.random.default_rng(1)
    arrays: dict[str, NDArray[np.generic]] = {
        "one": rng.standard_normal((3, 40)).astype(np.float32),
        "two": rng.standard_normal((2, 5, 7)).astype(np.float16),
        "three": rng.integers(0, 255, (4, 34), np.uint8),
    }
    writer.add_tensor("one", arrays["one"])
    writer.add_tensor("two", arrays["two"])
    writer.add_tensor("three", arrays["three"], raw_dtype=reference.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()

    metadata = {
        "general.architecture": Value.string("llama"),
        "llama.block_count": Value.uint32(2),
        "llama.eps": Value.float32(1e-5),
        "tokens": Value.array(ValueType.STRING, ["a", "bb", "ü" * 300]),
        "scores": Value.array(ValueType.FLOAT32, [0.5, -1.25]),
        "flag": Value.boolean(False),
        "big": Value(ValueType.UINT64, 2**40),
    }
    shapes = {"one": ("F32", (3, 40)), "two": ("F16", (2, 5, 7)), "three": ("Q8_0", (4, 32))}
    tensors = [TensorInfo(name, *kind) for name, kind in shapes.items()]
    layout = gguf.header(metadata, tensors)
    ours = bytearray(layout.size)
    ours[: layout.data_offset] = layout.header
    for name, array in arrays.items():
        place = layout.tensors[name]
        assert place.size == array.nbytes
        ours[place.offset : place.offset + place.size] = array.tobytes()
    assert ours == (tmp_path / "theirs.gguf").read_bytes()


@pytest.mark.parametrize(
    ("tensors", "complaint"),
    [
        ([TensorInfo("a", "U8", (4,))], "GGUF has no type U8"),
        ([TensorInfo("a", "F32", (1, 1, 1, 1, 1))], "5 dimensions"),
        ([TensorInfo("a", "Q4_K", (2, 255))], "not a multiple of Q4_K's 256"),
        ([TensorInfo("a", "F32", (1,)), TensorInfo("a", "F32", (1,))], "twice"),
        ([TensorInfo("a" * 5000, "F32", (1,))], "4096 bytes"),
    ],
)
def test_impossible_tensors_are_refused(tensors: list[TensorInfo], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        gguf.header({}, tensors)


@pytest.mark.parametrize(
    "value",
    [
        Value.uint32(-1),
        Value.uint32(2**32),
        Value(ValueType.UINT8, 1.5),
        Value.float32(1e40),
        Value.array(ValueType.INT32, [2**31]),
        Value.array(ValueType.STRING, [1]),
        Value(ValueType.ARRAY, [1]),
        Value.array(ValueType.ARRAY, [[1]]),
        Value(ValueType.UINT64, 2**64),
        Value(ValueType.INT16, "1"),
    ],
)
def test_values_out_of_range_are_refused(value: Value) -> None:
    with pytest.raises(UsageError, match="key"):
        gguf.header({"key": value}, [])


@pytest.mark.parametrize(
    "alignment", [Value.uint32(0), Value.uint32(48), Value.uint32(1 << 21), Value(ValueType.UINT64, 32)]
)
def test_unusable_alignments_are_refused(alignment: Value) -> None:
    with pytest.raises(UsageError, match="alignment"):
        gguf.header({"general.alignment": alignment}, [])


def test_infinite_and_missing_numbers_are_kept() -> None:
    layout = gguf.header({"a": Value.array(ValueType.FLOAT32, [math.inf, -math.inf, math.nan])}, [])
    assert struct.pack("<3f", math.inf, -math.inf, math.nan) in layout.header
