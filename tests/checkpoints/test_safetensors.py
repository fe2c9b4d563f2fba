from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save_file

from qconv import checkpoints, tensors
from qconv.errors import FormatError, InputError, UnsupportedError, UsageError
from qconv.types import TensorInfo
from tests.checkpoints import packing as p

W = p.numbers(6, 8)
B = p.numbers(8, seed=1)


def test_a_single_file(tmp_path: Path) -> None:
    path = p.save(tmp_path / "weights.safetensors", {"w": W, "b": B, "half": W.astype(np.float16)})
    with checkpoints.open(path) as opened:
        assert (opened.kind, opened.path, opened.directory) == ("safetensors", path, tmp_path)
        assert [file.location for file in opened.files] == [str(path)]
        assert opened.config is None
        assert opened.metadata is None
        assert list(opened.tensors) == ["b", "half", "w"]  # by name, as llama.cpp takes them
        assert opened.tensors["w"] == TensorInfo("w", "F32", (6, 8))
        np.testing.assert_array_equal(opened.read("w", 0, 6), W)
        np.testing.assert_array_equal(opened.read("w", 2, 5), W[2:5])
        np.testing.assert_array_equal(opened.read("b", 0, 1), B[None])
        half = opened.read("half", 0, 6)
        assert half.dtype == np.float16
        np.testing.assert_array_equal(half, W.astype(np.float16))
        assert opened.read("w", 3, 3).shape == (0, 8)


def test_files_of_the_safetensors_library(tmp_path: Path) -> None:
    arrays: dict[str, NDArray[Any]] = {
        "a": W,
        "c": np.arange(24, dtype=np.int64).reshape(2, 3, 4),
        "d": np.array([True, False]),
    }
    save_file(arrays, tmp_path / "model.safetensors", metadata={"format": "np"})
    with checkpoints.open(tmp_path) as opened:
        for name, array in arrays.items():
            rows = opened.tensors[name].rows
            np.testing.assert_array_equal(opened.read(name, 0, rows).reshape(array.shape), array)
        np.testing.assert_array_equal(opened.read("c", 1, 5), arrays["c"].reshape(6, 4)[1:5])


def test_reads_into_the_callers_buffer(tmp_path: Path) -> None:
    path = p.save(tmp_path / "model.safetensors", {"w": W})
    buffer = np.zeros(1000, np.uint8)
    with checkpoints.open(path) as opened:
        rows = opened.read("w", 1, 4, buffer)
        assert np.shares_memory(rows, buffer)
        np.testing.assert_array_equal(rows, W[1:4])
        assert not buffer[96:].any()


def test_bfloat16_rows_are_bit_patterns(tmp_path: Path) -> None:
    bits = (W.view(np.uint32) >> 16).astype(np.uint16)
    path = p.save(tmp_path / "model.safetensors", {"w": bits}, {"w": "BF16"})
    with checkpoints.open(path) as opened:
        rows = opened.read("w", 0, 6)
    assert rows.dtype == np.uint16
    np.testing.assert_array_equal(rows, bits)


def test_every_plain_type_and_shape(tmp_path: Path) -> None:
    arrays: dict[str, NDArray[Any]] = {
        "f64": p.numbers(2, 3).astype(np.float64),
        "i32": np.arange(4, dtype=np.int32),
        "i16": np.arange(4, dtype=np.int16),
        "i8": np.arange(4, dtype=np.int8),
        "u8": np.arange(4, dtype=np.uint8),
        "bool": np.array([[True], [False]]),
        "scalar": np.array(3.5, np.float32),
        "five": p.numbers(2, 1, 2, 1, 3),
        "none": np.zeros((3, 0), np.float32),
        "nothing": np.zeros((0, 3), np.float32),
    }
    path = p.save(tmp_path / "model.safetensors", arrays)
    with checkpoints.open(path) as opened:
        for name, array in arrays.items():
            info = opened.tensors[name]
            assert info.shape == array.shape
            read = opened.read(name, 0, info.rows)
            assert read.shape == (info.rows, info.columns)
            np.testing.assert_array_equal(read.reshape(array.shape), array)
        assert sum(tensors.size(t) for t in opened.tensors.values()) == sum(a.nbytes for a in arrays.values())


def test_rows_and_tensors_that_do_not_exist(tmp_path: Path) -> None:
    path = p.save(tmp_path / "model.safetensors", {"w": W})
    with checkpoints.open(path) as opened:
        for start, stop in ((-1, 2), (0, 7), (4, 3)):
            with pytest.raises(UsageError, match="has 6 rows"):
                opened.read("w", start, stop)
        with pytest.raises(UsageError, match="is not in the checkpoint"):
            opened.read("v", 0, 1)
    with pytest.raises(UsageError, match="is closed"):
        opened.read("w", 0, 1)


def test_many_threads_read_at_once(tmp_path: Path) -> None:
    array = p.numbers(512, 64)
    path = p.save(tmp_path / "model.safetensors", {"w": array})
    wrong: list[int] = []

    def work(first: int) -> None:
        for start in range(first, 500, 7):
            if not np.array_equal(opened.read("w", start, start + 9), array[start : start + 9]):
                wrong.append(start)

    with checkpoints.open(path) as opened:
        threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []


def test_short_reads_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = p.save(tmp_path / "model.safetensors", {"w": W})
    whole = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, views, at: whole(fd, [views[0][:7]], at))
    with checkpoints.open(path) as opened:
        np.testing.assert_array_equal(opened.read("w", 0, 6), W)


def test_a_failing_disk_names_the_tensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = p.save(tmp_path / "model.safetensors", {"w": W})

    def fail(*_: Any) -> None:
        raise OSError(5, "Input/output error")

    with checkpoints.open(path) as opened:
        monkeypatch.setattr(os, "preadv", fail)
        with pytest.raises(InputError, match=r"model.safetensors, tensor 'w': cannot be read: Input/output error"):
            opened.read("w", 0, 6)


def test_a_file_cut_after_opening_names_the_tensor(tmp_path: Path) -> None:
    path = p.save(tmp_path / "model.safetensors", {"w": W})
    with checkpoints.open(path) as opened:
        os.truncate(path, path.stat().st_size - 40)
        with pytest.raises(FormatError, match=r"tensor 'w', byte \d+: ends inside the tensor"):
            opened.read("w", 0, 6)


@pytest.mark.parametrize("content", ["[1]", "{", "nothing", '{"a": ' * 100_000])
def test_a_config_that_is_none(tmp_path: Path, content: Any) -> None:
    p.save(tmp_path / "model.safetensors", {"w": W})
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(FormatError, match=r"config\.json: is no"):
        checkpoints.open(tmp_path)


def test_the_config_beside_the_weights(tmp_path: Path) -> None:
    p.save(tmp_path / "model.safetensors", {"w": W})
    (tmp_path / "config.json").write_text('{"model_type": "llama", "time_step_limit": [0.0, Infinity]}')
    for path in (tmp_path, tmp_path / "model.safetensors"):
        with checkpoints.open(path) as opened:
            assert opened.config == {"model_type": "llama", "time_step_limit": [0.0, float("inf")]}


def test_unknown_types_are_named(tmp_path: Path) -> None:
    header = {"w": {"dtype": "F4", "shape": [4], "data_offsets": [0, 2]}}
    (tmp_path / "model.safetensors").write_bytes(p.file(header, bytes(2)))
    with pytest.raises(UnsupportedError, match=r"tensor 'w': has the unknown type 'F4'"):
        checkpoints.open(tmp_path)


def test_names_have_an_end(tmp_path: Path) -> None:
    header = {"w" * 4097: {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    (tmp_path / "model.safetensors").write_bytes(p.file(header, bytes(4)))
    with pytest.raises(FormatError, match="names a tensor by 4,097 characters; the most are 4,096"):
        checkpoints.open(tmp_path)


def test_control_characters_are_escaped_in_messages(tmp_path: Path) -> None:
    header = {"w\x1b[2J\n": {"dtype": "F4", "shape": [4], "data_offsets": [0, 2]}}
    (tmp_path / "model.safetensors").write_bytes(p.file(header, bytes(2)))
    with pytest.raises(UnsupportedError) as caught:
        checkpoints.open(tmp_path)
    assert "tensor 'w\\x1b[2J\\n'" in str(caught.value)
    assert str(caught.value).isprintable()
