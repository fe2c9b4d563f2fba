"""The hint that weights will be read soon."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from qconv.checkpoints import prefetch
from qconv.storage import LocalFile


@pytest.fixture
def hints(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """Size of the file, offset and length of each hint."""
    given: list[tuple[int, int, int]] = []

    def hint(descriptor: int, offset: int, length: int, advice: int) -> None:
        given.append((os.fstat(descriptor).st_size, offset, length))

    monkeypatch.setattr(os, "posix_fadvise", hint, raising=False)
    monkeypatch.setattr(os, "POSIX_FADV_WILLNEED", 3, raising=False)
    return given


def files(folder: Path, *sizes: int) -> list[LocalFile]:
    paths = [folder / f"{number}" for number in range(len(sizes))]
    for path, size in zip(paths, sizes, strict=True):
        with path.open("wb") as file:
            file.truncate(size)
    return [LocalFile(path) for path in paths]


def test_files_are_hinted_at_in_order_up_to_the_size(tmp_path: Path, hints: list[tuple[int, int, int]]) -> None:
    megabyte = 1 << 20
    prefetch(files(tmp_path, megabyte + 5, 0, 3 * megabyte, 7), 2 * megabyte)
    assert hints == [
        (megabyte + 5, 0, megabyte),
        (megabyte + 5, megabyte, 5),
        (3 * megabyte, 0, megabyte - 5),
    ]


def test_a_system_that_refuses_the_hint_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "posix_fadvise", refuse, raising=False)
    monkeypatch.setattr(os, "POSIX_FADV_WILLNEED", 3, raising=False)
    prefetch(files(tmp_path, 9))


def test_systems_that_take_no_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "posix_fadvise", raising=False)
    prefetch(files(tmp_path, 9))
