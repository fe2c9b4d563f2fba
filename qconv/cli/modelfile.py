"""``qconv modelfile``: an Ollama Modelfile for a GGUF file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from qconv.cli.options import Debug, Json

SHORT = "Write an Ollama Modelfile for a GGUF file."
EXAMPLES = """
Examples:
  qconv modelfile model-Q4_K_M.gguf
  ollama create my-model -f Modelfile && ollama run my-model
  qconv modelfile model-Q4_K_M.gguf --mmproj mmproj-F16.gguf --output -
"""


def modelfile(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A GGUF file.")],
    mmproj: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The GGUF file with its vision or audio part.")
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Where generation_config.json is. By default beside FILE, if it is there."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="By default Modelfile beside FILE; - prints it."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a Modelfile that is there.")] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Write what ollama create reads: the file, sampling parameters, the tokens that end an answer, the license.

    Where Ollama makes an architecture's prompts itself, it is told so; where it may not know the chat template, the
    Modelfile says what to do.
    """
    from qconv import checkpoints, publish
    from qconv.cli import text_file
    from qconv.storage import LocalFolder

    folder = LocalFolder(file.parent) if source is None else checkpoints.place(source)[0]
    to_screen = output is not None and str(output) == text_file.STDOUT
    directory = Path.cwd() if to_screen else (output or file).parent
    text = publish.modelfile(file, mmproj, folder, directory)
    text_file.write(text, output or file.with_name("Modelfile"), force=force)
