"""The commands of ``qconv`` under one roof."""

from __future__ import annotations

import importlib
from typing import Annotated

import typer

from qconv import __version__
from qconv.cli.help import Command, Group
from qconv.errors import UsageError

EXAMPLES = """
Examples:
  qconv convert model.safetensors --type q4_k_m
  qconv convert ~/models/Llama-3.2-1B --type q4_k_m,q8_0 --output ~/gguf/
  qconv convert model-BF16.gguf --type q5_k_m --dry-run
  qconv info model-Q4_K_M.gguf

  for d in ~/models/*/; do qconv convert "$d" --type q4_k_m --skip-existing; done

'qconv COMMAND --help' tells everything about a command.
"""

COMMANDS = (
    "convert",
    "calibrate",
    "evaluate",
    "info",
    "verify",
    "compare",
    "architectures",
    "card",
    "modelfile",
    "warm-up",
)
"""Their names in the order of the help; a command is a function of its name in the module of its name."""


def make_app(command: str | None) -> typer.Typer:
    """The program with one command alone, which starts sooner, or with all where ``command`` is none of them."""
    app = typer.Typer(
        name="qconv",
        cls=Group,
        epilog=EXAMPLES,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(_options)
    for name in COMMANDS if command is None or command not in COMMANDS else (command,):
        word = name.replace("-", "_")
        module = importlib.import_module(f"qconv.cli.{word}")
        app.command(name, cls=Command, short_help=module.SHORT, epilog=module.EXAMPLES)(getattr(module, word))
    return app


def _options(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", help="With --version: also what it runs on, and where compiled code is kept.")
    ] = False,
) -> None:
    """Turn Hugging Face checkpoints into quantized GGUF files, in one pass and bounded memory."""
    if version:
        typer.echo(f"qconv {__version__}")
        if verbose:
            from qconv.cli.installation import lines

            typer.echo("\n".join(lines()))
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        raise UsageError("no command is named", hint="see qconv --help")
