"""``qconv calibrate``: which weights of a model matter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qconv.cli.from_options import options_of, with_options
from qconv.cli.options import Debug, Json
from qconv.cli.progress import Style
from qconv.options import CalibrateOptions, RunOptions

if TYPE_CHECKING:
    from qconv.measurement import Calibrated

SHORT = "Measure which weights matter."
EXAMPLES = """
Examples:
  qconv calibrate ~/models/Llama-3.2-1B --text mixed.txt
  qconv calibrate model-BF16.gguf --text prose.txt --text code.txt
  qconv calibrate ~/models/Llama-3.1-70B --text mixed.txt --base q8_0
  qconv calibrate ~/models/Llama-3.2-1B --text mixed.txt --hessians
  qconv convert ~/models/Llama-3.2-1B --size q4_k_m \\
    --imatrix ~/models/Llama-3.2-1B/Llama-3.2-1B-calibration.gguf

Exit status:
  0 done, 1 something failed, 2 wrong usage, 130 interrupted (run it again to
  go on). Standard output has one line: the path of the file.
"""
_STYLE = "auto|json|none"


def _calibrate(
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="A checkpoint as for 'qconv convert', or a GGUF file, not quantized yet."),
    ],
    progress: Annotated[Style, typer.Option(metavar=_STYLE, help="What to show on standard error meanwhile.")] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only errors on standard error.")] = False,
    as_json: Json = False,
    debug: Debug = False,
    **given: Any,
) -> int:
    """Run a model on a text and measure which of its weights matter.

    The outcome is an importance matrix, which llama-quantize reads too, with the sensitivity of every tensor beside.
    'qconv convert --imatrix FILE --size SIZE' makes the best file of a size with it. Needs llama.cpp, which
    pip install 'qconv[runtime]' brings.
    """
    from contextlib import closing

    from qconv import measurement
    from qconv.cli import screen
    from qconv.cli.progress import progress as shown
    from qconv.cli.progress import tokens

    wanted, run = options_of(CalibrateOptions, given), options_of(RunOptions, given)
    with closing(shown(progress, quiet, Path(model).name, tokens)) as told:
        done = measurement.calibrate(model, wanted, run, told)
    if not quiet:
        for line in _lines(done):
            screen.note(line)
    screen.result(json.dumps(_object(done)) if as_json else str(done.path))
    return 0


calibrate = with_options(_calibrate, {CalibrateOptions: None, RunOptions: ("force", "threads", "memory", "resume")})


def _lines(done: Calibrated) -> list[str]:
    m = done.measurements
    told = f"measured on {m.tokens:,} tokens"
    if m.sensitivities:
        total = sum(s.kl for s in m.sensitivities.values())
        worst = sorted(m.sensitivities, key=lambda name: -m.sensitivities[name].kl)[:3]
        if total > 0:
            named = ", ".join(f"{name} ({m.sensitivities[name].kl / total:.0%})" for name in worst)
            told += f"; 3 bits everywhere would cost most in {named}"
    written = [] if done.hessians is None else [f"Hessians are in {done.hessians}/"]
    return [told, *written, *done.notes]


def _object(done: Calibrated) -> dict[str, Any]:
    m = done.measurements
    return {
        "file": str(done.path),
        "tokens": m.tokens,
        "context": m.context,
        "base": m.base,
        "scale": m.scale,
        "sensitivities": {
            name: {"kl_divergence": s.kl, "standard_error": s.deviation, "disturbance": s.disturbance}
            for name, s in m.sensitivities.items()
        },
        "hessians": None if done.hessians is None else str(done.hessians),
        "notes": list(done.notes),
    }
