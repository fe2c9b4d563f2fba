"""Measure how much better a file of a size is than llama.cpp's of that type, with the same importance matrix.

    scripts/bench quality MODEL --text CALIBRATION.txt --judge OTHER.txt

The model is calibrated on one text and judged on others, through real files in llama.cpp.  For every type a row: the
mean KL divergence of llama.cpp's file (which ``qconv convert --type`` makes byte for byte), that of ``--size`` of the
same type, how much less it is, and what was predicted.  With ``--hessians`` files of ``--size`` are rounded by them.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import qconv

TYPES = ("q2_k", "q3_k_m", "q4_k_s", "q4_k_m", "q5_k_m")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL", type=Path)
    parser.add_argument("--text", metavar="FILE", action="append", required=True, help="to calibrate on; repeatable")
    parser.add_argument("--judge", metavar="FILE", action="append", required=True, help="to judge on; repeatable")
    parser.add_argument("--types", metavar="TYPE,...", default=",".join(TYPES))
    parser.add_argument("--tokens", metavar="N", type=int, help="to calibrate with")
    parser.add_argument("--judge-tokens", metavar="N", type=int, help="of each text to judge on")
    parser.add_argument("--calibration", metavar="FILE", type=Path, help="measured before, instead of --text")
    parser.add_argument("--hessians", metavar="DIR", type=Path, help="measured before, with --calibration")
    arguments = parser.parse_args()
    types = arguments.types.split(",")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        calibration = arguments.calibration
        if calibration is None:
            calibration = qconv.calibrate(arguments.model, arguments.text, output=folder, tokens=arguments.tokens).path
        mixes = [made(arguments.model, folder / f"type-{t}.gguf", calibration, type=t) for t in types]
        sized = [
            made(arguments.model, folder / f"size-{t}.gguf", calibration, arguments.hessians, size=t) for t in types
        ]
        for text in arguments.judge:
            print(f"{arguments.model.name}, judged on {Path(text).name}")
            print(f"{'type':<8} {'bytes':>14} {'llama.cpp':>10} {'--size':>10} {'less':>7} {'predicted':>10}")
            results = qconv.evaluate([*mixes, *sized], arguments.model, text, tokens=arguments.judge_tokens)
            for type_, theirs, ours in zip(types, results[: len(types)], results[len(types) :], strict=True):
                a, b = theirs.divergence.mean, ours.divergence.mean
                told = "same file" if ours.predicted is None else f"{ours.predicted:.5f}"
                print(f"{type_:<8} {ours.size:>14,} {a:>10.5f} {b:>10.5f} {1 - b / a:>7.1%} {told:>10}", flush=True)


def made(
    model: Path,
    output: Path,
    calibration: Path,
    hessians: Path | None = None,
    *,
    type: str | None = None,
    size: str | None = None,
) -> Path:
    """A file made for a type or for its size."""
    (file,) = qconv.convert(
        model,
        type,
        size=() if size is None else size,
        imatrix=calibration,
        rounding="nearest" if hessians is None else "gptq",
        hessians=hessians,
        output=output,
        allow_requantize=True,
        memory=800_000_000,
    )
    return file


if __name__ == "__main__":
    main()
