"""``qconv convert``: checkpoints to GGUF files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from qconv.cli.from_options import options_of, with_options
from qconv.cli.options import Debug, Json
from qconv.cli.progress import Style
from qconv.options import OUTPUT, PARTS, RUN, TYPES, ConvertOptions, RunOptions

EXAMPLES = """
Examples:
  qconv convert model.safetensors --type q4_k_m
  qconv convert ~/models/Llama-3.2-1B -t q4_k_m -o ~/gguf/Llama-3.2-1B.gguf
  qconv convert ~/models/Llama-3.2-1B -t q4_k_m,q5_k_m,q8_0   # read once
  qconv convert model-BF16.gguf -t q6_k                       # from GGUF
  qconv convert model/ -t q4_k_m --dry-run | less             # what it would do
  qconv convert hf://Qwen/Qwen3-0.6B -t q4_k_m                # no download
  qconv convert model/ -t iq4_xs --imatrix imatrix.gguf
  qconv convert model/ --size 4.5GB --imatrix model-calibration.gguf
  qconv convert model/ -t q4_k_m --tensor-type 'ffn_down=q6_k'
  qconv convert model/ -t q8_0 --split-max-size 4GB
  qconv convert Qwen3-VL-2B/ -t q4_k_m --mmproj f16           # sees images
  qconv convert model/ -t q4_k_m --adapter my-lora            # merged
  qconv convert my-lora/ -t f16 --base model/                 # for --lora

  file=$(qconv convert model/ -t q4_k_m --quiet) && llama-cli -m "$file"

Exit status:
  0 done, 1 something failed, 2 wrong usage, 130 interrupted (run it again to
  resume it). Standard output has one line per finished file: its path.
"""
SHORT = "Make GGUF files from checkpoints."

_SCREEN = "Screen"


def complete_type(incomplete: str) -> list[str]:
    """Shell completion of ``--type``, after the last comma too."""
    from qconv.policy import mixes

    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name.lower()}" for name in mixes() if name.lower().startswith(last.lower())]


def _convert(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="A .safetensors file, a directory with one or several, a model.safetensors.index.json, or a .gguf"
            " file in F32, F16 or BF16, or a quantized one with --allow-requantize; hf://ORG/NAME[@REVISION] or an"
            " https:// address of a file, ms://ORG/NAME, s3://BUCKET/FOLDER. Several are converted in turn.",
        ),
    ],
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing",
            rich_help_panel=OUTPUT,
            help="Leave a file that is there from an earlier run, and print its path.",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            "-n",
            rich_help_panel=RUN,
            help="Only print what would be made: each tensor's type and why, and the exact size of the file.",
        ),
    ] = False,
    finish: Annotated[
        bool,
        typer.Option(
            "--finish", rich_help_panel=PARTS, help="When all parts are done: check that, and give the file its name."
        ),
    ] = False,
    mix_out: Annotated[
        Path | None,
        typer.Option(
            "--mix-out", metavar="FILE.toml", rich_help_panel=TYPES, help="Save what --size chose as a table for --mix."
        ),
    ] = None,
    tensor_types_out: Annotated[
        Path | None,
        typer.Option(
            "--tensor-types-out",
            metavar="FILE",
            rich_help_panel=TYPES,
            help="Save what --size chose for llama-quantize's --tensor-type-file.",
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png",
            rich_help_panel=TYPES,
            help="Draw the sizes' predicted KL divergence, and llama.cpp's mixes beside. Needs matplotlib.",
        ),
    ] = None,
    progress: Annotated[
        Style,
        typer.Option(
            metavar="auto|json|none",
            rich_help_panel=_SCREEN,
            help="auto (the default): a bar on a terminal, a line now and then elsewhere. json: objects, one a line, on"
            " standard error. none.",
        ),
    ] = "auto",
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", rich_help_panel=_SCREEN, help="Only errors on standard error.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
    **given: Any,
) -> int:
    """Convert checkpoints to GGUF files for llama.cpp, Ollama and LM Studio.

    An interrupted conversion is resumed when the same command is run again. The file gets its name when it is
    complete; until then it is NAME.gguf.part.
    """
    from qconv.cli.convert_job import ConvertJob, run_job
    from qconv.cli.errors import ErrorOutput
    from qconv.cli.saved_choice import SavedChoice
    from qconv.errors import UsageError

    if given["part"] is not None and finish:
        raise UsageError("--part and --finish do not go together", hint="--finish comes when every part is done")
    what = options_of(ConvertOptions, given, imatrix_name=given["imatrix"])
    how = options_of(RunOptions, given)
    saved = SavedChoice(mix_out, tensor_types_out, plot)
    saved.check(len(what.wanted_sizes))
    if what.output is not None and len(sources) > 1 and not Path(what.output).is_dir():
        files = len(sources) * what.outputs
        message = f"--output names one file, but {files} are to be made"
        raise UsageError(message, file=what.output, hint="name a directory that exists")
    job = ConvertJob(what, how, dry_run, finish, skip_existing, progress, quiet, ErrorOutput(as_json, debug), saved)
    return run_job(sources, job)


convert = with_options(
    _convert, {ConvertOptions: None, RunOptions: None}, {"types": complete_type, "mmproj": complete_type}
)
