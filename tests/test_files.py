import math
import os

import pytest

from qconv.errors import FormatError, InputError
from qconv.files import beside, inside, read_bytes, read_json


def test_json_as_python_writes_it(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a": [1, 2.5, null, true, NaN, -Infinity]}')
    value = read_json(path)["a"]
    assert value[:4] == [1, 2.5, None, True]
    assert math.isnan(value[4])
    assert value[5] == -math.inf


@pytest.mark.parametrize(
    "content", [b"", b"{", b"{'a': 1}", b'"\xff"', b"[" * 200_000, b"[NaN", b'{"a":' * 200_000, b'["\\ud800", NaN]']
)
def test_json_that_is_none(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(FormatError, match="is not valid JSON"):
        read_json(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n", r"is a Git LFS pointer.*git lfs pull"),
        (b"<!DOCTYPE html>\n<html><title>Sign in</title>", r"is a web page.*download it again"),
    ],
)
def test_what_a_failed_download_leaves_is_told(tmp_path, content, said):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=said):
        read_json(path)


def test_the_size_is_bounded(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes(b"[1, 2, 3]")
    assert read_bytes(path, 9) == b"[1, 2, 3]"
    with pytest.raises(FormatError, match="larger than 8 bytes"):
        read_bytes(path, 8)


def test_a_file_that_cannot_be_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(InputError, match="is not a regular file"):
            read_json(path)
    with pytest.raises(InputError, match="cannot be opened: No such file"):
        read_json(tmp_path / "none")


def test_names_inside_a_folder(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b").write_text("b")
    (tmp_path / "link").symlink_to("sub/b")
    for name in ("a", "sub/b", "link", "none"):
        assert inside(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize("name", ["", "/a", "..", "../a", "a/../../b", "a\0b"])
def test_names_outside_a_folder(tmp_path, name):
    with pytest.raises(FormatError, match="names a file outside its folder"):
        inside(tmp_path, name)


@pytest.mark.parametrize("target", ["/etc/hostname", "../other/file", "blobs/../../file"])
def test_links_outside_a_folder(tmp_path, target):
    home = tmp_path / "home"
    home.mkdir()
    (home / "link").symlink_to(target)
    with pytest.raises(FormatError, match="leads out of the folder"):
        inside(home, "link")


def test_links_into_the_blobs_of_a_hub_cache(tmp_path):
    snapshot = tmp_path / "models--a--b" / "snapshots" / "1"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").symlink_to("../../blobs/0123")
    assert inside(snapshot, "config.json") == snapshot / "config.json"


def test_a_file_beside_others(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "a").write_text("a")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "home" / "link").symlink_to(tmp_path / "secret")
    assert beside(tmp_path / "home", "a") == tmp_path / "home" / "a"
    assert beside(tmp_path / "home", "none") is None
    with pytest.raises(FormatError, match="leads out of the folder"):
        beside(tmp_path / "home", "link")
