"""Measure whole conversions against llama.cpp's two steps, and against plain reading and writing.

    scripts/bench convert                          # makes a checkpoint of Llama-3.2-1B's shape under build/bench
    scripts/bench convert CHECKPOINT --types q4_k_m,q8_0
    scripts/bench convert --growth                 # also 0.3 B, 1.2 B and 8 B weights, with a plot (needs matplotlib)
    LLAMA_CPP=~/llama-cpp-python-0.3.36/vendor/llama.cpp scripts/bench convert

llama.cpp is measured when it is there: ``--converter`` (by default ``convert_hf_to_gguf.py`` in $LLAMA_CPP) and
``--quantizer`` (by default ``llama-quantize`` on the PATH).  Otherwise the times recorded on two cores stand in, scaled
by the number of weights, and the table says so.

The source is read once before each measurement, so that every contestant finds it in the page cache.  "floor" is
reading the source and writing as many bytes as the output has, in blocks of 4 MiB, to disk: what no converter can beat.
"written" is what the kernel counts for the process.  Every contestant's output is removed before the next one starts.
"""

from __future__ import annotations

import argparse
import functools
import os
from pathlib import Path

from conversions.contestants import Llama, qconv
from conversions.growth import growth
from conversions.measure import Measured, floor, gigabytes, median, seconds, warm
from conversions.quantized import METHODS, make_quantized
from conversions.sources import ROOT, make_checkpoint, weights_of


def against_llama(args: argparse.Namespace, checkpoint: Path) -> None:
    """The table of types: qconv, llama.cpp, and the floor."""
    sources = weights_of(checkpoint)
    weights = sum(f.stat().st_size for f in sources) / 2
    llama = Llama(args.converter, args.quantizer, args.threads)
    print(f"\n{checkpoint.name}: {weights / 1e9:.2f} B weights, {args.threads} threads, median of {args.rounds}\n")
    print("| type | | wall s | CPU s | peak GB | written GB | qconv is | of the floor |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    estimated = False
    for types in args.types:
        sizes: list[int] = []

        def ours(types: str = types, sizes: list[int] = sizes) -> Measured:
            warm(sources)
            measured, size = qconv(checkpoint, types, args.work, f"--threads={args.threads}")
            sizes.append(size)
            return measured

        mine = median(ours, args.rounds)
        bottom = median(functools.partial(floor, sources, sizes[0], args.work), args.rounds)
        warm(sources)
        theirs, known = llama.measure(checkpoint, types.split(","), args.work, weights)
        estimated = estimated or not known
        mark = "" if known else " *"
        row(types, "qconv", mine, f"{theirs.wall / mine.wall:.1f}x{mark}", f"{mine.wall / bottom.wall:.2f}x")
        row("", f"llama.cpp{mark}", theirs, "", f"{theirs.wall / bottom.wall:.2f}x")
        row("", "floor", bottom, "", "1x")
    if estimated:
        print("\n* recorded on another machine with two cores, not measured here: llama.cpp's steps were not found")


def against_plain(args: argparse.Namespace, checkpoint: Path) -> None:
    """Quantized sources next to the same shapes in 16 bits, by one type."""
    types = args.types[0]
    print(f"\n{checkpoint.name} to {types}, {args.threads} threads, median of {args.rounds}\n")
    print("| source | wall s | CPU s | peak GB | of bf16's time |")
    print("| --- | ---: | ---: | ---: | ---: |")
    plain: Measured | None = None
    for method in ("bf16", *(METHODS if "all" in args.source else args.source)):
        source = checkpoint
        if method != "bf16":
            source = make_quantized(args.work / f"{checkpoint.name}-{method}", checkpoint, method)

        def ours(source: Path = source) -> Measured:
            warm(weights_of(source))
            return qconv(source, types, args.work, f"--threads={args.threads}")[0]

        mine = median(ours, args.rounds)
        plain = plain or mine
        cells = [method, seconds(mine.wall), seconds(mine.cpu), gigabytes(mine.peak), f"{mine.wall / plain.wall:.2f}x"]
        print("| " + " | ".join(cells) + " |", flush=True)


def row(types: str, who: str, m: Measured, ratio: str, of_floor: str) -> None:
    cells = [types, who, seconds(m.wall), seconds(m.cpu), gigabytes(m.peak), gigabytes(m.written), ratio, of_floor]
    print("| " + " | ".join(cells) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, nargs="?", help="a directory; by default one is made")
    parser.add_argument(
        "--types", nargs="+", default=["q4_k_m", "q8_0", "q4_k_m,q5_k_m,q8_0"], help="each what one run makes"
    )
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="default: all cores")
    parser.add_argument("--rounds", type=int, default=3, help="measurements, of which the median counts (default 3)")
    parser.add_argument("--converter", help="command of llama.cpp's converter, up to its arguments")
    parser.add_argument("--quantizer", help="command with {source}, {target} and {type} in it")
    parser.add_argument("--tokenizer", type=Path, help="directory with tokenizer files for the checkpoint it makes")
    parser.add_argument("--work", type=Path, default=ROOT / "build/bench", help="where files go (default build/bench)")
    parser.add_argument(
        "--source", nargs="+", choices=(*METHODS, "all"), help="measure sources quantized so instead, next to 16 bits"
    )
    parser.add_argument("--growth", action="store_true", help="also measure how time and memory grow")
    parser.add_argument("--plot", type=Path, default=ROOT / "build/bench/growth.png", help="where the plot goes")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    checkpoint = args.checkpoint or make_checkpoint(args.work / "Noise-1B", args.tokenizer)
    if args.source:
        against_plain(args, checkpoint)
        return
    against_llama(args, checkpoint)
    if args.growth:
        growth(args, checkpoint)


if __name__ == "__main__":
    main()
