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
import json
import math
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BLOCK = 4 << 20

LLAMA_1B = {"hidden": 2048, "layers": 16, "heads": 32, "kv-heads": 8, "ffn": 8192, "vocab": 128256}
GROWTH: dict[str, dict[str, int]] = {
    "0.3 B": {"hidden": 1024, "layers": 12, "heads": 16, "kv-heads": 8, "ffn": 4096, "vocab": 128256},
    "1.2 B": LLAMA_1B,
    "8 B": {"hidden": 4096, "layers": 34, "heads": 32, "kv-heads": 8, "ffn": 14336, "vocab": 128256},
}

RECORDED_WEIGHTS = 1.236e9
RECORDED = {"convert": (18.1, 2.46e9), "Q4_K_M": (29.9, 1.8e9), "Q8_0": (6.7, 1.8e9), "Q5_K_M": (28.3, 1.8e9)}
"""Seconds and resident bytes of llama.cpp's steps on two cores, for a Llama of that many bf16 weights."""


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
    found = Measured(time.perf_counter() - began, time.process_time() - cpu, written=size)
    target.unlink()
    return found


def weights_of(checkpoint: Path) -> list[Path]:
    files = sorted(checkpoint.glob("*.safetensors")) if checkpoint.is_dir() else [checkpoint]
    if not files:
        raise SystemExit(f"{checkpoint}: there are no .safetensors files")
    return files


def qconv(checkpoint: Path, types: str, work: Path, *options: str) -> tuple[Measured, int]:
    """qconv as a user runs it, and the size of what it made."""
    out = work / "qconv"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    command = [sys.executable, "-m", "qconv", "convert", checkpoint, "--type", types, "--output", out, "--quiet"]
    found = run([*command, *options])
    size = sum(f.stat().st_size for f in out.iterdir())
    shutil.rmtree(out)
    return found, size


class Llama:
    """llama.cpp's converter and quantizer, whichever of them there is."""

    def __init__(self, converter: str | None, quantizer: str | None, threads: int) -> None:
        place = os.environ.get("LLAMA_CPP")
        if converter is None and place is not None:
            converter = f"{shlex.quote(sys.executable)} {shlex.quote(place)}/convert_hf_to_gguf.py"
        if quantizer is None and (found := shutil.which("llama-quantize")):
            quantizer = f"{shlex.quote(found)} {{source}} {{target}} {{type}} {threads}"
        self.converter = converter
        self.quantizer = quantizer

    def measure(self, checkpoint: Path, types: Sequence[str], work: Path, weights: float) -> tuple[Measured, bool]:
        """Both steps, the second once for each type; and whether all of it was measured here."""
        half, target = work / "half.gguf", work / "llama.gguf"
        known = True
        if self.converter is not None:
            total = run([*shlex.split(self.converter), checkpoint, "--outtype", "auto", "--outfile", half])
        else:
            total, known = recorded("convert", weights), False
        for mix in types:
            if self.quantizer is not None and half.exists():
                command = self.quantizer.format(source=half, target=target, type=mix.upper())
                total += run(shlex.split(command))
                target.unlink()
            else:
                total, known = total + recorded(mix.upper(), weights), False
        half.unlink(missing_ok=True)
        return total, known


def recorded(step: str, weights: float) -> Measured:
    seconds, peak = RECORDED.get(step, (math.nan, math.nan))
    return Measured(seconds * weights / RECORDED_WEIGHTS, peak=peak)


def median(measure: Callable[[], Measured], rounds: int) -> Measured:
    """The round with the middle wall time."""
    found = sorted((measure() for _ in range(rounds)), key=lambda m: m.wall)
    return found[len(found) // 2]


def make_checkpoint(directory: Path, tokenizer: Path | None) -> Path:
    """A checkpoint of Llama-3.2-1B's shape, unless it is there from an earlier run."""
    if not (directory / "config.json").exists() or not weights_of(directory):
        print(f"making {directory} (2.5 GB, a minute)", file=sys.stderr)
        sizes = [f"--{name}={size}" for name, size in LLAMA_1B.items()]
        run([sys.executable, ROOT / "scripts/make_checkpoint", directory, *sizes])
    if tokenizer is not None:
        for file in tokenizer.glob("*token*.json"):
            shutil.copy(file, directory)
    return directory


def make_sparse(directory: Path, sizes: dict[str, int], like: Path) -> Path:
    """A checkpoint whose weights are a hole in the file: it takes no room, and all of it reads as zero."""
    directory.mkdir(parents=True, exist_ok=True)
    for file in like.glob("*.json"):
        if "safetensors" not in file.name:
            shutil.copy(file, directory)
    config = json.loads((like / "config.json").read_text())
    config |= {
        "hidden_size": sizes["hidden"],
        "num_hidden_layers": sizes["layers"],
        "num_attention_heads": sizes["heads"],
        "num_key_value_heads": sizes["kv-heads"],
        "intermediate_size": sizes["ffn"],
        "head_dim": sizes["hidden"] // sizes["heads"],
    }
    (directory / "config.json").write_text(json.dumps(config))
    header: dict[str, object] = {}
    offset = 0
    for name, shape in shapes(sizes, config["vocab_size"]):
        size = math.prod(shape) * 2
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    with (directory / "model.safetensors").open("wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        f.truncate(8 + len(text) + offset)
    return directory


def shapes(sizes: dict[str, int], vocabulary: int) -> Iterable[tuple[str, tuple[int, ...]]]:
    hidden, ffn, key = sizes["hidden"], sizes["ffn"], sizes["hidden"] // sizes["heads"] * sizes["kv-heads"]
    yield "model.embed_tokens.weight", (vocabulary, hidden)
    for layer in (f"model.layers.{i}" for i in range(sizes["layers"])):
        yield f"{layer}.input_layernorm.weight", (hidden,)
        yield f"{layer}.self_attn.q_proj.weight", (hidden, hidden)
        yield f"{layer}.self_attn.k_proj.weight", (key, hidden)
        yield f"{layer}.self_attn.v_proj.weight", (key, hidden)
        yield f"{layer}.self_attn.o_proj.weight", (hidden, hidden)
        yield f"{layer}.post_attention_layernorm.weight", (hidden,)
        yield f"{layer}.mlp.gate_proj.weight", (ffn, hidden)
        yield f"{layer}.mlp.up_proj.weight", (ffn, hidden)
        yield f"{layer}.mlp.down_proj.weight", (hidden, ffn)
    yield "model.norm.weight", (hidden,)


def gigabytes(size: float) -> str:
    return "" if math.isnan(size) else f"{size / 1e9:.2f}"


def seconds(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.1f}"


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
            found, size = qconv(checkpoint, types, args.work, f"--threads={args.threads}")
            sizes.append(size)
            return found

        mine = median(ours, args.rounds)
        bottom = median(lambda sizes=sizes: floor(sources, sizes[0], args.work), args.rounds)
        warm(sources)
        theirs, known = llama.measure(checkpoint, types.split(","), args.work, weights)
        estimated = estimated or not known
        mark = "" if known else " *"
        row(types, "qconv", mine, f"{theirs.wall / mine.wall:.1f}x{mark}", f"{mine.wall / bottom.wall:.2f}x")
        row("", f"llama.cpp{mark}", theirs, "", f"{theirs.wall / bottom.wall:.2f}x")
        row("", "floor", bottom, "", "1x")
    if estimated:
        print("\n* recorded on another machine with two cores, not measured here: llama.cpp's steps were not found")


def row(types: str, who: str, m: Measured, ratio: str, of_floor: str) -> None:
    cells = [types, who, seconds(m.wall), seconds(m.cpu), gigabytes(m.peak), gigabytes(m.written), ratio, of_floor]
    print("| " + " | ".join(cells) + " |", flush=True)


def growth(args: argparse.Namespace, checkpoint: Path) -> None:
    """Time and memory from 0.3 B to 8 B weights, of sparse sources."""
    print("\nGrowth (q4_k_m of sparse sources, whose weights are all zero)\n")
    print("| weights | wall s | CPU s | peak GB | written GB |")
    print("| --- | ---: | ---: | ---: | ---: |")
    points = []
    for name, sizes in GROWTH.items():
        sparse = make_sparse(args.work / "sparse", sizes, checkpoint)
        weights = sum(f.stat().st_size for f in weights_of(sparse)) / 2
        found = median(
            lambda sparse=sparse: qconv(sparse, "q4_k_m", args.work, f"--threads={args.threads}")[0], args.rounds
        )
        shutil.rmtree(sparse)
        points.append((weights / 1e9, found))
        cells = [seconds(found.wall), seconds(found.cpu), gigabytes(found.peak), gigabytes(found.written)]
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
    parser.add_argument("--growth", action="store_true", help="also measure how time and memory grow")
    parser.add_argument("--plot", type=Path, default=ROOT / "build/bench/growth.png", help="where the plot goes")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    checkpoint = args.checkpoint or make_checkpoint(args.work / "Noise-1B", args.tokenizer)
    against_llama(args, checkpoint)
    if args.growth:
        growth(args, checkpoint)


if __name__ == "__main__":
    main()
