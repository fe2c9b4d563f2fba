"""Reading ahead: what is told is fetched once, in few requests, within its memory, whatever is read meanwhile."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from qconv.errors import InputError
from qconv.storage import ByteRange, FileIdentity, ReadAhead, read_ahead, reading_ahead

DATA = random.Random(1).randbytes(32 << 20)
WINDOW = 1 << 20
MEMORY = 6 * WINDOW


@dataclass(eq=False)
class Line:
    """A ``RangedFile`` of ``DATA`` that counts what is fetched; ``before`` is called before each fetch."""

    before: Callable[[int, int], None] = lambda offset, size: None
    ahead: ReadAhead | None = None
    fetched: list[tuple[int, int]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    name: str = "data"
    location: str = "line:data"
    size: int = len(DATA)
    sha256: str | None = None

    def fetch(self, view: memoryview, offset: int, arrived: Callable[[int], None]) -> None:
        with self.lock:
            self.fetched.append((offset, len(view)))
        self.before(offset, len(view))
        view[:] = DATA[offset : offset + len(view)]
        arrived(len(view))

    def read_into(self, view: memoryview, offset: int) -> None:
        assert self.ahead is not None
        self.ahead.read_into(self, view, offset)

    def read(self, size: int, offset: int) -> bytes:
        data = bytearray(size)
        self.read_into(memoryview(data), offset)
        return bytes(data)

    def identity(self) -> FileIdentity:
        return FileIdentity(self.location, self.size, "1")

    def prefetch(self, size: int) -> None:
        pass

    def close(self) -> None:
        pass


def check() -> None:
    pass


def rows(line: Line, offsets: list[int], size: int) -> list[ByteRange]:
    return [ByteRange(line, offset, size) for offset in offsets]


def test_neighbours_are_fetched_together_and_once() -> None:
    line = Line()
    told = rows(line, list(range(0, 16 << 20, 1 << 17)), 1 << 17)
    with reading_ahead([line], MEMORY, check) as ahead:
        ahead.follow(iter(told))
        for r in told:
            assert line.read(r.size, r.offset) == DATA[r.offset : r.offset + r.size]
    assert sorted(line.fetched) == [(start, WINDOW) for start in range(0, 16 << 20, WINDOW)]


def test_ranges_that_alternate_between_two_places_take_few_requests() -> None:
    """Weights and their scales: of each megabyte of both together one request for either."""
    line = Line()
    weights = rows(line, list(range(0, 8 << 20, 1 << 17)), 1 << 17)
    scales = rows(line, [(16 << 20) + 1024 * n for n in range(len(weights))], 1024)
    told = [r for pair in zip(weights, scales, strict=True) for r in pair]
    with reading_ahead([line], MEMORY, check) as ahead:
        ahead.follow(iter(told))
        for r in told:
            assert line.read(r.size, r.offset) == DATA[r.offset : r.offset + r.size]
    assert sum(size for _, size in line.fetched) == sum(r.size for r in told)
    assert len(line.fetched) <= 2 * 8 + 2


def test_many_threads_in_about_the_order_that_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    # a busy machine may delay a thread for longer than others have patience
    monkeypatch.setattr(read_ahead, "_PATIENCE", 60.0)
    line = Line(before=lambda offset, size: time.sleep(0.001))
    told = rows(line, list(range(0, 32 << 20, 1 << 16)), 1 << 16)
    left = iter(told)
    lock = threading.Lock()
    wrong: list[ByteRange] = []

    def work() -> None:
        while True:
            with lock:
                r = next(left, None)
            if r is None:
                return
            if line.read(r.size, r.offset) != DATA[r.offset : r.offset + r.size]:
                wrong.append(r)

    with reading_ahead([line], MEMORY, check) as ahead:
        ahead.follow(iter(told))
        threads = [threading.Thread(target=work) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(300)
            assert not thread.is_alive()
    assert wrong == []
    assert sum(size for _, size in line.fetched) == 32 << 20


def test_what_is_not_told_is_fetched_when_it_is_read() -> None:
    """Also in the middle of what is, which is not fetched again for it."""
    line = Line()
    with reading_ahead([line], MEMORY, check) as ahead:
        ahead.follow(iter(rows(line, [1 << 20], 1 << 20)))
        assert line.read(3 << 20, 0) == DATA[: 3 << 20]
    assert sorted(line.fetched) == [(0, 1 << 20), (1 << 20, 1 << 20), (2 << 20, 1 << 20)]


@pytest.mark.parametrize("seed", range(5))
def test_any_order_ends_and_stays_within_memory(seed: int) -> None:
    """What is told but never read, or read in another order, costs requests, never the bytes' truth or a deadlock."""
    random_ = random.Random(seed)
    most = 0

    def count(offset: int, size: int) -> None:
        nonlocal most
        assert line.ahead is not None
        most = max(most, line.ahead.taken)

    line = Line(before=count)
    told = rows(line, random_.sample(range(0, 32 << 20, 1 << 18), 100), 1 << 18)
    read = random_.sample(told, 60)
    with reading_ahead([line], MEMORY, check) as ahead:
        ahead.follow(iter(told))
        for r in read:
            assert line.read(r.size, r.offset) == DATA[r.offset : r.offset + r.size]
    assert most <= MEMORY


def test_an_error_reaches_who_reads() -> None:
    def fail(offset: int, size: int) -> None:
        if offset >= 2 << 20:
            raise InputError("the line is dead")

    line = Line(before=fail)
    told = rows(line, list(range(0, 4 << 20, 1 << 20)), 1 << 20)
    with reading_ahead([line], MEMORY, check) as ahead:
        ahead.follow(iter(told))
        assert line.read(1 << 20, 0) == DATA[: 1 << 20]
        with pytest.raises(InputError, match="the line is dead"):
            line.read(1 << 20, 3 << 20)


def test_a_wait_ends_when_it_is_time_to_stop() -> None:
    class Stop(Exception):
        pass

    def stop() -> None:
        raise Stop

    held = threading.Event()

    def hold(offset: int, size: int) -> None:
        held.wait(10)

    line = Line(before=hold)
    with reading_ahead([line], MEMORY, stop) as ahead:
        ahead.follow(iter(rows(line, [0], 1 << 20)))
        with pytest.raises(Stop):
            line.read(10, 0)
    held.set()


def test_files_of_this_machine_are_left_alone() -> None:
    with reading_ahead([], MEMORY, check) as ahead:
        assert ahead.memory == 0
        ahead.follow(iter([]))


def test_what_two_tensors_are_made_from_is_fetched_once() -> None:
    """As where the rows of two matrices alternate in one stored: each range is told and read twice, one after another,
    and the second read comes late.
    """
    line = Line()
    once = rows(line, list(range(0, 16 << 20, 1 << 17)), 1 << 17)
    told = [r for r in once for _ in range(2)]
    late = [*once[:4], *(r for pair in zip(once[4:], once, strict=False) for r in pair), *once[-4:]]
    with reading_ahead([line], MEMORY, check) as ahead:
        ahead.follow(iter(told))
        for r in late:
            assert line.read(r.size, r.offset) == DATA[r.offset : r.offset + r.size]
    assert sum(size for _, size in line.fetched) == 16 << 20
