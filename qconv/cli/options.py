"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

Json: TypeAlias = Annotated[bool, typer.Option("--json", help="Print JSON objects, for programs.")]
Debug: TypeAlias = Annotated[bool, typer.Option("--debug", help="Show a traceback with an error.")]
