"""The commands of ``qconv`` under one roof."""

from __future__ import annotations

from typing import Annotated

import typer

from qconv import __version__
from qconv.cli import architectures, calibrate, card, compare, convert, evaluate, info, modelfile, verify, warm_up
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

app = typer.Typer(
    name="qconv",
    cls=Group,
    epilog=EXAMPLES,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def options(
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


app.command("convert", cls=Command, short_help=convert.SHORT, epilog=convert.EXAMPLES)(convert.convert)
app.command("calibrate", cls=Command, short_help=calibrate.SHORT, epilog=calibrate.EXAMPLES)(calibrate.calibrate)
app.command("evaluate", cls=Command, short_help=evaluate.SHORT, epilog=evaluate.EXAMPLES)(evaluate.evaluate)
app.command("info", cls=Command, short_help=info.SHORT, epilog=info.EXAMPLES)(info.info)
app.command("verify", cls=Command, short_help=verify.SHORT, epilog=verify.EXAMPLES)(verify.verify)
app.command("compare", cls=Command, short_help=compare.SHORT, epilog=compare.EXAMPLES)(compare.compare)
app.command("architectures", cls=Command, short_help=architectures.SHORT, epilog=architectures.EXAMPLES)(
    architectures.architectures
)
app.command("card", cls=Command, short_help=card.SHORT, epilog=card.EXAMPLES)(card.card)
app.command("modelfile", cls=Command, short_help=modelfile.SHORT, epilog=modelfile.EXAMPLES)(modelfile.modelfile)
app.command("warm-up", cls=Command, short_help=warm_up.SHORT, epilog=warm_up.EXAMPLES)(warm_up.warm_up)


def commands() -> set[str]:
    """Names of the commands."""
    return {command.name for command in app.registered_commands if command.name}
