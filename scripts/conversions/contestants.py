"""The converters that are measured: qconv and llama.cpp's two steps."""

from __future__ import annotations

import math
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from conversions.measure import Measured, run

RECORDED_WEIGHTS = 1.236e9
RECORDED = {"convert": (18.1, 2.46e9), "Q4_K_M": (29.9, 1.8e9), "Q8_0": (6.7, 1.8e9), "Q5_K_M": (28.3, 1.8e9)}
"""Seconds and resident bytes of llama.cpp's steps on two cores, for a Llama of that many bf16 weights."""


def qconv(checkpoint: Path | str, types: str, work: Path, *options: str) -> tuple[Measured, int]:
    """qconv as a user runs it, and the size of what it made."""
    out = work / "qconv"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    command: list[str | Path] = [sys.executable, "-m", "qconv", "convert", checkpoint, "--type", types]
    measured = run([*command, "--output", out, "--quiet", *options])
    size = sum(f.stat().st_size for f in out.iterdir())
    shutil.rmtree(out)
    return measured, size


class Llama:
    """llama.cpp's converter and quantizer, whichever of them there is."""

    def __init__(self, converter: str | None, quantizer: str | None, threads: int) -> None:
        place = os.environ.get("LLAMA_CPP")
        if converter is None and place is not None:
            converter = f"{shlex.quote(sys.executable)} {shlex.quote(place)}/convert_hf_to_gguf.py"
        if quantizer is None and (program := shutil.which("llama-quantize")):
            quantizer = f"{shlex.quote(program)} {{source}} {{target}} {{type}} {threads}"
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
