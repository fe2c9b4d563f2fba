"""Killed, interrupted, refused: what is left, and that going on ends in the same bytes."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from qconv.conversion import Disk, journal, journal_writer
from qconv.errors import OutputError, UsageError
from qconv.options import Part, RunOptions
from qconv.pipeline import sizing
from qconv.plan import Plan
from tests.conversion.fakes import CALLS, Copy, Memory, Sketch, Watcher, expected, finish, left_over, plan, run, some
from tests.conversion.held import BYTES, ENCODED, ROW_BLOCK, SECONDS, WEIGHTS, made
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
RIGHT = expected(made(), ENCODED)
NAMES = [f.name for f in made().files]


@pytest.fixture(autouse=True)
def _in_small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizing, "ROW_BLOCK", ROW_BLOCK)
    monkeypatch.setattr(journal_writer, "BYTES", BYTES)
    monkeypatch.setattr(journal_writer, "SECONDS", SECONDS)


@contextmanager
def converting(directory: Path, reads: int, *more: str) -> Iterator[subprocess.Popen[str]]:
    """A conversion in another process, which waits after so many reads until its standard input is closed."""
    command = [sys.executable, "-m", "tests.conversion.held", str(directory), str(reads), *more]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


class KillingDisk(Disk):
    """Counts its calls, those of all threads together; the process is killed at the call ``last``."""

    def __init__(self, last: float = math.inf) -> None:
        self.calls = 0
        for call in CALLS:
            setattr(self, call, self._counted(getattr(self, call), last))

    def _counted(self, real: Callable[..., Any], last: float) -> Callable[..., Any]:
        def counted(*args: Any) -> Any:
            self.calls += 1
            if self.calls >= last:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args)

        return counted


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_killed_at_fifty_moments(tmp_path: Path) -> None:
    """From the first call of the system to the last, each time in a fork: it shares the interpreter, not the files."""
    whole = KillingDisk()
    (tmp_path / "whole").mkdir()
    run([made()], Memory(WEIGHTS), [tmp_path / "whole"], RunOptions(threads=2), disk=whole)
    assert whole.calls > 100
    resumed = 0
    for number in range(50):
        directory = tmp_path / str(number)
        directory.mkdir()
        child = os.fork()
        if child == 0:
            try:
                disk = KillingDisk(1 + number * whole.calls // 50)
                run([made()], Memory(WEIGHTS), [directory], RunOptions(threads=2), disk=disk)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        finals = [directory / n for n in NAMES]
        for final, right in zip(finals, RIGHT, strict=True):
            assert not final.exists() or final.read_bytes() == right
        if left_over(directory) != NAMES:
            (result,) = run([made()], Memory(WEIGHTS), [directory])
            resumed += 0 < result.resumed < made().size
        assert [f.read_bytes() for f in finals] == RIGHT
        assert left_over(directory) == NAMES
    assert resumed >= 5


def test_ctrl_c_keeps_what_is_done_though_reads_hang(tmp_path: Path) -> None:
    with converting(tmp_path, 20) as process:
        journal_path = tmp_path / f"{NAMES[0]}.part.journal"
        wait_until(lambda: journal_path.exists() and b"done" in journal_path.read_bytes())
        process.send_signal(signal.SIGINT)
        assert process.wait(300) == 130
        assert process.stdout is not None
        assert process.stdout.read() == "stopped (what is done is kept; the same command resumes it)\n"
    assert left_over(tmp_path) == [f"{NAMES[0]}.part", f"{NAMES[0]}.part.journal", f"{NAMES[1]}.part"]
    (result,) = run([made()], Memory(WEIGHTS), [tmp_path])
    assert result.resumed > 0
    assert [f.read_bytes() for f in result.files] == RIGHT


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    with converting(tmp_path, 0):
        wait_until(lambda: (tmp_path / f"{NAMES[0]}.part").exists())
        with pytest.raises(OutputError, match="another process is writing this output"):
            run([made()], Memory(WEIGHTS), [tmp_path])
    (result,) = run([made()], Memory(WEIGHTS), [tmp_path])
    assert [f.read_bytes() for f in result.files] == RIGHT


def one(options: str = "a", bits: int = 0) -> Plan:
    return plan("y.gguf", [Sketch(options, Copy("w", (400, 32), "BF16"), "BF16")])


def stop_half_way(directory: Path, made: Plan) -> None:
    """Leaves a part file with some rows recorded."""
    memory = Memory({"w": some(9, 400, 32)})

    def fail() -> None:
        if memory.reads == 5:
            raise OSError(5, "Input/output error")

    memory.before = fail
    with pytest.raises(Exception, match="Input/output error"):
        run([made], memory, [directory], RunOptions(threads=1))


def test_an_interrupted_conversion_goes_on_where_it_stopped(tmp_path: Path) -> None:
    stop_half_way(tmp_path, one())
    watcher = Watcher()
    (result,) = run([one()], Memory({"w": some(9, 400, 32)}), [tmp_path], progress=watcher)
    assert watcher.resumed == result.resumed >= 4 * 1024 * 2
    assert watcher.done == watcher.size - watcher.resumed
    assert watcher.notes == []


def test_no_resume_starts_afresh(tmp_path: Path) -> None:
    stop_half_way(tmp_path, one())
    watcher = Watcher()
    (result,) = run([one()], Memory({"w": some(9, 400, 32)}), [tmp_path], RunOptions(resume=False), watcher)
    assert watcher.resumed == result.resumed == 0
    assert watcher.notes == ["the unfinished y.gguf.part is discarded"]


def test_a_part_of_other_options_is_discarded(tmp_path: Path) -> None:
    stop_half_way(tmp_path, one("a"))
    watcher = Watcher()
    (result,) = run([one("b")], Memory({"w": some(8, 400, 32)}), [tmp_path], progress=watcher)
    assert watcher.resumed == 0
    assert watcher.notes == ["the unfinished y.gguf.part, of other options or another source, is discarded"]
    assert result.files[0].read_bytes() == expected(one("b"), {"b": some(8, 400, 32).tobytes()})[0]


@pytest.mark.parametrize("damage", ["torn", "zeroed", "flipped", "first line", "part gone", "part cut", "nonsense"])
def test_what_is_unsure_is_encoded_again(tmp_path: Path, damage: str) -> None:
    stop_half_way(tmp_path, one())
    part, log = tmp_path / "y.gguf.part", tmp_path / "y.gguf.part.journal"
    data = log.read_bytes()
    first = data.index(b"\n") + 1
    match damage:
        case "torn":
            log.write_bytes(data[:-3])
        case "zeroed":
            log.write_bytes(data[:first] + bytes(len(data) - first))
        case "flipped":
            log.write_bytes(data[: first + 20] + bytes([data[first + 20] ^ 1]) + data[first + 21 :])
        case "first line":
            log.write_bytes(data[1:])
        case "part gone":
            part.unlink()
        case "part cut":
            os.truncate(part, 100)
        case "nonsense":
            log.write_bytes(data + journal._line("done 7:0-9") + journal._line("done 0:0-999999"))
    if damage in ("torn", "zeroed", "flipped", "first line"):
        # whatever the damaged records covered must not be taken from the part file
        with part.open("r+b") as f:
            f.seek(64)
            f.write(bytes(part.stat().st_size - 64))
        log.write_bytes(log.read_bytes()[: first if damage in ("torn", "flipped") else None])
    (result,) = run([one()], Memory({"w": some(9, 400, 32)}), [tmp_path])
    assert result.files[0].read_bytes() == expected(one(), {"a": some(9, 400, 32).tobytes()})[0]


def test_a_record_appended_after_a_torn_one_counts(tmp_path: Path) -> None:
    """The torn end is cut off before the next run writes its own records."""
    stop_half_way(tmp_path, one())
    log = tmp_path / "y.gguf.part.journal"
    log.write_bytes(log.read_bytes() + b"0123")
    stop_half_way(tmp_path, one())
    parsed = journal.parse(log.read_bytes())
    assert parsed is not None
    assert parsed.size == log.stat().st_size
    assert sum(rows.count for rows in parsed.done.values()) >= 2 * 4 * 32


def test_parts_in_several_processes_and_a_finish(tmp_path: Path) -> None:
    whole = made()
    with ExitStack() as stack:
        first = [stack.enter_context(converting(tmp_path, 1, f"{n}/5")) for n in (1, 2, 4)]
        wait_until(lambda: all((tmp_path / f"{NAMES[0]}.part.journal.{n}of5").exists() for n in (1, 2, 4)))
        with pytest.raises(OutputError, match="another process is writing this output"):
            finish([whole], [tmp_path])
        for process in first:
            process.communicate(timeout=300)
        assert [process.returncode for process in first] == [0, 0, 0]
    with pytest.raises(OutputError, match=r"'blk.2' and 3 more tensors are not done \(do every part first"):
        finish([whole], [tmp_path])
    for n in (3, 5):
        (result,) = run([whole], Memory(WEIGHTS), [tmp_path], RunOptions(part=Part(n, 5)))
        assert not result.complete
    assert not any((tmp_path / n).exists() for n in NAMES)
    (result,) = finish([whole], [tmp_path])
    assert [f.read_bytes() for f in result.files] == RIGHT
    assert left_over(tmp_path) == NAMES


def test_a_whole_run_takes_over_what_parts_have_done(tmp_path: Path) -> None:
    run([made()], Memory(WEIGHTS), [tmp_path], RunOptions(part=Part(2, 3)))
    (result,) = run([made()], Memory(WEIGHTS), [tmp_path])
    assert result.resumed > 0
    assert [f.read_bytes() for f in result.files] == RIGHT
    assert left_over(tmp_path) == NAMES


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def run_parts(directory: Path, made: Plan) -> None:
    for number in (1, 2):
        run([made], Memory({"w": some(9, 400, 32)}), [directory], RunOptions(part=Part(number, 2)))


def test_a_finish_without_parts_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"y.gguf.part: no part of this conversion is here \(do every part"):
        finish([one()], [tmp_path], RunOptions(force=True))
    assert left_over(tmp_path) == []


def test_a_finish_that_cannot_be_leaves_the_parts_as_they_are(tmp_path: Path) -> None:
    run_parts(tmp_path, one("a"))
    before = files(tmp_path)
    with pytest.raises(OutputError, match="is of other options, another source or another version"):
        finish([one("b")], [tmp_path], RunOptions(force=True))
    with pytest.raises(UsageError, match="--finish and --no-resume do not go together"):
        finish([one("a")], [tmp_path], RunOptions(resume=False))
    assert files(tmp_path) == before
    (result,) = finish([one("a")], [tmp_path])
    assert result.files[0].read_bytes() == expected(one("a"), {"a": some(9, 400, 32).tobytes()})[0]


def test_a_finish_after_the_part_file_is_gone(tmp_path: Path) -> None:
    """What only the journals of shares record must be in the file too."""
    run_parts(tmp_path, one())
    (tmp_path / "y.gguf.part").unlink()
    with pytest.raises(OutputError, match=r"has lost what its parts wrote \(do the parts again"):
        finish([one()], [tmp_path])
    run_parts(tmp_path, one())
    (result,) = finish([one()], [tmp_path])
    assert result.files[0].read_bytes() == expected(one(), {"a": some(9, 400, 32).tobytes()})[0]


def test_a_finish_completes_all_outputs_or_none(tmp_path: Path) -> None:
    run_parts(tmp_path, one())
    other = made(shards=1)
    run([other], Memory(WEIGHTS), [tmp_path], RunOptions(part=Part(1, 2)))
    with pytest.raises(OutputError, match=r"x.gguf.part: .* not done"):
        finish([one(), other], [tmp_path, tmp_path])
    assert not (tmp_path / "y.gguf").exists()


@pytest.mark.parametrize("again", [RunOptions(), RunOptions(part=Part(1, 2), resume=False)])
def test_a_part_keeps_those_of_other_options(tmp_path: Path, again: RunOptions) -> None:
    """A whole run, or ``--no-resume``, starts afresh."""
    run_parts(tmp_path, one("a"))
    before = files(tmp_path)
    memory = Memory({"w": some(9, 400, 32)})
    with pytest.raises(OutputError, match=r"holds finished parts of other options .*--no-resume discards them"):
        run([one("b")], memory, [tmp_path], RunOptions(part=Part(1, 2), force=True))
    assert files(tmp_path) == before
    watcher = Watcher()
    run([one("b")], memory, [tmp_path], again, watcher)
    assert watcher.notes == ["the unfinished y.gguf.part, of other options or another source, is discarded"]
