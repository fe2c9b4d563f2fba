"""Files of Hessians: what is written is read again, and what is none is told."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from qconv.calibration import HessiansInfo, read_hessians, write_hessians
from qconv.errors import FormatError, InputError

INFO = HessiansInfo("m" * 32, "t" * 64, 4096, 512, "BF16", "j" * 32)

TRIALS = {0.1: 2.5, 0.3: 3.0}


def hessian(columns: int, seed: int) -> NDArray[np.float32]:
    x = np.random.default_rng(seed).standard_normal((columns + 5, columns))
    return (x.T @ x).astype(np.float32)


def write(path: Path, columns: int = 300, matrices: int = 1, info: HessiansInfo = INFO, *tensors: str) -> Path:
    names = tensors or ("blk.0.ffn_gate.weight", "blk.0.ffn_up.weight")
    write_hessians(path, info, names, columns, [7] * matrices, (hessian(columns, i) for i in range(matrices)), TRIALS)
    return path


@pytest.mark.parametrize("columns", [1, 255, 256, 257, 700])
@pytest.mark.parametrize("matrices", [1, 3])
def test_the_lower_triangle_is_kept_in_panels(tmp_path: Path, columns: int, matrices: int) -> None:
    hessians = read_hessians(write(tmp_path / "a.gguf", columns, matrices))
    one, other = (hessians.by_tensor[name] for name in ("blk.0.ffn_gate.weight", "blk.0.ffn_up.weight"))
    assert one is other
    assert (one.columns, one.matrices, hessians.model) == (columns, matrices, INFO.model)
    assert one.trials == TRIALS
    for matrix in range(matrices):
        start = 0
        for panel in one.panels(matrix):
            stop = start + len(panel)
            assert np.array_equal(panel, hessian(columns, matrix)[start:stop, :stop])
            start = stop
        assert start == columns


def test_another_reader_of_gguf_reads_it(tmp_path: Path) -> None:
    reader = gguf.GGUFReader(write(tmp_path / "a.gguf", 300))
    assert reader.fields["qconv.hessians.tensors"].contents() == ["blk.0.ffn_gate.weight", "blk.0.ffn_up.weight"]
    values = {t.name: np.asarray(t.data) for t in reader.tensors}
    h = hessian(300, 0)
    expected = np.concatenate([h[:256, :256].ravel(), h[256:].ravel()])
    assert np.array_equal(values["blk.0.ffn_gate.weight.hessian"].ravel(), expected)
    assert reader.fields["qconv.hessians.dampings"].contents() == [np.float32(0.1), np.float32(0.3)]
    assert reader.fields["qconv.hessians.errors"].contents() == [2.5, 3]
    assert values["blk.0.ffn_gate.weight.counts"].ravel() == [7]


def test_a_folder_holds_a_file_an_input(tmp_path: Path) -> None:
    write(tmp_path / "a.gguf")
    write(tmp_path / "b.gguf", 64, 1, INFO, "blk.0.ffn_down.weight")
    columns = {name: h.columns for name, h in read_hessians(tmp_path).by_tensor.items()}
    assert columns == {"blk.0.ffn_gate.weight": 300, "blk.0.ffn_up.weight": 300, "blk.0.ffn_down.weight": 64}


def test_files_that_do_not_belong_together(tmp_path: Path) -> None:
    write(tmp_path / "a.gguf")
    other = HessiansInfo("x" * 32, INFO.text, INFO.tokens, INFO.context, INFO.base, INFO.job)
    write(tmp_path / "b.gguf", 64, 1, other, "blk.0.ffn_down.weight")
    with pytest.raises(FormatError, match=r"another model than a\.gguf"):
        read_hessians(tmp_path)
    write(tmp_path / "b.gguf")
    with pytest.raises(FormatError, match=r"is in a\.gguf too"):
        read_hessians(tmp_path)


def test_where_there_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no Hessians"):
        read_hessians(tmp_path)
    with pytest.raises(InputError):
        read_hessians(tmp_path / "nothing.gguf")


def _other(data: bytes, before: bytes, after: bytes) -> bytes:
    assert data.count(before) == 1
    return data.replace(before, after)


def _tried(data: bytes, key: str, value: float) -> bytes:
    """The first number of a list changed; type, element type and length come before it."""
    at = data.index(f"qconv.hessians.{key}".encode()) + len(f"qconv.hessians.{key}") + 4 + 4 + 8
    return data[:at] + np.float32(value).tobytes() + data[at + 4 :]


def _type_of(data: bytes, kind: int) -> bytes:
    """The first tensor's type changed; its name, two dimensions and then the type are in its record."""
    at = data.index(b".weight.hessian") + len(b".weight.hessian") + 4 + 16
    return data[:at] + kind.to_bytes(4, "little") + data[at + 4 :]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d[:-2000], "needs 315776 bytes"),
        (lambda d: d[:100], "claims 11 metadata keys"),
        (lambda d: _tried(d, "dampings", np.nan), "not as many numbers above zero"),
        (lambda d: _tried(d, "errors", -0.1), "not as many numbers above zero"),
        (lambda d: _tried(d, "errors", np.inf), "are too large"),
        (lambda d: _tried(d, "dampings", 1e9), "are too large"),
        (lambda d: b"GGML" + d[4:], "is not a GGUF file"),
        (lambda d: _other(d, b"qconv.hessians.model", b"qconv.hessians.mudel"), "qconv.hessians.model is missing"),
        (lambda d: _other(d, b"qconv.hessians.tensors", b"qconv.hessians.tonsors"), "hessians.tensors is not a list"),
        (lambda d: _other(d, b".weight.hessian", b".weight.hussian"), "is missing"),
        (lambda d: _other(d, b".weight.counts", b".weight.cuonts"), "is missing"),
        (lambda d: _type_of(d, 26), "no F32 triangle"),
        (lambda d: d[:-64] + np.full(16, np.nan, "<f4").tobytes(), "no numbers of tokens"),
    ],
)
def test_damaged_files(tmp_path: Path, change: Callable[[bytes], bytes], says: str) -> None:
    path = write(tmp_path / "a.gguf")
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InputError, match=re.compile(says)) as caught:
        read_hessians(path)
    assert str(caught.value.file) == str(path)


def test_numbers_that_make_no_triangle(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    write_hessians(path, INFO, ["blk.0.ffn_up.weight"], 8, [3, 3], [hessian(8, 0), hessian(8, 1)])
    data = path.read_bytes()
    at = data.index(b".weight.hessian") + len(b".weight.hessian") + 4
    assert data[at : at + 8] == (64).to_bytes(8, "little")
    path.write_bytes(data[:at] + (63).to_bytes(8, "little") + data[at + 8 :])
    with pytest.raises(FormatError, match="no F32 triangle of 2 matrices"):
        read_hessians(path)


def test_a_file_that_was_cut_after_it_was_opened(tmp_path: Path) -> None:
    path = write(tmp_path / "a.gguf")
    opened = read_hessians(path).by_tensor["blk.0.ffn_up.weight"]
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(FormatError, match="cut short"):
        opened.factor(0)
