"""Measure conversions of a checkpoint that is read over a line of a given rate, against the transfer alone.

    scripts/bench network                          # makes a checkpoint of Llama-3.2-1B's shape under build/bench
    scripts/bench network CHECKPOINT --type q8_0 --rate 200
    scripts/bench network --tokenizer DIR          # a real vocabulary: made ones have fillers, whose plan takes long

A process on this machine serves the checkpoint at ``--rate`` MB a second.  Each round reads all of it from there and
lets it go, in one stream, and then converts it; what is told is how much longer the conversion takes.  Where reading
and encoding overlap, that is starting, the headers, and what is left to do when the last byte has come.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from conversions.contestants import qconv
from conversions.measure import gigabytes, run, seconds, warm
from conversions.sources import ROOT, make_checkpoint, weights_of

BLOCK = 1 << 20
TRANSFER = "--transfer"


@contextmanager
def served(directory: Path, rate: float) -> Iterator[str]:
    """The address of a directory, served at ``rate`` bytes a second until it is left."""
    script = Path(__file__).parent / "conversions" / "throttled.py"
    with subprocess.Popen([sys.executable, script, directory, str(rate)], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def transfer(address: str) -> None:
    """Reads all of a file, and lets it go."""
    buffer = bytearray(BLOCK)
    with urllib.request.urlopen(address) as answer:
        while answer.readinto(buffer):
            pass


def main() -> None:
    if sys.argv[1:2] == [TRANSFER]:
        transfer(sys.argv[2])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, nargs="?", help="a directory with one .safetensors; by default made")
    parser.add_argument("--type", default="q8_0", help="what it is converted to (default q8_0)")
    parser.add_argument("--rate", type=float, default=200, help="MB a second (default 200)")
    parser.add_argument("--rounds", type=int, default=3, help="measurements, each told (default 3)")
    parser.add_argument("--tokenizer", type=Path, help="directory with tokenizer files for the checkpoint it makes")
    parser.add_argument("--work", type=Path, default=ROOT / "build/bench", help="where files go (default build/bench)")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    checkpoint = args.checkpoint or make_checkpoint(args.work / "Noise-1B", args.tokenizer)
    (weights,) = weights_of(checkpoint)
    size = weights.stat().st_size
    print(f"\n{checkpoint.name}, {gigabytes(size)} GB at {args.rate:g} MB/s, to {args.type}\n")
    print("| transfer s | conversion s | ratio | CPU s | peak GB | load average |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |")
    with served(checkpoint, args.rate * 1e6) as folder:
        address = f"{folder}/{weights.name}"
        for _ in range(args.rounds):
            warm([weights])
            load = os.getloadavg()[0]
            plain = run([sys.executable, __file__, TRANSFER, address])
            mine, _ = qconv(address, args.type, args.work)
            ratio = f"{mine.wall / plain.wall:.3f}"
            cells = [seconds(plain.wall), seconds(mine.wall), ratio, seconds(mine.cpu), gigabytes(mine.peak)]
            print("| " + " | ".join([*cells, f"{load:.1f}"]) + " |", flush=True)


if __name__ == "__main__":
    main()
