"""``qconv info``: what a model file is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from qconv.cli.options import Debug, Json
from qconv.cli.values import type_text, value_object, value_text

if TYPE_CHECKING:
    from qconv.checkpoints import Checkpoint
    from qconv.summary import Summary

EXAMPLES = """
Examples:
  qconv info model-Q4_K_M.gguf
  qconv info model-00001-of-00003.gguf      # a file in shards: name any of them
  qconv info ~/models/Llama-3.2-1B          # a checkpoint before conversion
  qconv info hf://Qwen/Qwen3-0.6B           # on the Hub: headers only
  qconv info model.gguf --context 32768     # memory with a longer context
  qconv info model.gguf --tensors | grep Q6_K
  qconv info model.gguf --json | jq .bits_per_weight
"""
SHORT = "Tell what a model file is."


def info(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH",
            help="A GGUF file, a safetensors file or a directory of them, here or at an address.",
            show_default=False,
        ),
    ],
    context: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Count the memory for a context of N tokens. [default: 4096]"),
    ] = None,
    tensors: Annotated[bool, typer.Option("--tensors", help="List every tensor: name, type, shape, size.")] = False,
    metadata: Annotated[
        bool, typer.Option("--metadata", help="List every metadata key; long arrays and texts are cut.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Show what a model file is: name, architecture, size, block types, and the memory it takes to run.

    Only headers are read, so it takes a moment whatever the size of the file.
    """
    from qconv import checkpoints
    from qconv.cli import screen
    from qconv.cli.errors import ErrorOutput, each
    from qconv.cli.paths import whole_models
    from qconv.summary import describe

    shown: list[str] = []

    def tell(path: str) -> None:
        with checkpoints.open(path) as checkpoint:
            summary = describe(checkpoint, context)
            if as_json:
                screen.result(as_object(summary, checkpoint, tensors, metadata))
                return
            if shown:
                screen.lines("")
            shown.append(path)
            show(summary)
            if tensors:
                show_tensors(checkpoint)
            if metadata:
                show_metadata(checkpoint)

    return each(whole_models(paths), tell, ErrorOutput(as_json, debug))


def show(summary: Summary) -> None:
    """The usual screen."""
    from qconv.cli import screen
    from qconv.cli.sizes import count, size

    def known(value: int | None) -> str:
        return "unknown" if value is None else f"{value:,}"

    files = "" if summary.files == 1 else f" in {summary.files} files"
    screen.pairs(
        [
            ("file", summary.location),
            ("format", f"{summary.kind}, {size(summary.size)}{files}"),
            ("name", summary.name or "unknown"),
            ("architecture", summary.architecture or "unknown"),
            *([("projector", summary.projector)] if summary.projector else []),
            ("parameters", f"{count(summary.weights)} in {summary.tensors:,} tensors"),
            ("layers", known(summary.layers)),
            *([] if summary.projector else [("context", known(summary.context))]),
            *([] if summary.projector else [("vocabulary", known(summary.vocabulary))]),
            *([("file type", summary.file_type)] if summary.file_type else []),
            *([("quantized by", summary.quantized_by)] if summary.quantized_by else []),
            ("bits per weight", f"{summary.bits_per_weight:.2f}"),
            *([("chosen by", summary.size_method)] if summary.size_method else []),
            *([("predicted loss", f"KL divergence {summary.predicted:.3g}")] if summary.predicted is not None else []),
        ]
    )
    total = sum(row.size for row in summary.types)
    screen.lines("")
    screen.table(
        [
            screen.Column("type"),
            *(screen.Column(heading, right=True) for heading in ("tensors", "weights", "bytes", "size", "share")),
        ],
        [
            (
                row.name,
                f"{row.tensors:,}",
                f"{row.weights:,}",
                f"{row.size:,}",
                size(row.size),
                f"{row.size / max(1, total):.1%}",
            )
            for row in summary.types
        ],
        ("all", f"{summary.tensors:,}", f"{summary.weights:,}", f"{total:,}", size(total), "100.0%"),
    )
    screen.lines("", *memory_lines(summary))


def memory_lines(summary: Summary) -> list[str]:
    """What running it takes, in words."""
    import textwrap

    from qconv.cli.sizes import size

    needed = summary.memory
    if summary.projector is not None:
        weights = sum(row.size for row in summary.types)
        return [f"memory to run it: {size(weights)} of weights, beside what the text model takes"]
    if needed is None:
        return textwrap.wrap(f"memory to run it: unknown{f'; {summary.note}' if summary.note else ''}", 80)
    parts = [("weights", needed.weights), ("cache", needed.cache), ("both", needed.total)]
    counted = f"assumed: {', '.join(needed.assumed)}; the runtime's own buffers come on top"
    return [
        f"memory to run it at a context of {needed.context:,}",
        *(f"  {name:<7}  {size(number):>8}" for name, number in parts),
        *textwrap.wrap(counted, 80, initial_indent="  ", subsequent_indent="  "),
    ]


def show_tensors(checkpoint: Checkpoint) -> None:
    from qconv.cli import screen
    from qconv.types import shape_text

    screen.lines("")
    screen.table(
        [
            screen.Column("tensor", cut=True),
            screen.Column("type"),
            screen.Column("shape", right=True),
            screen.Column("bytes", right=True),
        ],
        [(t.name, t.dtype, shape_text(t.shape), f"{t.size:,}") for t in checkpoint.stored.values()],
    )


def show_metadata(checkpoint: Checkpoint) -> None:
    from qconv.cli import screen

    screen.lines("")
    if checkpoint.metadata is None:
        screen.lines("no metadata: not a GGUF file")
        return
    screen.table(
        [screen.Column("key"), screen.Column("type"), screen.Column("value", cut=True)],
        [(key, type_text(value), value_text(value)) for key, value in checkpoint.metadata.items()],
    )


def as_object(summary: Summary, checkpoint: Checkpoint, tensors: bool, metadata: bool) -> str:
    """The JSON text: numbers as they are, bytes and weights as integers."""
    import dataclasses
    import json

    values = dataclasses.asdict(summary)
    values["path"] = values.pop("location")
    values |= {"weights": summary.weights, "bits_per_weight": summary.bits_per_weight}
    if summary.memory is not None:
        values["memory"]["total"] = summary.memory.total
    if tensors:
        values["tensors"] = [
            {"name": t.name, "type": t.dtype, "shape": t.shape, "bytes": t.size} for t in checkpoint.stored.values()
        ]
    if metadata:
        values["metadata"] = {k: value_object(v) for k, v in (checkpoint.metadata or {}).items()}
    return json.dumps(values)
