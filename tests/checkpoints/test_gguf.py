from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import gguf as reference
import numpy as np
import pytest

from qconv import checkpoints
from qconv.errors import FormatError, UnsupportedError
from qconv.types import Value
from tests.checkpoints import packing as p
from tests.gguf import packing

W = p.numbers(6, 64)


def _write(path: Path, split_max_tensors: int = 0) -> Any:
    writer = reference.GGUFWriter(path, "llama", split_max_tensors=split_max_tensors)
    writer.add_block_count(2)
    writer.add_tensor("f32", W)
    writer.add_tensor("f16", W.astype(np.float16))
    bits = (W.view(np.uint32) >> 16).astype(np.uint16)
    writer.add_tensor("bf16", bits.view(np.uint8), raw_dtype=reference.GGMLQuantizationType.BF16)
    q8 = reference.quantize(W, reference.GGMLQuantizationType.Q8_0)
    writer.add_tensor("q8", q8, raw_dtype=reference.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return bits, q8


@pytest.mark.parametrize("shards", [False, True])
def test_rows_as_stored(tmp_path: Path, shards: int) -> None:
    bits, q8 = _write(tmp_path / "m.gguf", split_max_tensors=3 if shards else 0)
    path = tmp_path / ("m-00002-of-00002.gguf" if shards else "m.gguf")
    with checkpoints.open(path) as opened:
        assert opened.kind == "gguf"
        assert opened.metadata == {"general.architecture": Value.string("llama"), "llama.block_count": Value.uint32(2)}
        assert len(opened.files) == (2 if shards else 1)
        assert {name: t.dtype for name, t in opened.tensors.items()} == {
            "f32": "F32",
            "f16": "F16",
            "bf16": "BF16",
            "q8": "Q8_0",
        }
        assert opened.tensors["q8"].shape == (6, 64)
        np.testing.assert_array_equal(opened.read("f32", 1, 6), W[1:])
        np.testing.assert_array_equal(opened.read("f16", 0, 6), W.astype(np.float16))
        np.testing.assert_array_equal(opened.read("bf16", 0, 6), bits)
        np.testing.assert_array_equal(opened.read("q8", 2, 4), q8[2:4])


def test_any_name_will_do(tmp_path: Path) -> None:
    _write(tmp_path / "m.gguf")
    (tmp_path / "m.gguf").rename(tmp_path / "blob")
    with checkpoints.open(tmp_path / "blob") as opened:
        assert opened.kind == "gguf"


def test_a_big_endian_file_is_turned_around(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    values = np.arange(8, dtype=np.float32)
    record = packing.tensor("a", [4, 2], packing.F32, 0, ">")
    path.write_bytes(packing.file([], [record], values.astype(">f4").tobytes(), order=">"))
    with checkpoints.open(path) as opened:
        rows = opened.read("a", 0, 2)
        assert rows.dtype == np.float32
        np.testing.assert_array_equal(rows.ravel(), values)


def test_blocks_of_a_big_endian_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(packing.file([], [packing.tensor("a", [32], packing.Q8_0, 0, ">")], bytes(64), order=">"))
    with pytest.raises(UnsupportedError, match=r"tensor 'a': is Q8_0 in a big-endian file"):
        checkpoints.open(path)


def test_a_partial_download_says_so(tmp_path: Path) -> None:
    _write(tmp_path / "m.gguf")
    data = (tmp_path / "m.gguf").read_bytes()
    (tmp_path / "m.gguf").write_bytes(data[: len(data) // 2])
    with pytest.raises(FormatError, match=r"needs \d+ bytes, but the file has \d+ \(it may be a partial download"):
        checkpoints.open(tmp_path / "m.gguf")


def test_a_key_that_is_no_number_of_shards(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(packing.file([packing.key("split.count", packing.F32_VALUE, struct.pack("<f", 3))]))
    with checkpoints.open(path) as opened:
        assert [file.location for file in opened.files] == [str(path)]
