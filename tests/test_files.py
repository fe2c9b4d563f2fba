import errno
import json
import math
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qconv.errors import FormatError, InputError
from qconv.files import beside, inside, nests_deeper, read_bytes, read_json

_TEXTS = st.text(alphabet='[]{}"\\\na,:')
VALUES = st.recursive(
    st.integers() | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
)


def test_json_as_python_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": [1, 2.5, null, true, NaN, -Infinity]}')
    value = read_json(path)["a"]
    assert value[:4] == [1, 2.5, None, True]
    assert math.isnan(value[4])
    assert value[5] == -math.inf


@pytest.mark.parametrize("content", [b"", b"{", b"{'a': 1}", b'"\xff"', b"[NaN", b'["\\ud800", NaN]', b"[" * 64])
def test_json_that_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(FormatError, match="is not valid JSON"):
        read_json(path)


def test_json_of_the_deepest_that_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b'{"[": "\\"[{", "a": [%s]}' % b", ".join([b"[" * 62 + b"]" * 62] * 2))
    assert len(read_json(path)["a"]) == 2


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
        read_json(path)


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
        read_json(path)


def test_the_size_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"[1, 2, 3]")
    assert read_bytes(path, 9) == b"[1, 2, 3]"
    with pytest.raises(FormatError, match="larger than 8 bytes"):
        read_bytes(path, 8)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(InputError, match="is not a regular file"):
            read_json(path)
    with pytest.raises(InputError, match=f"cannot be opened: {os.strerror(errno.ENOENT)}"):
        read_json(tmp_path / "none")


def test_names_inside_a_folder(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b").write_text("b")
    (tmp_path / "link").symlink_to("sub/b")
    for name in ("a", "sub/b", "link", "none"):
        assert inside(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize("name", ["", "/a", "..", "../a", "a/../../b", "a\0b"])
def test_names_outside_a_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(FormatError, match="names a file outside its folder"):
        inside(tmp_path, name)


@pytest.mark.parametrize("target", ["/etc/hostname", "../other/file", "blobs/../../file"])
def test_links_outside_a_folder(tmp_path: Path, target: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "link").symlink_to(target)
    with pytest.raises(FormatError, match="leads out of the folder"):
        inside(home, "link")


def test_links_into_the_blobs_of_a_hub_cache(tmp_path: Path) -> None:
    snapshot = tmp_path / "models--a--b" / "snapshots" / "1"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").symlink_to("../../blobs/0123")
    assert inside(snapshot, "config.json") == snapshot / "config.json"


def test_a_file_beside_others(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "a").write_text("a")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "home" / "link").symlink_to(tmp_path / "secret")
    assert beside(tmp_path / "home", "a") == tmp_path / "home" / "a"
    assert beside(tmp_path / "home", "none") is None
    with pytest.raises(FormatError, match="leads out of the folder"):
        beside(tmp_path / "home", "link")
