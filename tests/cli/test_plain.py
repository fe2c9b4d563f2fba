"""Values of options and arguments as they reach a command, whichever version of Typer there is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer

from qconv.cli.help import Command, Group

DEFAULTS = {"files": [Path("a")], "names": [], "folder": None, "text": None, "many": None, "kind": "one", "sure": False}


def called(*arguments: str) -> dict[str, Any]:
    """What a command gets that takes one of everything."""
    app = typer.Typer(cls=Group)
    got: dict[str, Any] = {}

    @app.callback()
    def group(loud: Annotated[str | None, typer.Option(callback=lambda value: value and value.upper())] = None) -> None:
        got["loud"] = loud

    @app.command(cls=Command)
    def run(
        files: list[Path],
        names: Annotated[list[str] | None, typer.Option("--name")] = None,
        folder: Path | None = None,
        text: str | None = None,
        many: Annotated[int | None, typer.Option(min=1)] = None,
        kind: Literal["one", "two"] = "one",
        sure: Annotated[bool, typer.Option("--sure")] = False,
    ) -> None:
        got.update(files=files, names=names or [], folder=folder, text=text, many=many, kind=kind, sure=sure)

    app(args=list(arguments), standalone_mode=False)
    return got


@pytest.mark.parametrize(
    ("arguments", "changed"),
    [
        (["a"], {}),
        (["a", "b/c"], {"files": [Path("a"), Path("b/c")]}),
        (["a", "--name", "x", "--name", "y,z"], {"names": ["x", "y,z"]}),
        (["a", "--folder", "b"], {"folder": Path("b")}),
        (["a", "--text", ""], {"text": ""}),
        (["a", "--text", "1"], {"text": "1"}),
        (["a", "--many", "3"], {"many": 3}),
        (["a", "--kind", "two", "--sure"], {"kind": "two", "sure": True}),
        (["\udcff"], {"files": [Path("\udcff")]}),
    ],
)
def test_values_have_the_types_that_are_declared(arguments: list[str], changed: dict[str, Any]) -> None:
    assert called("run", *arguments) == {**DEFAULTS, **changed, "loud": None}


def test_callbacks_are_called() -> None:
    assert called("--loud", "x", "run", "a")["loud"] == "X"


@pytest.mark.parametrize("arguments", [[], ["a", "--many", "0"], ["a", "--many", "x"], ["a", "--kind", "three"]])
def test_wrong_values_are_refused(arguments: list[str]) -> None:
    with pytest.raises(typer.TyperException):
        called("run", *arguments)
