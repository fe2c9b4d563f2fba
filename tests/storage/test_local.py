"""Folders and files of this machine: bounded reads, names that stay inside, positions, identity."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

from qconv import platform
from qconv.errors import FormatError, InputError, UsageError
from qconv.storage import LocalFile, LocalFolder, is_inside


def test_the_size_of_small_files_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"[1, 2, 3]")
    folder = LocalFolder(tmp_path)
    assert folder.read("a.json", 9) == b"[1, 2, 3]"
    with pytest.raises(FormatError, match=r"a\.json: is larger than 8 bytes"):
        folder.read("a.json", 8)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "sub").mkdir()
    for name in ("sub", "pipe"):
        with pytest.raises(InputError, match="is not a regular file"):
            LocalFolder(tmp_path).read(name)
    with pytest.raises(InputError, match="cannot be opened: No such file"):
        LocalFolder(tmp_path).read("none")
    with pytest.raises(InputError, match="cannot be listed: No such file"):
        LocalFolder(tmp_path / "none").names()


def test_names_inside_a_folder(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b").write_text("b")
    (tmp_path / "link").symlink_to("sub/b")
    folder = LocalFolder(tmp_path)
    assert folder.names() == ["link", "sub"]
    assert folder.names("sub") == ["b"]
    assert folder.names("none") == []
    assert [name for name in ("a", "sub", "sub/b", "link", "none") if folder.has(name)] == ["sub/b", "link"]
    assert folder.read("link") == folder.read("sub/b") == b"b"
    assert folder.locate("sub/b") == str(tmp_path / "sub" / "b")


@pytest.mark.parametrize(
    "name",
    ["", "/a", "..", "../a", "a/../../b", "a\0b", r"..\\a", r"C:\\a", "C:a", r"\\\\server\\share\\a", r"a\\..\\..\\b"],
)
def test_names_outside_a_folder_on_any_system(tmp_path: Path, name: str) -> None:
    folder = LocalFolder(tmp_path)
    assert not is_inside(name)
    assert not folder.has(name)
    with pytest.raises(FormatError, match="names a file outside its folder"):
        folder.read(name)
    with pytest.raises(FormatError, match="names a file outside its folder"):
        folder.open(name)


def test_a_users_own_link_to_another_disk_is_followed(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "weights").write_bytes(b"weights")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "model.safetensors").symlink_to(tmp_path / "disk" / "weights")
    assert LocalFolder(tmp_path / "home").read("model.safetensors") == b"weights"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("Qwen3-0.6B", "Qwen3-0.6B"),
        ("models--Qwen--Qwen3-0.6B/snapshots/0123abcd", "Qwen3-0.6B"),
        ("models--gpt2/snapshots/0123abcd", "gpt2"),
        ("snapshots/0123abcd", "0123abcd"),
    ],
)
def test_a_snapshot_in_a_hub_cache_has_the_name_of_its_repository(tmp_path: Path, path: str, name: str) -> None:
    assert LocalFolder(tmp_path / path).name == name


@pytest.fixture(params=["as it is", "without preadv and pwrite"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """This system, and one that has no positioned reads and writes, as Windows."""
    if request.param != "as it is":
        monkeypatch.delattr(os, "preadv", raising=False)
        monkeypatch.delattr(os, "pwrite", raising=False)


def test_positioned_reads(tmp_path: Path, system: None) -> None:
    (tmp_path / "x").write_bytes(bytes(range(100)))
    with closing(LocalFile(tmp_path / "x")) as file:
        assert file.size == 100
        assert file.name == "x"
        assert file.read(5, 7) == bytes(range(7, 12))
        assert file.read(50, 90) == bytes(range(90, 100))
        assert file.read(5, 200) == b""
        buffer = bytearray(10)
        file.read_into(memoryview(buffer), 20)
        assert buffer == bytes(range(20, 30))
        with pytest.raises(FormatError, match=r"byte 100: ends too early.*became shorter"):
            file.read_into(memoryview(buffer), 95)
    with pytest.raises(UsageError, match="is closed"):
        file.read(1, 0)


def test_positioned_writes(tmp_path: Path, system: None) -> None:
    descriptor = os.open(tmp_path / "x", platform.WRITE_FLAGS | os.O_CREAT, 0o666)
    try:
        assert platform.write_at(descriptor, memoryview(b"later"), 10) == 5
        assert platform.write_at(descriptor, memoryview(b"first"), 0) == 5
    finally:
        os.close(descriptor)
    assert (tmp_path / "x").read_bytes() == b"first" + bytes(5) + b"later"


def test_a_file_that_is_replaced_has_another_identity(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"one")
    os.utime(tmp_path / "x", ns=(0, 1))
    with closing(LocalFile(tmp_path / "x")) as file:
        before = file.identity()
        assert before == file.identity()
        (tmp_path / "x").write_bytes(b"two")
        assert file.identity() != before
        (tmp_path / "x").unlink()
        with pytest.raises(InputError, match="cannot be read: No such file"):
            file.identity()
