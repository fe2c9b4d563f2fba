"""Texts: what is read of them, and what is refused before a model is opened."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from qconv.errors import InputError
from qconv.measurement import first_of_each, read_text


def test_a_newline_at_the_end_is_left_out_of_each_file(tmp_path: Path) -> None:
    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    one.write_bytes(b"first\n\n")
    two.write_bytes(b"zweitens")
    text = read_text([one, two])
    assert text.parts == (b"first\n", b"zweitens")
    assert text.names == (str(one), str(two))
    lengths = b"\x06" + bytes(7), b"\x08" + bytes(7)
    assert text.sha256 == hashlib.sha256(lengths[0] + b"first\n" + lengths[1] + b"zweitens").hexdigest()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "holds no text"),
        (b" \n\t\n", "holds no text"),
        (b"GG\0UF and more", "is not a text: it holds NUL bytes"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "Git LFS"),
    ],
)
def test_what_is_no_text_is_refused(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(data)
    with pytest.raises(InputError, match=rf"text\.txt: .*{said}"):
        read_text([path])


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none: cannot be read: No such file"):
        read_text([tmp_path / "none"])
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        read_text([tmp_path])


def test_a_text_too_large_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.txt"
    with path.open("wb") as f:
        f.truncate((1 << 30) + 1)
    with pytest.raises(InputError, match=r"is larger than 1 GiB \(a few megabytes are plenty\)"):
        read_text([path])


def test_each_file_gives_its_share_in_whole_chunks() -> None:
    parts = [np.arange(0, 60, dtype=np.int32), np.arange(100, 120, dtype=np.int32)]
    assert first_of_each(parts, 80, 10).tolist() == [*range(60), *range(100, 120)]
    # 40 tokens are half of all: 3 chunks of the first file, 1 of the second
    assert first_of_each(parts, 40, 10).tolist() == [*range(30), *range(100, 110)]
    # of 5 chunks 3.75 and 1.25 are theirs
    assert first_of_each(parts, 59, 10).tolist() == [*range(40), *range(100, 110)]
    # too few for the second file to have a share
    assert first_of_each(parts, 10, 10).tolist() == [*range(10)]
    assert first_of_each(parts, 1, 10).tolist() == [*range(10)]


def test_no_file_is_starved_by_rounding() -> None:
    parts = [np.arange(n, n + 40, dtype=np.int32) for n in (0, 100, 200)]
    assert first_of_each(parts, 40, 10).tolist() == [*range(20), *range(100, 110), *range(200, 210)]
