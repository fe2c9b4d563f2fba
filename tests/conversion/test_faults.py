"""Every call to the file system fails in turn; so do reads, threads and the disk's size."""

from __future__ import annotations

import errno
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from qconv.conversion import Disk, journal_writer
from qconv.errors import InputError, OutputError, QconvError
from qconv.options import Part, RunOptions
from qconv.plan import Plan
from tests.conversion.fakes import (
    CALLS,
    Copy,
    FaultyDisk,
    Memory,
    Sketch,
    expected,
    finish,
    left_over,
    plan,
    run,
    some,
)

WEIGHTS = {f"blk.{i}": some(i, 400, 32) for i in range(6)}
ENCODED = {n: w.tobytes() for n, w in WEIGHTS.items()}


def made(shards: int = 1) -> Plan:
    return plan("x.gguf", [Sketch(n, Copy(n, w.shape, "BF16"), "BF16") for n, w in WEIGHTS.items()], shards=shards)


@pytest.fixture(autouse=True)
def _many_small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    from qconv.pipeline import sizing

    monkeypatch.setattr(sizing, "ROW_BLOCK", 4096)
    monkeypatch.setattr(journal_writer, "BYTES", 20_000)


def faults(call: str, tmp_path: Path, error: int = errno.EIO) -> Iterator[tuple[FaultyDisk, Path]]:
    """A disk that fails at the first use of ``call``, one that fails at the second, ...; an empty directory each."""
    for nth in range(1000):
        directory = tmp_path / str(nth)
        directory.mkdir()
        disk = FaultyDisk(call, nth, error)
        yield disk, directory
        if not disk.failed:
            assert nth or call == "read", "this call is never made"
            return
    pytest.fail("there was always one more call")


def outcome(act: Callable[..., object], *args: object, **options: object) -> QconvError | None:
    try:
        act(*args, **options)
    except QconvError as e:
        return e
    return None


def check_answer(error: QconvError | None, disk: FaultyDisk, call: str) -> None:
    """The fault is named with a file; only a failed closing may pass, since all is synced by then."""
    if error is None:
        assert call == "close" or not disk.failed
    else:
        assert isinstance(error, OutputError)
        assert "injected fault" in str(error)
        assert error.file is not None


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("call", CALLS)
def test_any_call_may_fail(tmp_path: Path, call: str, shards: int) -> None:
    """Afterwards each name holds the old file or the whole new one, and the next run ends in the right bytes."""
    right = expected(made(shards), ENCODED)
    for disk, directory in faults(call, tmp_path, errno.ENOSPC if shards == 3 else errno.EIO):
        finals = [directory / f.name for f in made(shards).files]
        for final in finals:
            final.write_bytes(b"old")
        options = RunOptions(threads=2, force=True)
        error = outcome(run, [made(shards)], Memory(WEIGHTS), [directory], options, disk=disk)
        check_answer(error, disk, call)
        for final, new in zip(finals, right, strict=True):
            assert final.read_bytes() in (b"old", new)
        run([made(shards)], Memory(WEIGHTS), [directory], RunOptions(threads=2, force=True))
        assert [f.read_bytes() for f in finals] == right
        assert left_over(directory) == [f.name for f in finals]


@pytest.mark.parametrize("call", CALLS)
def test_any_call_may_fail_while_going_on(tmp_path: Path, call: str) -> None:
    """The same, where a share of the work was done by parts."""
    right = expected(made(), ENCODED)
    for disk, directory in faults(call, tmp_path):
        for number in (1, 3):
            run([made()], Memory(WEIGHTS), [directory], RunOptions(part=Part(number, 4)))
        check_answer(outcome(run, [made()], Memory(WEIGHTS), [directory], disk=disk), disk, call)
        if left_over(directory) != ["x.gguf"]:
            run([made()], Memory(WEIGHTS), [directory])
        assert left_over(directory) == ["x.gguf"]
        assert (directory / "x.gguf").read_bytes() == right[0]


def attempt(directory: Path, disk: Disk) -> None:
    for number in (1, 2):
        run([made()], Memory(WEIGHTS), [directory], RunOptions(part=Part(number, 2)), disk=disk)
    finish([made()], [directory], disk=disk)


@pytest.mark.parametrize("call", CALLS)
def test_any_call_of_a_part_or_the_finish_may_fail(tmp_path: Path, call: str) -> None:
    right = expected(made(), ENCODED)
    for disk, directory in faults(call, tmp_path):
        error = outcome(attempt, directory, disk)
        check_answer(error, disk, call)
        if error is not None:
            attempt(directory, Disk())
        assert left_over(directory) == ["x.gguf"]
        assert (directory / "x.gguf").read_bytes() == right[0]


def test_any_read_may_fail(tmp_path: Path) -> None:
    for at in range(1000):
        directory = tmp_path / str(at)
        directory.mkdir()
        memory = Memory(WEIGHTS)

        def fail(memory: Memory = memory, at: int = at) -> None:
            if memory.reads == at:
                raise OSError(errno.EIO, "Input/output error")

        memory.before = fail
        error = outcome(run, [made()], memory, [directory], RunOptions(threads=1))
        if error is None:
            break
        assert isinstance(error, InputError)
        assert error.tensor in WEIGHTS
        assert "Input/output error" in str(error)
        assert left_over(directory) == ["x.gguf.part", "x.gguf.part.journal"]
        again = Memory(WEIGHTS)
        run([made()], again, [directory])
        assert 24 <= memory.reads + again.reads <= 25  # the other worker's block may be dropped
        assert (directory / "x.gguf").read_bytes() == expected(made(), ENCODED)[0]
    assert at > 10


def test_what_was_done_before_an_error_is_not_done_again(tmp_path: Path) -> None:
    memory = Memory(WEIGHTS)

    def fail() -> None:
        if memory.reads == 10:
            raise OSError(errno.EIO, "Input/output error")

    memory.before = fail
    with pytest.raises(InputError):
        run([made()], memory, [tmp_path], RunOptions(threads=1))
    again = Memory(WEIGHTS)
    (result,) = run([made()], again, [tmp_path], RunOptions(threads=1))
    assert result.resumed > 0
    assert 24 <= memory.reads + again.reads <= 25


def test_after_a_failed_sync_nothing_since_the_last_one_counts(tmp_path: Path) -> None:
    """The system reports a failed write-back once and then forgets which pages it lost."""

    class Broken(Disk):
        def fdatasync(self, fd: int) -> None:
            if os.fstat(fd).st_size > 100_000:
                raise OSError(errno.EIO, "Input/output error")
            super().fdatasync(fd)

    with pytest.raises(OutputError, match=r"part, tensor 'blk.\d': cannot be synced to disk: Input/output error"):
        run([made()], Memory(WEIGHTS), [tmp_path], RunOptions(threads=1), disk=Broken())
    journal = (tmp_path / "x.gguf.part.journal").read_text()
    assert "5:" not in journal
    run([made()], Memory(WEIGHTS), [tmp_path])
    assert (tmp_path / "x.gguf").read_bytes() == expected(made(), ENCODED)[0]


def test_a_full_disk_mid_way(tmp_path: Path) -> None:
    """A limit on the size of files stands in for the disk: it needs no rights to set and fails the same write."""
    script = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from tests.conversion.fakes import Memory, run
from tests.conversion.test_faults import WEIGHTS, made
from qconv.options import RunOptions
from qconv.errors import QconvError
try:
    run([made()], Memory(WEIGHTS), [Path(sys.argv[2])], RunOptions(threads=1))
except QconvError as e:
    print(e)
    sys.exit(e.exit_code)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(Path(__file__).parents[2]), str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )
    assert done.returncode == 1
    # Steps are in flight together: any tensor with an end past the limit may be the first to fail.
    assert re.search(r"x\.gguf\.part, tensor 'blk\.[345]': cannot be written: File too large", done.stdout)
    assert "the same command resumes it" in done.stdout
    assert left_over(tmp_path) == ["x.gguf.part", "x.gguf.part.journal"]
    memory = Memory(WEIGHTS)
    (result,) = run([made()], memory, [tmp_path])
    assert result.resumed > 50_000
    assert (tmp_path / "x.gguf").read_bytes() == expected(made(), ENCODED)[0]
