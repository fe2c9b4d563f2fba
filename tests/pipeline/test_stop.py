"""How soon Ctrl-C stops a conversion, counted in steps and in a clock of the test's own, not on the wall.

A stop takes what the steps begun before it take, and the time that the main thread waits for those that hang.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qconv import blocks
from qconv.conversion import journal_writer
from qconv.conversion.part_files import PartFiles
from qconv.errors import Interrupted
from qconv.options import RunOptions
from qconv.pipeline import Cancellation, encoding, run_workers, sizing, workers
from tests.conversion.fakes import Copy, Memory, Sketch, plan, run, some

THREADS, WORKERS = 2, 3
"""One worker more than threads, to read and write while the others encode."""
ROWS, COLUMNS = 400, 32


class Steps:
    """What is read, encoded and written, in order.  The tenth step of the kind ``at`` presses Ctrl-C; it, and every
    step of that kind begun then, lasts until the workers have been told to stop."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
        self.begun: list[str] = []
        self.told = 0
        """How many steps had begun when the workers were told to stop."""
        self._at, self._now, self._lock = at, threading.Event(), threading.Lock()
        self._count(monkeypatch, blocks, "encode")
        self._count(monkeypatch, PartFiles, "write")
        when_told(monkeypatch, self._tell)

    def _tell(self) -> None:
        self.told = len(self.begun)
        self._now.set()

    def _count(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        real: Callable[..., Any] = getattr(owner, name)

        def counted(*args: Any, **options: Any) -> Any:
            self.step(name)
            return real(*args, **options)

        monkeypatch.setattr(owner, name, counted)

    def step(self, name: str) -> None:
        with self._lock:
            self.begun.append(name)
            number = self.begun.count(name)
        if name == self._at and number >= 10:
            if number == 10:
                press_ctrl_c()
            assert self._now.wait(60)


def when_told(monkeypatch: pytest.MonkeyPatch, act: Callable[[], None]) -> None:
    """Calls ``act`` once, when the workers have been told to stop."""
    real, told = Cancellation.because, threading.Event()

    def because(stop: Cancellation, error: BaseException) -> None:
        real(stop, error)
        if not told.is_set():
            told.set()
            act()

    monkeypatch.setattr(Cancellation, "because", because)


def press_ctrl_c() -> None:
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGINT)


def convert(directory: Path, before: Callable[[], None]) -> None:
    weights = {f"blk.{i}": some(i, ROWS, COLUMNS) for i in range(6)}
    made = plan("x.gguf", [Sketch(n, Copy(n, w.shape, "BF16"), "Q8_0") for n, w in weights.items()])
    run([made], Memory(weights, before=before), [directory], RunOptions(threads=THREADS))


@pytest.mark.parametrize("at", ["read", "encode", "write"])
def test_each_worker_ends_the_step_it_is_at_and_begins_at_most_one(
    at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizing, "ROW_BLOCK", COLUMNS * 16)
    monkeypatch.setattr(
        encoding, "SLICE", COLUMNS * 2
    )  # eight slices a row block: a stop need not wait for all of them
    steps = Steps(monkeypatch, at)
    with pytest.raises(Interrupted, match="stopped"):
        convert(tmp_path, lambda: steps.step("read"))
    assert steps.told >= 10
    assert len(steps.begun) - steps.told <= WORKERS
    assert steps.begun.count("read") < 6 * ROWS // 16


def test_threads_that_hang_are_waited_for_less_than_a_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every worker hangs in a read.  Once they are told to stop, waiting takes no time here but moves the clock on."""
    hanging, awake, told = threading.Barrier(WORKERS), threading.Event(), threading.Event()
    clock, known = [0.0], set(threading.enumerate())

    class Clocked(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            if timeout is None or not told.is_set():
                return super().wait(timeout)
            clock[0] += 0 if self.is_set() else timeout
            return self.is_set()

    def hang() -> None:
        if hanging.wait(60) == 0:
            press_ctrl_c()
        assert awake.wait(60)

    when_told(monkeypatch, told.set)
    monkeypatch.setattr(threading, "Event", Clocked)
    for module in (workers, journal_writer):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(sizing, "ROW_BLOCK", COLUMNS * 16)
    try:
        with pytest.raises(Interrupted, match="stopped"):
            convert(tmp_path, hang)
        assert 0 < clock[0] < 1
    finally:
        awake.set()
        for thread in set(threading.enumerate()) - known:
            thread.join(60)


def test_ctrl_c_does_not_wait_for_the_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is it raised inside: the compiler works in another thread."""
    compiling, threads = threading.Event(), []

    def compile_(*args: Any, **options: Any) -> None:
        threads.append(threading.current_thread())
        press_ctrl_c()
        assert compiling.wait(60)

    monkeypatch.setattr(blocks, "encode", compile_)
    reads: list[str] = []
    try:
        with pytest.raises(Interrupted, match="stopped"):
            convert(tmp_path, lambda: reads.append("read"))
    finally:
        compiling.set()
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()
    assert reads == []
    threads[0].join(60)


def test_files_of_a_thread_that_hangs_are_not_closed_under_it() -> None:
    """The thread that is being waited for when Ctrl-C comes."""
    awake, cancellation = threading.Event(), Cancellation()

    def hang(task: int, space: None) -> None:
        press_ctrl_c()
        awake.wait(60)

    try:
        with pytest.raises(KeyboardInterrupt):
            run_workers([1], hang, [None], cancellation)
        assert cancellation.abandoned
    finally:
        awake.set()
