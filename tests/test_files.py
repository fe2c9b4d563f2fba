"""JSON beside the weights, and what a failed download leaves in its place."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from qconv.errors import FormatError
from qconv.files import read_json, read_object
from qconv.storage import LocalFolder


def test_json_as_python_writes_it(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"a": [1, 2.5, null, true, NaN, -Infinity]}')
    value = read_json(LocalFolder(tmp_path), "a.json")["a"]
    assert value[:4] == [1, 2.5, None, True]
    assert math.isnan(value[4])
    assert value[5] == -math.inf


@pytest.mark.parametrize(
    "content", [b"", b"{", b"{'a': 1}", b'"\xff"', b"[" * 200_000, b"[NaN", b'{"a":' * 200_000, b'["\\ud800", NaN]']
)
def test_json_that_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(FormatError, match="is not valid JSON"):
        read_json(LocalFolder(tmp_path), "a.json")


def test_json_that_is_no_object(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[1]")
    with pytest.raises(FormatError, match=r"a\.json: is not a JSON object"):
        read_object(LocalFolder(tmp_path), "a.json")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", r"is a Git LFS pointer.*git lfs pull"),
        (b"<!DOCTYPE html>\n<html><title>Sign in</title>", r"is a web page.*download it again"),
    ],
)
def test_what_a_failed_download_leaves_is_told(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(FormatError, match=said):
        read_json(LocalFolder(tmp_path), "config.json")
