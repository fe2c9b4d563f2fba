"""A process measured from outside, and the numbers of it as text."""

from __future__ import annotations

import math
import os
import shlex
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

BLOCK = 4 << 20


@dataclass(frozen=True)
class Measured:
    """Seconds of wall and CPU time; bytes resident at most, and bytes written."""

    wall: float
    cpu: float = math.nan
    peak: float = math.nan
    written: float = math.nan

    def __add__(self, other: Measured) -> Measured:
        peak = max(self.peak, other.peak)
        return Measured(self.wall + other.wall, self.cpu + other.cpu, peak, self.written + other.written)


def run(command: Sequence[str | Path]) -> Measured:
    """One process, measured by what the kernel says when it has ended."""
    began = time.perf_counter()
    process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{shlex.join(map(str, command))}\nexit code {process.returncode}\n{said.decode()[-4000:]}")
    return Measured(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, usage.ru_oublock * 512)


def warm(files: Iterable[Path]) -> None:
    """Reads files into the page cache."""
    buffer = bytearray(BLOCK)
    for file in files:
        with file.open("rb", buffering=0) as f:
            while f.readinto(buffer):
                pass


def floor(sources: Sequence[Path], size: int, work: Path) -> Measured:
    """Reading the sources and writing ``size`` bytes, one after the other, in this process."""
    buffer, target = bytearray(os.urandom(BLOCK)), work / "floor"
    began, cpu = time.perf_counter(), time.process_time()
    warm(sources)
    with target.open("wb", buffering=0) as f:
        for left in range(size, 0, -BLOCK):
            f.write(memoryview(buffer)[: min(left, BLOCK)])
        os.fsync(f.fileno())
    measured = Measured(time.perf_counter() - began, time.process_time() - cpu, written=size)
    target.unlink()
    return measured


def median(measure: Callable[[], Measured], rounds: int) -> Measured:
    """The round with the middle wall time."""
    measured = sorted((measure() for _ in range(rounds)), key=lambda m: m.wall)
    return measured[len(measured) // 2]


def gigabytes(size: float) -> str:
    return "" if math.isnan(size) else f"{size / 1e9:.2f}"


def seconds(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.1f}"
