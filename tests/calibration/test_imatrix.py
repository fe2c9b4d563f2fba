"""Importance matrices in both formats: what llama-quantize makes of them, and what is refused."""

from __future__ import annotations

import struct
from pathlib import Path

import gguf
import numpy as np
import pytest

from qconv.calibration import read_imatrix
from qconv.errors import FormatError, InputError, UsageError
from qconv.policy import Decision, select_importance
from qconv.types import Value

F32 = np.float32


def write_gguf(
    path: Path, tensors: dict[str, np.ndarray], *, keys: bool = True, datasets: tuple[str, ...] = ("wiki", "code")
) -> Path:
    writer = gguf.GGUFWriter(path, "")
    if keys:
        if datasets:
            writer.add_array("imatrix.datasets", datasets)
        else:
            writer.add_uint32("imatrix.datasets", 0)
        writer.add_uint32("imatrix.chunk_count", 7)
        writer.add_uint32("imatrix.chunk_size", 512)
    for name, values in tensors.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def entry(name: str, values: list[float], calls: int = 1) -> bytes:
    text = name.encode()
    return struct.pack("<i", len(text)) + text + struct.pack(f"<ii{len(values)}f", calls, len(values), *values)


def dat(path: Path, *entries: bytes, end: bytes = b"", count: int | None = None) -> Path:
    path.write_bytes(struct.pack("<i", len(entries) if count is None else count) + b"".join(entries) + end)
    return path


def one(name: str, sums: list[list[float]], counts: list[float]) -> dict[str, np.ndarray]:
    return {f"{name}.in_sum2": np.array(sums, F32), f"{name}.counts": np.array(counts, F32).reshape(-1, 1)}


def test_sums_are_divided_by_their_experts_count_and_unseen_experts_count_evenly(tmp_path: Path) -> None:
    path = write_gguf(
        tmp_path / "i.gguf", one("blk.0.ffn_up_exps.weight", [[1, 2, 3], [4, 5, 7], [8, 8, 8]], [3, 0, 2.4])
    )
    read = read_imatrix(path).entries["blk.0.ffn_up_exps.weight"]
    assert read.dtype == F32
    expected = [F32(1) / F32(3), F32(2) / F32(3), 1, 1, 1, 1, 4, 4, 4]
    np.testing.assert_array_equal(read, np.array(expected, F32))


def test_the_older_format_holds_sums_over_calls(tmp_path: Path) -> None:
    end = struct.pack("<ii", 9, 4) + b"wiki"
    path = dat(tmp_path / "i.dat", entry("a", [3, 1], 3), entry("b", [5, 6], 0), end=end)
    read = read_imatrix(path)
    np.testing.assert_array_equal(read.entries["a"], np.array([1, F32(1) / F32(3)], F32))
    np.testing.assert_array_equal(read.entries["b"], np.array([5, 6], F32))
    assert (read.dataset, read.chunks) == ("wiki", 9)


def test_a_data_set_named_in_other_bytes_than_utf_8_is_kept(tmp_path: Path) -> None:
    read = read_imatrix(dat(tmp_path / "i.dat", entry("a", [1]), end=struct.pack("<ii", 9, 4) + b"na\xefve"[:4]))
    assert read.metadata()["quantize.imatrix.dataset"].data.encode("utf-8", "surrogateescape") == b"na\xefv"


@pytest.mark.parametrize("end", [b"", b"\x05", struct.pack("<ii", 9, 400) + b"wiki"])
def test_the_older_formats_end_may_be_missing(tmp_path: Path, end: bytes) -> None:
    read = read_imatrix(dat(tmp_path / "i.dat", entry("a", [1]), end=end))
    assert read.dataset is None
    assert read.chunks == (end[0] if end else 0)


def test_keys_that_go_into_the_output(tmp_path: Path) -> None:
    path = write_gguf(tmp_path / ("é" * 70 + ".gguf"), one("a", [[1, 2]], [1]))
    read = read_imatrix(path).metadata()
    name = str(path).encode()[:127].decode("utf-8", "surrogateescape")
    assert list(read.items()) == [
        ("quantize.imatrix.file", Value.string(name)),
        ("quantize.imatrix.dataset", Value.string("wiki")),
        ("quantize.imatrix.entries_count", Value.uint32(1)),
        ("quantize.imatrix.chunks_count", Value.uint32(7)),
    ]
    assert read_imatrix(path, exclude=["a"]).metadata() == {}
    bare = read_imatrix(dat(tmp_path / "i.dat", entry("a", [1]))).metadata()
    assert list(bare) == ["quantize.imatrix.file", "quantize.imatrix.entries_count"]
    no_names = write_gguf(tmp_path / "n.gguf", one("a", [[1, 2]], [1]), datasets=())
    assert "quantize.imatrix.dataset" not in read_imatrix(no_names).metadata()


def test_include_and_exclude_match_parts_of_names(tmp_path: Path) -> None:
    path = dat(tmp_path / "i.dat", *(entry(name, [1]) for name in ("blk.0.attn_q", "blk.0.attn_k", "output")))
    assert set(read_imatrix(path, include=["attn", "out"]).entries) == {"blk.0.attn_q", "blk.0.attn_k", "output"}
    assert set(read_imatrix(path, include=["_q"]).entries) == {"blk.0.attn_q"}
    assert set(read_imatrix(path, exclude=["attn_", "nothing"]).entries) == {"output"}
    with pytest.raises(UsageError, match="cannot be used together"):
        read_imatrix(path, ["a"], ["b"])


def test_what_is_left_out_may_be_malformed(tmp_path: Path) -> None:
    path = dat(tmp_path / "i.dat", entry("a", [float("nan")]), entry("b", [1]))
    assert set(read_imatrix(path, exclude=["a"]).entries) == {"b"}
    with pytest.raises(FormatError, match=r"'a'.*not finite"):
        read_imatrix(path)


def decision(name: str, shape: tuple[int, ...], block_type: str = "Q4_K") -> Decision:
    return Decision(name, shape, "F16", block_type, "")


def test_each_tensor_gets_a_row_a_matrix(tmp_path: Path) -> None:
    path = dat(
        tmp_path / "i.dat",
        entry("e", [1, 2, 3, 4, 5, 6]),
        entry("f", [1]),
        entry("same", [1]),
        entry("token_embd.weight", [1]),
    )
    imatrix = read_imatrix(path)
    decisions = [
        decision("e", (3, 9, 2)),
        decision("none", (4, 2)),
        decision("token_embd.weight", (4, 2)),
        decision("f", (4, 1), "F16"),
    ]
    decisions += [Decision("same", (4, 5), "Q8_0", "Q8_0", "")]
    read = select_importance(imatrix, decisions)
    assert list(read) == ["e"]
    np.testing.assert_array_equal(read["e"], [[1, 2], [3, 4], [5, 6]])
    with pytest.raises(
        FormatError, match=r"tensor 'f': has 1 values of importance for 1 x 2 columns \(it was made for another"
    ):
        select_importance(imatrix, [decision("f", (4, 2))])


@pytest.mark.parametrize(
    ("tensors", "keys", "message"),
    [
        (one("a", [[1, 2]], [1]), False, "imatrix.datasets is missing"),
        ({"a.in_sum2": np.ones(2, F32)}, True, "'a.counts': is missing"),
        ({"a.counts": np.ones(2, F32)}, True, "'a.in_sum2': is missing"),
        (one("a", [[1, 2, 3]], [1, 1]), True, "3 sums do not go with 2 counts"),
        (one("a", [[1, 2]], [float("nan")]), True, "count that is not finite"),
        (one("a", [[1, float("inf")]], [1]), True, "not finite"),
        ({"a.in_sum2": np.ones(2, np.float16), "a.counts": np.ones(1, F32)}, True, "F16 instead of F32"),
        ({"other": np.ones(2, F32)}, True, "holds no sums"),
    ],
)
def test_malformed_gguf(tmp_path: Path, tensors: dict[str, np.ndarray], keys: bool, message: str) -> None:
    path = write_gguf(tmp_path / "i.gguf", tensors, keys=keys)
    with pytest.raises(FormatError, match=message):
        read_imatrix(path)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01\x00",
        struct.pack("<i", 0),
        struct.pack("<i", -1),
        struct.pack("<ii", 1, -5),
        struct.pack("<ii", 1, 0),
        struct.pack("<ii", 1, 2**31 - 1) + b"x",
        struct.pack("<ii", 1, 1) + b"a" + struct.pack("<i", 1),
        struct.pack("<ii", 1, 1) + b"a" + struct.pack("<ii", 1, -1),
        struct.pack("<ii", 1, 1) + b"a" + struct.pack("<ii", 1, 2**31 - 1),
        struct.pack("<ii", 1, 1) + b"a" + struct.pack("<ii", 1, 2) + b"\0\0\0\0",
        struct.pack("<i", 2**31 - 1) + entry("a", [1]),
        b"GGUF\x03\x00\x00\x00",
    ],
)
def test_malformed_or_cut_short(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "i.dat"
    path.write_bytes(data)
    with pytest.raises(FormatError, match=r"i\.dat"):
        read_imatrix(path)


def test_another_kind_of_file_is_told_what_one_is(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"architectures": ["LlamaForCausalLM"]}')
    with pytest.raises(
        FormatError, match=r"is not an importance matrix.* \(an importance matrix is a GGUF, or a \.dat"
    ):
        read_imatrix(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_imatrix(tmp_path / "none.dat")
