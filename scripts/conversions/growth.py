"""How time and memory grow with the number of weights."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

from conversions.contestants import qconv
from conversions.measure import Measured, gigabytes, median, seconds
from conversions.sources import LLAMA_1B, make_sparse, weights_of

GROWTH: dict[str, dict[str, int]] = {
    "0.3 B": {"hidden": 1024, "layers": 12, "heads": 16, "kv-heads": 8, "ffn": 4096, "vocab": 128256},
    "1.2 B": LLAMA_1B,
    "8 B": {"hidden": 4096, "layers": 34, "heads": 32, "kv-heads": 8, "ffn": 14336, "vocab": 128256},
}


def growth(args: argparse.Namespace, checkpoint: Path) -> None:
    """Time and memory from 0.3 B to 8 B weights, of sparse sources."""
    print("\nGrowth (q4_k_m of sparse sources, whose weights are all zero)\n")
    print("| weights | wall s | CPU s | peak GB | written GB |")
    print("| --- | ---: | ---: | ---: | ---: |")
    points = []
    for name, sizes in GROWTH.items():
        sparse = make_sparse(args.work / "sparse", sizes, checkpoint)
        weights = sum(f.stat().st_size for f in weights_of(sparse)) / 2

        def once(sparse: Path = sparse) -> Measured:
            return qconv(sparse, "q4_k_m", args.work, f"--threads={args.threads}")[0]

        measured = median(once, args.rounds)
        shutil.rmtree(sparse)
        points.append((weights / 1e9, measured))
        cells = [seconds(measured.wall), seconds(measured.cpu), gigabytes(measured.peak), gigabytes(measured.written)]
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    try:
        plot(points, args.plot)
    except ImportError:
        print("\nno plot: matplotlib is not installed (pip install 'qconv[plot]')")


def plot(points: Sequence[tuple[float, Measured]], path: Path) -> None:
    """Wall time and peak memory over weights, as a PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    weights = [w for w, _ in points]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    left.plot(weights, [m.wall for _, m in points], "o-")
    left.set(xlabel="weights (billions)", ylabel="seconds", title="Time", ylim=(0, None), xlim=(0, None))
    right.plot(weights, [m.peak / 1e6 for _, m in points], "o-")
    right.axhline(400, linestyle="--", color="gray")
    right.set(xlabel="weights (billions)", ylabel="megabytes", title="Peak resident memory", xlim=(0, None))
    right.set_ylim(0, max(450, *(m.peak / 1e6 for _, m in points)))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    print(f"\n{path}")
