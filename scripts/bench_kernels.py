"""Measure qconv's kernels against ggml's, in one process, turn by turn.

    scripts/bench kernels                                     # every type
    scripts/bench kernels --types Q4_K --weights 16M --rounds 11
    scripts/bench kernels --decode

A ratio is ggml's CPU time over qconv's for the same weights: ``ggml_quantize_chunk`` of the ``xllamacpp`` wheel, one
thread, float32 rows of a gaussian.  Each round runs both, in alternating order, and compares their output; the table
shows the median ratio with the least and greatest.  "two threads" is how much CPU time grows when two threads take half
of the rows each, next to one thread taking all.  CPU time, because wall time is at the mercy of whoever shares the
machine.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import threading
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from check_kernels import DECODERS, ENCODERS, count, same_nan
from numpy.typing import NDArray
from reference import generators, ggml

from qconv import blocks

_COLUMNS = 4096


def clocked(work: Callable[[], Any]) -> float:
    """Seconds of this thread's CPU time."""
    start = time.thread_time()
    work()
    return time.thread_time() - start


def in_threads(work: Callable[[int, int], Any], rows: int, threads: int) -> float:
    """CPU seconds of ``threads`` threads, each calling ``work(start, stop)`` for its share of the rows."""
    spent = [0.0] * threads
    ready = threading.Barrier(threads)

    def share(number: int) -> None:
        ready.wait()
        spent[number] = clocked(lambda: work(rows * number // threads, rows * (number + 1) // threads))

    workers = [threading.Thread(target=share, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(spent)


class Contest:
    """One type, one direction: qconv's function and ggml's over the same memory."""

    def __init__(
        self, block_type: str, rows: NDArray[np.float32], importance: NDArray[np.float32] | None, decode: bool
    ) -> None:
        self.block_type, self.rows, self.importance = block_type, rows, importance
        self.decode = decode
        self.coded = ggml.encode(block_type, rows, importance)
        self.our_bytes, self.their_bytes = np.empty_like(self.coded), np.empty_like(self.coded)
        self.our_values, self.their_values = np.empty_like(rows), np.empty_like(rows)

    def run_ours(self, start: int = 0, stop: int | None = None) -> None:
        """qconv's turn."""
        if self.decode:
            blocks.decode(self.block_type, self.coded[start:stop], out=self.our_values[start:stop])
        else:
            blocks.encode(self.block_type, self.rows[start:stop], self.importance, out=self.our_bytes[start:stop])

    def run_theirs(self) -> None:
        """ggml's turn."""
        if self.decode:
            ggml.decode(self.block_type, self.coded, out=self.their_values)
        else:
            ggml.encode(self.block_type, self.rows, self.importance, out=self.their_bytes)

    def same(self) -> bool:
        """Whether both came to the same bytes."""
        if self.decode:
            return np.array_equal(same_nan(self.our_values), same_nan(self.their_values))
        return np.array_equal(self.our_bytes, self.their_bytes)

    def table_row(self, way: str, rounds: int) -> tuple[str, bool]:
        """Run the rounds; a line of the table and whether every round's output was the same."""
        self.run_ours()
        self.run_theirs()
        ratios, mine, same = [], [], True
        for number in range(rounds):
            (self.our_values if self.decode else self.our_bytes).view(np.uint8).fill(number)
            if number % 2:
                us, them = clocked(self.run_ours), clocked(self.run_theirs)
            else:
                them, us = clocked(self.run_theirs), clocked(self.run_ours)
            ratios.append(them / us)
            mine.append(us)
            same = same and self.same()
        growth = []
        for _ in range(rounds):
            one = in_threads(self.run_ours, len(self.rows), 1)
            growth.append(in_threads(self.run_ours, len(self.rows), 2) / one - 1)
        ratio, speed = statistics.median(ratios), self.rows.size / statistics.median(mine) / 1e6
        return (
            f"| {self.block_type:6} | {way:10} | {speed / ratio:9.1f} | {speed:10.0f} | {ratio:6.1f} |"
            f" {min(ratios):5.1f} to {max(ratios):5.1f} | {100 * statistics.median(growth):+7.1f} % |"
            f" {'yes' if same else 'NO':4} |"
        ), same


def processor() -> str:
    """The processor's own name."""
    facts = Path("/proc/cpuinfo")
    lines = facts.read_text().splitlines() if facts.exists() else []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def machine() -> str:
    """Processor, vector width and versions in one line."""
    from qconv.blocks.machine import lanes, target

    return (
        f"{processor()}, {os.cpu_count()} cores, compiled for {target()[1]} with {lanes()} lanes; "
        + ", ".join(f"{name} {version(name)}" for name in ("numba", "llvmlite", "numpy"))
        + f"; Python {platform.python_version()}; ggml {ggml.build()['ggml']} of {ggml.build()['wheel']}"
    )


def main() -> int:
    """Run from the command line; the exit code is 1 when any output differed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=count, default=count("4M"), help="weights a round, such as 16M")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--types", nargs="+", choices=DECODERS, metavar="TYPE")
    parser.add_argument("--decode", action="store_true", help="decoders instead of encoders")
    options = parser.parse_args()
    print(machine(), end="\n\n")
    print("| type   | importance | ggml Mw/s | qconv Mw/s | ratio  | range          | 2 threads | same |")
    print("|--------|------------|----------:|-----------:|-------:|----------------|----------:|------|")
    rows = generators.rows("gaussian 0.02", (max(2, options.weights // _COLUMNS), _COLUMNS))
    vector = generators.importance("activations", _COLUMNS)
    all_same = True
    for block_type in options.types or (DECODERS if options.decode else ENCODERS):
        for way, importance in [("", None)] if options.decode else [("", None), ("with", vector)]:
            line, same = Contest(block_type, rows, importance, options.decode).table_row(way, options.rounds)
            all_same = all_same and same
            print(line, flush=True)
    return 0 if all_same else 1


if __name__ == "__main__":
    sys.exit(main())
