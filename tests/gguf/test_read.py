import errno
import os
import struct
from pathlib import Path

import numpy as np
import pytest

from qconv import gguf
from qconv.errors import FormatError, InputError
from qconv.types import TensorInfo, Value, ValueType
from tests.gguf import packing as p


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("version", [2, 3])
def test_every_value_type(tmp_path: Path, order: str, version: int) -> None:
    def pack(code: str, *values: float) -> bytes:
        return struct.pack(order + code, *values)

    texts = b"".join(p.text(s, order) for s in ("x", "", "yz"))
    keys = [
        p.key("a.u8", p.U8, b"\xff", order),
        p.key("a.i8", p.I8, b"\xff", order),
        p.key("a.u16", p.U16, pack("H", 65535), order),
        p.key("a.i16", p.I16, pack("h", -2), order),
        p.key("a.u32", p.U32, pack("I", 2**32 - 1), order),
        p.key("a.i32", p.I32, pack("i", -3), order),
        p.key("a.f32", p.F32_VALUE, pack("f", 0.1), order),
        p.key("a.bool", p.BOOL, b"\x02", order),
        p.key("a.text", p.STRING, p.text("héllo", order), order),
        p.key("a.u64", p.U64, pack("Q", 2**64 - 1), order),
        p.key("a.i64", p.I64, pack("q", -(2**63)), order),
        p.key("a.f64", p.F64_VALUE, pack("d", 0.1), order),
        p.key("l.i32", p.ARRAY, p.array(p.I32, 3, pack("3i", 1, -2, 3), order), order),
        p.key("l.bool", p.ARRAY, p.array(p.BOOL, 2, b"\0\1", order), order),
        p.key("l.text", p.ARRAY, p.array(p.STRING, 3, texts, order), order),
        p.key("l.none", p.ARRAY, p.array(p.F32_VALUE, 0, b"", order), order),
    ]
    path = tmp_path / "x.gguf"
    path.write_bytes(p.file(keys, order=order, version=version))
    read = gguf.read(path)
    assert (read.version, read.byte_order, read.alignment) == (version, "little" if order == "<" else "big", 32)
    values = {name: value.data for name, value in read.metadata.items()}
    scalars = {name: data for name, data in values.items() if name.startswith("a.")}
    assert scalars == {
        "a.u8": 255,
        "a.i8": -1,
        "a.u16": 65535,
        "a.i16": -2,
        "a.u32": 2**32 - 1,
        "a.i32": -3,
        "a.f32": float(np.float32(0.1)),
        "a.bool": True,
        "a.text": "héllo",
        "a.u64": 2**64 - 1,
        "a.i64": -(2**63),
        "a.f64": 0.1,
    }
    assert values["l.i32"].dtype == np.int32
    assert values["l.i32"].tolist() == [1, -2, 3]
    assert values["l.bool"].tolist() == [False, True]
    assert values["l.text"] == [b"x", b"", b"yz"]
    assert values["l.text"].text() == ["x", "", "yz"]
    assert values["l.text"][-1] == b"yz"
    assert values["l.text"][1:] == [b"", b"yz"]
    assert len(values["l.none"]) == 0
    assert read.metadata["l.text"].element is ValueType.STRING


def test_tensors_are_row_major_and_placed(tmp_path: Path) -> None:
    records = [p.tensor("w", [64, 3, 2], p.Q8_0, 0), p.tensor("b", [5], p.F32, 416), p.tensor("s", [], p.F32, 448)]
    path = tmp_path / "x.gguf"
    data = p.file([], records, bytes(452))
    path.write_bytes(data)
    read = gguf.read(path)
    start = len(data) - 452
    assert read.data_offset == start
    assert read.tensors == {
        "w": gguf.Tensor(TensorInfo("w", "Q8_0", (2, 3, 64)), start, 2 * 3 * 2 * 34),
        "b": gguf.Tensor(TensorInfo("b", "F32", (5,)), start + 416, 20),
        "s": gguf.Tensor(TensorInfo("s", "F32", ()), start + 448, 4),
    }


def test_alignment_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    keys = [p.key("general.alignment", p.U32, struct.pack("<I", 128))]
    path.write_bytes(p.file(keys, [p.tensor("b", [1], p.F32, 128)], bytes(132), alignment=128))
    read = gguf.read(path)
    assert (read.alignment, read.tensors["b"].offset) == (128, 256)


def test_zero_sized_tensors_and_missing_padding_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    records = [p.tensor("none", [32, 0], p.F32, 0), p.tensor("b", [3], p.F32, 0)]
    path.write_bytes(p.file([], records, bytes(12)))
    assert [t.size for t in gguf.read(path).tensors.values()] == [0, 12]


def test_bytes_that_are_no_text_come_back(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    data = p.file([p.key("a", p.STRING, p.text(b"\xff\x00\x80"))], [p.tensor(b"\xfe", [32], p.F32, 0)], bytes(128))
    path.write_bytes(data)
    read = gguf.read(path)
    assert gguf.header(read.metadata, [t.info for t in read.tensors.values()]).header == data[: read.data_offset]


def test_a_quarter_of_a_million_tokens(tmp_path: Path) -> None:
    tokens = b"".join(p.text(f"token{i}") for i in range(262_144))
    path = tmp_path / "x.gguf"
    path.write_bytes(p.file([p.key("tokenizer.ggml.tokens", p.ARRAY, p.array(p.STRING, 262_144, tokens))]))
    read = gguf.read(path)
    assert read.metadata["tokenizer.ggml.tokens"].data[262_143] == b"token262143"
    texts = read.metadata["tokenizer.ggml.tokens"].data.text()
    as_list = {"tokenizer.ggml.tokens": Value.array(ValueType.STRING, texts)}
    assert gguf.header(as_list, []).header == gguf.header(read.metadata, []).header


def test_messages_name_file_and_tensor(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(p.file([], [p.tensor("blk.0.\x1b[31m", [32], 99, 0)], bytes(128)))
    with pytest.raises(FormatError) as caught:
        gguf.read(path)
    assert str(caught.value).startswith(f"{path}, tensor 'blk.0.\\x1b[31m', byte 24: has an unknown type, 99")


@pytest.mark.parametrize("cut", [0, 3, 4, 8, 23, 24, 30, 45, 60, 95, 100, 160])
def test_truncation_is_told(tmp_path: Path, cut: int) -> None:
    keys = [p.key("a.text", p.STRING, p.text("some text"))]
    data = p.file(keys, [p.tensor("b", [32], p.F32, 0)], bytes(128))
    path = tmp_path / "x.gguf"
    path.write_bytes(data[:cut])
    with pytest.raises(FormatError):
        gguf.read(path)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=os.strerror(errno.ENOENT)):
        gguf.read(tmp_path / "x.gguf")


def test_a_named_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.gguf")
    with pytest.raises(InputError, match="is not a regular file"):
        gguf.read(tmp_path / "pipe.gguf")
