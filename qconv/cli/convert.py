"""``qconv convert``: checkpoints to GGUF files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from qconv.cli.options import Debug, Json
from qconv.cli.progress import Style

EXAMPLES = """
Examples:
  qconv convert model.safetensors --type q4_k_m
  qconv convert ~/models/Llama-3.2-1B -t q4_k_m -o ~/gguf/Llama-3.2-1B.gguf
  qconv convert ~/models/Llama-3.2-1B -t q4_k_m,q5_k_m,q8_0   # read once
  qconv convert model-BF16.gguf -t q6_k                       # from GGUF
  qconv convert model/ -t q4_k_m --dry-run | less             # what it would do
  qconv convert model/ -t iq4_xs --imatrix imatrix.gguf
  qconv convert model/ -t q4_k_m --tensor-type 'ffn_down=q6_k'
  qconv convert model/ -t q8_0 --split-max-size 4GB

  file=$(qconv convert model/ -t q4_k_m --quiet) && llama-cli -m "$file"

Exit status:
  0 done, 1 something failed, 2 wrong usage, 130 interrupted (run it again to
  go on). Standard output has one line per finished file: its path.
"""
SHORT = "Make GGUF files from checkpoints."

_TYPES, _IMPORTANCE, _MODEL = "Types", "Importance matrix", "Model"
_OUTPUT, _RUN, _PARTS, _SCREEN = "Output", "Running", "Parts", "Screen"


def complete_type(incomplete: str) -> list[str]:
    """Shell completion of ``--type``, after the last comma too."""
    from qconv.policy import mixes

    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name.lower()}" for name in mixes() if name.lower().startswith(last.lower())]


def convert(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="SOURCE",
            help="A .safetensors file, a directory with one or several, a model.safetensors.index.json, or a .gguf"
            " file in F32, F16 or BF16, or a quantized one with --allow-requantize. Several are converted one"
            " after the other.",
        ),
    ],
    types: Annotated[
        list[str] | None,
        typer.Option(
            "--type",
            "-t",
            metavar="TYPE",
            autocompletion=complete_type,
            rich_help_panel=_TYPES,
            help="What to make: q4_k_m, q5_k_m, q6_k, q8_0, bf16, ... in any case. Several, repeated or with commas,"
            " are made from one reading of the source.",
        ),
    ] = None,
    mix: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", rich_help_panel=_TYPES, help="A mix of your own, as the tables in formats/mixes/."
        ),
    ] = None,
    tensor_type: Annotated[
        list[str] | None,
        typer.Option(
            metavar="REGEX=TYPE",
            rich_help_panel=_TYPES,
            help="Block type for tensors whose GGUF name matches. Repeatable; the first that matches counts.",
        ),
    ] = None,
    output_tensor_type: Annotated[
        str | None,
        typer.Option(metavar="TYPE", rich_help_panel=_TYPES, help="Block type for output.weight."),
    ] = None,
    token_embedding_type: Annotated[
        str | None,
        typer.Option(metavar="TYPE", rich_help_panel=_TYPES, help="Block type for token_embd.weight."),
    ] = None,
    pure: Annotated[
        bool, typer.Option("--pure", rich_help_panel=_TYPES, help="The mix's main block type for every tensor.")
    ] = False,
    leave_output_tensor: Annotated[
        bool,
        typer.Option("--leave-output-tensor", rich_help_panel=_TYPES, help="Do not quantize output.weight."),
    ] = False,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            rich_help_panel=_TYPES,
            help="Stop before work starts when a tensor's rows do not fit its type, instead of taking another type.",
        ),
    ] = False,
    allow_requantize: Annotated[
        bool,
        typer.Option(
            "--allow-requantize",
            rich_help_panel=_TYPES,
            help="Quantize what is quantized already, which loses more than quantizing the original.",
        ),
    ] = False,
    search: Annotated[
        Literal["reference", "thorough"],
        typer.Option(
            metavar="reference|thorough",
            rich_help_panel=_TYPES,
            help="reference (the default): llama.cpp's bytes. thorough: smaller error in the same format, more time.",
        ),
    ] = "reference",
    imatrix: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", rich_help_panel=_IMPORTANCE, help="An importance matrix of llama-imatrix, GGUF or .dat."
        ),
    ] = None,
    include_weights: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", rich_help_panel=_IMPORTANCE, help="Use it for these tensors only. Repeatable."),
    ] = None,
    exclude_weights: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", rich_help_panel=_IMPORTANCE, help="Do not use it for these. Repeatable."),
    ] = None,
    arch: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=_MODEL,
            help="general.architecture for a lone safetensors file, whose tensor names are kept.",
        ),
    ] = None,
    pre: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", rich_help_panel=_MODEL, help="The tokenizer's pre-tokenizer, when it is not known."
        ),
    ] = None,
    override_kv: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=TYPE:VALUE",
            rich_help_panel=_MODEL,
            help="Set a metadata key; TYPE is int, float, bool or str. Repeatable.",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE|DIR",
            rich_help_panel=_OUTPUT,
            help="Where to write. By default beside the source, named as llama.cpp's converter names files.",
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", rich_help_panel=_OUTPUT, help="Replace a file that exists.")
    ] = False,
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing",
            rich_help_panel=_OUTPUT,
            help="Leave a file that is there from an earlier run, and print its path.",
        ),
    ] = False,
    split_max_size: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            rich_help_panel=_OUTPUT,
            help="Split into files of at most SIZE, such as 4GB, as llama.cpp does.",
        ),
    ] = None,
    manifest: Annotated[
        bool,
        typer.Option(
            "--manifest",
            rich_help_panel=_OUTPUT,
            help="Also write NAME.gguf.json: sources, options, and each tensor's origin, type and SHA-256.",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            "-n",
            rich_help_panel=_RUN,
            help="Only print what would be made: each tensor's type and why, and the exact size of the file.",
        ),
    ] = False,
    threads: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, rich_help_panel=_RUN, help="By default all cores this process may use."),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(metavar="SIZE", rich_help_panel=_RUN, help="Stay under this much memory. By default 400MB."),
    ] = None,
    no_resume: Annotated[
        bool,
        typer.Option(
            "--no-resume", rich_help_panel=_RUN, help="Start afresh instead of going on where an earlier run stopped."
        ),
    ] = False,
    part: Annotated[
        str | None,
        typer.Option(
            metavar="I/N", rich_help_panel=_PARTS, help="Carry out the I-th of N parts of the work, then stop."
        ),
    ] = None,
    finish: Annotated[
        bool,
        typer.Option(
            "--finish", rich_help_panel=_PARTS, help="When all parts are done: check that, and give the file its name."
        ),
    ] = False,
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
) -> int:
    """Convert checkpoints to GGUF files for llama.cpp, Ollama and LM Studio.

    A conversion that was interrupted goes on where it stopped when the same command is run again. The file gets its
    name when it is complete; until then it is NAME.gguf.part.
    """
    from qconv.cli.carry_out import Wish, carry_out
    from qconv.cli.checks import output_path, split_types
    from qconv.cli.outcome import Manner
    from qconv.cli.sizes import parse_size
    from qconv.convert import Options, Part
    from qconv.errors import UsageError
    from qconv.plan import Request
    from qconv.plan.record import recorded
    from qconv.policy import split_tensor_type

    names = split_types(types or [])
    if not names and mix is None:
        raise UsageError("no type is named", hint="--type q4_k_m is the usual choice, --type q8_0 the safe one")
    if part is not None and finish:
        raise UsageError("--part and --finish do not go together", hint="--finish comes when every part is done")
    request = Request(
        types=names,
        mix=mix,
        output=output_path(output, len(sources) * max(1, len(names))),
        tensor_types=tuple(split_tensor_type(text) for text in tensor_type or []),
        output_tensor_type=output_tensor_type,
        token_embedding_type=token_embedding_type,
        pure=pure,
        leave_output_tensor=leave_output_tensor,
        override_kv=tuple(override_kv or []),
        allow_requantize=allow_requantize,
        arch=arch,
        pre=pre,
        imatrix=None if imatrix is None else Path(imatrix),
        imatrix_name=imatrix,  # a path would not keep it as it was written
        include_weights=tuple(include_weights or []),
        exclude_weights=tuple(exclude_weights or []),
        search=search,
        split_max_size=None if split_max_size is None else parse_size(split_max_size, "--split-max-size"),
        strict=strict,
    )
    options = Options(
        threads=threads,
        memory=None if memory is None else parse_size(memory, "--memory"),
        resume=not no_resume,
        force=force,
        part=None if part is None else Part.parse(part),
        manifest=manifest,
        record=recorded(request),
    )
    manner = Manner(as_json, debug)
    wish = Wish(request, options, dry_run, finish, skip_existing, progress, quiet, manner)
    return carry_out(sources, wish)
