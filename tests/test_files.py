"""JSON beside the weights, and what a failed download leaves in its place."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qconv.errors import FormatError
from qconv.files import nests_deeper, read_json, read_object
from qconv.storage import LocalFolder

_TEXTS = st.text(alphabet='[]{}"\\\na,:')
VALUES = st.recursive(
    st.integers() | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
)


def test_json_as_python_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": [1, 2.5, null, true, NaN, -Infinity]}')
    value = read_json(LocalFolder(tmp_path), path.name)["a"]
    assert value[:4] == [1, 2.5, None, True]
    assert math.isnan(value[4])
    assert value[5] == -math.inf


@pytest.mark.parametrize("content", [b"", b"{", b"{'a': 1}", b'"\xff"', b"[NaN", b'["\\ud800", NaN]', b"[" * 64])
def test_json_that_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(FormatError, match="is not valid JSON"):
        read_json(LocalFolder(tmp_path), path.name)


@pytest.mark.parametrize(
    ("encoding", "mark"),
    [
        ("utf-8", b"\xef\xbb\xbf"),
        ("utf-16-le", b"\xff\xfe"),
        ("utf-16-be", b"\xfe\xff"),
        ("utf-32-le", b"\xff\xfe\0\0"),
        ("utf-32-be", b"\0\0\xfe\xff"),
        ("utf-16-le", b""),
        ("utf-16-be", b""),
    ],
)
def test_json_that_windows_editors_saved(tmp_path: Path, encoding: str, mark: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(mark + '{"a": "ä▁🦙"}\r\n'.encode(encoding))
    assert read_json(LocalFolder(tmp_path), path.name) == {"a": "ä▁🦙"}


@pytest.mark.parametrize(("content", "encoding"), [(b"\xff\xfe{", "UTF-16"), (b"\xff\xfe\0\0{\0", "UTF-32")])
def test_json_that_is_not_what_its_mark_says(tmp_path: Path, content: bytes, encoding: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=f"is {encoding} by its byte-order mark, but .*save it as UTF-8 without"):
        read_json(LocalFolder(tmp_path), path.name)


def test_json_of_an_older_encoding_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes('{"a": "naïve"}'.encode("cp1252"))
    with pytest.raises(FormatError, match=r"byte 9, 0xEF, is not UTF-8, but of an older encoding .*save it as UTF-8"):
        read_json(LocalFolder(tmp_path), "a.json")


def test_json_of_the_deepest_that_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'{"[": "\\"[{", "a": [%s]}' % b", ".join([b"[" * 62 + b"]" * 62] * 2))
    assert len(read_json(LocalFolder(tmp_path), path.name)["a"]) == 2


def depth(value: object) -> int:
    if not isinstance(value, list | dict):
        return 0
    return 1 + max(map(depth, value.values() if isinstance(value, dict) else value), default=0)


@given(VALUES, st.integers(0, 6))
def test_depth_is_that_of_the_value(value: object, limit: int) -> None:
    assert nests_deeper(json.dumps(value).encode(), limit) == (depth(value) > limit)


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 65 + b"]" * 65,
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b'{"a": [' * 33 + b"NaN" + b"]}" * 33,
        b"[" + b'["]"], ' * 100 + b'{"\\"": ' * 64 + b"1" + b"}" * 64 + b"]",
    ],
)
def test_json_that_nests_deeper_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(FormatError, match="lie more than 64 deep"):
        read_json(LocalFolder(tmp_path), path.name)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", r"is a Git LFS pointer.*git lfs pull"),
        (b"<!DOCTYPE html>\n<html><title>Sign in</title>", r"is a web page.*download it again"),
    ],
)
def test_what_a_failed_download_leaves_is_told(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=said):
        read_json(LocalFolder(tmp_path), path.name)


def test_json_that_is_no_object(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[1]")
    with pytest.raises(FormatError, match=r"a\.json: is not a JSON object"):
        read_object(LocalFolder(tmp_path), "a.json")
