"""``qconv card``: a model card for GGUF files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from qconv.cli.options import Debug, Json

SHORT = "Write a model card for GGUF files."
EXAMPLES = """
Examples:
  qconv card ~/gguf/*.gguf --source hf://Qwen/Qwen3-0.6B --repo me/Qwen3-0.6B-GGUF
  qconv evaluate *.gguf --against model/ --text t.txt --json >cost.json
  qconv card *.gguf --source model/ --evaluation cost.json --plot cost.png

  hf upload me/Qwen3-0.6B-GGUF ~/gguf/         # files and card
"""
_REPOSITORY = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def card(
    files: Annotated[list[Path], typer.Argument(metavar="FILE", help="GGUF files; of one in shards, any of them.")],
    source: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="What they were made from, hf://ORG/NAME or a folder: its card is carried over."
        ),
    ] = None,
    base_model: Annotated[
        str | None, typer.Option(metavar="ORG/NAME", help="The source's name on the Hub, where --source is a folder.")
    ] = None,
    repo: Annotated[
        str | None, typer.Option(metavar="ORG/NAME", help="The repository they go to, for the commands that run them.")
    ] = None,
    evaluation: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What qconv evaluate --json said of them.")
    ] = None,
    plot: Annotated[
        str | None, typer.Option(metavar="NAME", help="A picture beside the card, such as evaluate --plot draws.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="By default README.md beside the first file; - prints it."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a card that is there.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write README.md for a repository of GGUF files: front matter, a table of files, and how to run them.

    License, languages and tags come from the source's card, or else from the files. Nothing is uploaded.
    """
    from qconv import checkpoints, publish
    from qconv.cli import screen, text_file
    from qconv.cli.paths import whole_models
    from qconv.errors import UsageError

    for option, name in (("--base-model", base_model), ("--repo", repo)):
        if name is not None and _REPOSITORY.fullmatch(name) is None:
            raise UsageError(f"{option}: '{name}' is not a name of a repository", hint="write it as ORG/NAME")
    if plot is not None and re.search(r"[\s()<>\\]", plot):
        raise UsageError("--plot: the picture's name has characters that a link cannot have", file=plot)
    base_model = base_model or _on_the_hub(source)
    options = publish.CardOptions(
        base_model=base_model,
        repository=repo,
        plot=plot,
        evaluations={} if evaluation is None else publish.read_evaluations(evaluation),
    )
    folder = None if source is None else checkpoints.place(source)[0]
    text = publish.card(whole_models(files), folder, options)
    text_file.write(text, output or files[0].with_name("README.md"), force=force)
    if base_model is None:
        screen.note("base_model is left out: --source hf://ORG/NAME or --base-model tells it")


def _on_the_hub(source: str | None) -> str | None:
    """The repository that an address names."""
    match = re.match(r"hf://([^/@]+/[^/@]+)", source or "")
    return match[1] if match is not None and _REPOSITORY.fullmatch(match[1]) else None
