"""Calibration files: importance matrices for llama.cpp's tools, with measurements beside; and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from qconv.calibration import (
    Measurements,
    Sensitivity,
    TensorSums,
    read_imatrix,
    read_measurements,
    read_sums,
    write_calibration,
)
from qconv.errors import FormatError, InputError, OutputError

Array = NDArray[np.float32]
QUERY, EXPERTS, OUTPUT = "blk.0.attn_q.weight", "blk.0.ffn_up_exps.weight", "output.weight"


def some(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).random(shape, np.float32)


SUMS = {
    QUERY: TensorSums(some(1, 1, 64), some(2, 1, 64) - 1, np.array([128]), np.array([640.0, 1280.0])),
    EXPERTS: TensorSums(some(3, 3, 32), some(4, 3, 32), np.array([100, 0, 156]), np.array([512.0])),
}
MEASURED = Measurements(
    model="0123",
    text="ab" * 32,
    tokens=128,
    context=64,
    base="BF16",
    job="job",
    sensitivity_tokens=512,
    scale=1.25,
    sensitivities={QUERY: Sensitivity(0.5, 0.125, 2.0), EXPERTS: Sensitivity(-0.25, 0.5, 0.0)},
)
MORE = {OUTPUT: np.array([256.0, 384.0])}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model-calibration.gguf"
    write_calibration(path, SUMS, MEASURED, ["wiki.txt", "naïve.txt"], MORE)
    return path


def test_it_is_an_importance_matrix_to_another_reader(file: Path) -> None:
    """Keys, names and shapes as llama.cpp's ``common/imatrix-loader.cpp`` reads them."""
    reader = gguf.GGUFReader(file)
    assert reader.fields["general.type"].contents() == "imatrix"
    assert reader.fields["imatrix.datasets"].contents() == ["wiki.txt", "naïve.txt"]
    assert reader.fields["imatrix.chunk_count"].contents() == 2
    assert reader.fields["imatrix.chunk_size"].contents() == 64
    tensors = {t.name: t for t in reader.tensors}
    assert {t.tensor_type for t in reader.tensors} == {gguf.GGMLQuantizationType.F32}
    for name, sums in SUMS.items():
        np.testing.assert_array_equal(tensors[f"{name}.in_sum2"].data, sums.squares)
        np.testing.assert_array_equal(tensors[f"{name}.in_sum"].data, sums.sums)
        np.testing.assert_array_equal(tensors[f"{name}.counts"].data, sums.counts[:, None])
    assert not any(name.startswith(OUTPUT) and name.endswith(("in_sum2", "counts")) for name in tensors)


def test_importance_is_what_llama_quantize_makes_of_it(file: Path) -> None:
    entries = read_imatrix(file).entries
    assert entries.keys() == SUMS.keys()
    np.testing.assert_array_equal(entries[QUERY], SUMS[QUERY].squares[0] / np.float32(128))
    unseen = entries[EXPERTS].reshape(3, 32)[1]
    np.testing.assert_array_equal(unseen, np.ones(32, np.float32))


def test_measurements_there_and_back(file: Path) -> None:
    read = read_measurements(file)
    assert read is not None
    assert replace(read, peaks={}) == MEASURED
    # means over the tokens an input was seen with: 128; both experts' 256; the text's 128 where nothing is counted
    assert {name: peaks.tolist() for name, peaks in read.peaks.items()} == {
        QUERY: [5.0, 10.0],
        EXPERTS: [2.0],
        OUTPUT: [2.0, 3.0],
    }
    assert read.sensitivities[QUERY].slope == 0.25
    assert read.sensitivities[EXPERTS].slope == 0.0


def test_sums_there_and_back(file: Path) -> None:
    read = read_sums(file)
    assert read.keys() == SUMS.keys()
    for name, sums in SUMS.items():
        for field in ("squares", "sums", "counts", "peaks"):
            wanted, got = getattr(sums, field), getattr(read[name], field)
            assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape), field
            np.testing.assert_array_equal(got, wanted)


def test_other_programs_files_hold_no_measurements(tmp_path: Path) -> None:
    path = rewritten(tmp_path / "plain.gguf", {"a.in_sum2": some(1, 1, 4), "a.counts": some(2, 1, 1)}, keys={})
    assert read_measurements(path) is None
    (tmp_path / "old.dat").write_bytes(b"\x01\0\0\0")
    assert read_measurements(tmp_path / "old.dat") is None


def rewritten(path: Path, tensors: Mapping[str, NDArray[Any]], keys: Mapping[str, object]) -> Path:
    """A file with these tensors and ``qconv.calibration.*``, made by the ``gguf`` package."""
    writer = gguf.GGUFWriter(path, "")
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", ["wiki.txt"])
    writer.add_uint32("imatrix.chunk_count", 2)
    writer.add_uint32("imatrix.chunk_size", 64)
    for key, value in keys.items():
        name = f"qconv.calibration.{key}"
        if isinstance(value, str):
            writer.add_string(name, value)
        elif isinstance(value, float):
            writer.add_float64(name, value)
        else:
            assert isinstance(value, int)
            writer.add_int64(name, value)
    for name, array in tensors.items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


KEYS: dict[str, object] = {
    "version": 1,
    "model": "0123",
    "text": "ab",
    "tokens": 128,
    "context": 64,
    "base": "BF16",
    "job": "job",
    "sensitivity_tokens": 512,
    "scale": 1.0,
}
NAN = float("nan")


def test_the_file_hostile_ones_are_made_from_is_sound(tmp_path: Path) -> None:
    path = rewritten(tmp_path / "c.gguf", {f"{QUERY}.sensitivity": np.array([1, 0, 2], np.float32)}, KEYS)
    assert read_measurements(path) == Measurements(
        "0123", "ab", 128, 64, "BF16", "job", 512, 1.0, {QUERY: Sensitivity(1.0, 0.0, 2.0)}, {}
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        *(({name: None}, f"qconv.calibration.{name} is missing") for name in KEYS if name != "version"),
        ({"version": 2}, "was measured by another version of qconv"),
        ({"tokens": "many"}, "tokens is not a number from 0 on"),
        ({"tokens": -1}, "tokens is not a number from 0 on"),
        ({"context": NAN}, "context is not a number from 0 on"),
        ({"scale": NAN}, "scale is not a number from 0 on"),
        ({"scale": float("inf")}, "scale is not a number from 0 on"),
        ({"scale": -0.5}, "scale is not a number from 0 on"),
        ({"model": 7}, "model is not a text"),
    ],
    ids=lambda value: "" if isinstance(value, str) else next(iter(value.items())),
)
def test_keys_are_checked(tmp_path: Path, changed: Mapping[str, object], said: str) -> None:
    keys = {key: value for key, value in (KEYS | dict(changed)).items() if value is not None}
    path = rewritten(tmp_path / "c.gguf", {"a.counts": some(1, 1, 1)}, keys)
    with pytest.raises(FormatError, match=rf"c\.gguf: .*{said} \(calibrate again"):
        read_measurements(path)


@pytest.mark.parametrize(
    ("tensors", "tensor", "said"),
    [
        ({"a.sensitivity": np.array([1, 2], np.float32)}, "a.sensitivity", "three F32 values"),
        ({"a.sensitivity": np.array([1, 2, 3], np.float16)}, "a.sensitivity", "three F32 values"),
        ({"a.sensitivity": np.array([NAN, 0, 1], np.float32)}, "a.sensitivity", "is not a sensitivity"),
        ({"a.sensitivity": np.array([1, np.inf, 1], np.float32)}, "a.sensitivity", "is not a sensitivity"),
        ({"a.sensitivity": np.array([1, -1, 1], np.float32)}, "a.sensitivity", "is not a sensitivity"),
        ({"a.sensitivity": np.array([1, 1, -1], np.float32)}, "a.sensitivity", "is not a sensitivity"),
        ({"a.peaks": np.array([1, NAN], np.float32)}, "a.peaks", "are not peaks"),
        ({"a.peaks": np.array([-1], np.float32)}, "a.peaks", "are not peaks"),
        ({"a.peaks": np.array([1], np.float16)}, "a.peaks", "is F16 instead of F32"),
        (
            {"a.peaks": np.array([1], np.float32), "a.counts": np.array([NAN], np.float32)},
            "a.counts",
            "are not numbers of tokens",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_measured_values_are_checked(
    tmp_path: Path, tensors: Mapping[str, NDArray[Any]], tensor: str, said: str
) -> None:
    path = rewritten(tmp_path / "c.gguf", tensors, KEYS)
    with pytest.raises(FormatError, match=rf"c\.gguf, tensor '{tensor}': .*{said}"):
        read_measurements(path)


SQUARES: dict[str, NDArray[Any]] = {
    "a.in_sum2": np.ones((2, 64), np.float32),
    "a.in_sum": np.ones((2, 64), np.float32),
    "a.counts": np.ones((2, 1), np.float32),
    "a.peaks": np.ones(2, np.float32),
}


@pytest.mark.parametrize(
    ("changed", "tensor", "said"),
    [
        ({"a.in_sum": None}, "a.in_sum", "is missing"),
        ({"a.counts": None}, "a.counts", "is missing"),
        ({"a.in_sum2": np.ones((2, 64), np.float16)}, "a.in_sum2", "is F16 instead of F32"),
        ({"a.in_sum": np.ones((2, 32), np.float32)}, "a", "do not fit together"),
        ({"a.counts": np.ones((3, 1), np.float32)}, "a", "do not fit together"),
        ({"a.in_sum2": np.full((2, 64), NAN, np.float32)}, "a", "are not finite"),
        ({"a.in_sum": np.full((2, 64), np.inf, np.float32)}, "a", "are not finite"),
        ({"a.counts": np.full((2, 1), NAN, np.float32)}, "a", "are no numbers of tokens"),
        ({"a.counts": np.full((2, 1), -1, np.float32)}, "a", "are no numbers of tokens"),
        ({"a.counts": np.full((2, 1), 1e30, np.float32)}, "a", "are no numbers of tokens"),
        ({"a.peaks": np.full(2, NAN, np.float32)}, "a", "are not finite"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_sums_are_checked(tmp_path: Path, changed: Mapping[str, NDArray[Any] | None], tensor: str, said: str) -> None:
    tensors = {name: array for name, array in (SQUARES | dict(changed)).items() if array is not None}
    path = rewritten(tmp_path / "c.gguf", tensors, KEYS)
    with pytest.raises(FormatError, match=rf"c\.gguf, tensor '{tensor}': .*{said}"):
        read_sums(path)


def test_a_file_that_ends_early_is_refused_wherever_it_ends(file: Path) -> None:
    data = file.read_bytes()
    cut = file.with_name("cut.gguf")
    for size in (*range(4, len(data) - 64, 97), len(data) - 64):
        cut.write_bytes(data[:size])
        for read in (read_measurements, read_sums):
            with pytest.raises(FormatError, match=r"cut\.gguf"):
                read(cut)


def test_what_cannot_be_read_or_written(file: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none: cannot be read: No such file"):
        read_measurements(tmp_path / "none")
    with pytest.raises(InputError, match="none: cannot be read: No such file"):
        read_sums(tmp_path / "none")
    with pytest.raises(OutputError, match=r"none/c\.gguf: cannot be written"):
        write_calibration(tmp_path / "none" / "c.gguf", SUMS, MEASURED, [])


def test_a_failed_write_leaves_what_was_there(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = file.read_bytes()

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("qconv.platform.sync_data", full)
    with pytest.raises(OutputError, match=r"model-calibration\.gguf: cannot be written: No space left"):
        write_calibration(file, SUMS, replace(MEASURED, tokens=64), [])
    assert file.read_bytes() == before
    assert [p.name for p in file.parent.iterdir()] == [file.name]
