"""What an option is: a field that carries what the command line says about it, in a dataclass that is always valid."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias

from qconv.errors import UsageError, known_words

Kind: TypeAlias = Literal[
    "flag", "negated", "text", "texts", "types", "pairs", "size", "count", "file", "place", "choice", "part"
]
"""How an option is written on the command line; ``qconv.cli`` has a parser for each."""


@dataclass(frozen=True, slots=True)
class About:
    """What the command line says about an option: how it is written, in which group of the help, and its text."""

    kind: Kind
    group: str
    help: str
    flags: tuple[str, ...]
    metavar: str | None = None


def option(
    default: Any,
    kind: Kind,
    group: str,
    help: str,
    *flags: str,
    metavar: str | None = None,
    recorded: bool = True,
    text_model: bool = False,
) -> Any:
    """A field of options.

    ``recorded``: manifests keep it, because bytes depend on it.  ``text_model``: it is for the text model's file alone.
    """
    about = About(kind, group, help, flags, metavar)
    return dataclasses.field(default=default, metadata={"about": about, "recorded": recorded, "text_model": text_model})


def text_model_option(default: Any, kind: Kind, group: str, help: str, *flags: str, metavar: str | None = None) -> Any:
    """A field of options that concerns the text model's file alone."""
    return option(default, kind, group, help, *flags, metavar=metavar, text_model=True)


def text_model_only(options: Any) -> list[dataclasses.Field[Any]]:
    """Fields of options that concern the text model's file alone."""
    return [field for field in dataclasses.fields(options) if field.metadata.get("text_model")]


TYPES, IMPORTANCE, MODEL, ADAPTERS = "Types", "Importance matrix", "Model", "Adapters"
OUTPUT, RUN, PARTS = "Output", "Running", "Parts"


class Options:
    """What both kinds of options can do."""

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Options from values by name, as Python code or JSON gives them; UsageError for any that is none."""
        import msgspec

        known = names(cls)
        unknown = next((name for name in values if name not in known), None)
        if unknown is not None:
            raise UsageError(f"there is no option '{unknown}'", hint=known_words(unknown, known))
        try:
            return msgspec.convert(dict(values), cls, dec_hook=_decoded)
        except msgspec.ValidationError as e:
            if isinstance(e.__cause__, UsageError):
                raise e.__cause__ from None
            raise UsageError(f"an option has a value that cannot be: {e}") from e


def names(options: type) -> list[str]:
    """The names of all options of a kind."""
    return [field.name for field in dataclasses.fields(options)]


def _decoded(kind: type, value: object) -> Any:
    """msgspec asks of the types it does not know."""
    if isinstance(value, kind):
        return value
    if kind is Path and isinstance(value, str | os.PathLike) and "\0" not in os.fspath(value):
        return Path(value)
    raise ValueError(f"Expected a {kind.__name__.lower()}")
