"""A conversion in a process of its own that is held up half-way, for tests that interrupt it.

``python -m tests.conversion.held DIRECTORY READS [PART]``: reads after so many wait until standard input ends.
"""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path

from qconv.conversion import journal_writer
from qconv.errors import QconvError
from qconv.options import Part, RunOptions
from qconv.pipeline import sizing
from qconv.plan import Plan
from tests.conversion.fakes import Copy, Memory, Sketch, plan, run, some

WEIGHTS = {f"blk.{i}": some(i, 400, 32) for i in range(6)}
ENCODED = {n: w.tobytes() for n, w in WEIGHTS.items()}
ROW_BLOCK, BYTES, SECONDS = 1024, 4096, 0.01
"""Small steps, so that there are many moments to be interrupted at."""


def made(shards: int = 2) -> Plan:
    return plan("x.gguf", [Sketch(n, Copy(n, w.shape, "BF16"), "BF16") for n, w in WEIGHTS.items()], shards=shards)


def main(directory: str, reads: str, part: str | None = None) -> int:
    sizing.ROW_BLOCK, journal_writer.BYTES, journal_writer.SECONDS = ROW_BLOCK, BYTES, SECONDS
    numbers = itertools.count()

    def wait() -> None:
        if next(numbers) >= int(reads):
            os.read(0, 1)

    memory = Memory(WEIGHTS, before=wait)
    try:
        run([made()], memory, [Path(directory)], RunOptions(threads=2, part=Part.parse(part) if part else None))
    except QconvError as e:
        print(e, flush=True)
        return e.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
