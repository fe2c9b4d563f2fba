"""Command-line parameters made from ``qconv.options``: each option is defined there once."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

import typer

from qconv.errors import UsageError
from qconv.options import About, Options, Part
from qconv.sizes import parse_bytes

T = TypeVar("T", bound=Options)

_ANNOTATIONS: dict[str, Any] = {
    "flag": bool,
    "negated": bool,
    "text": str | None,
    "texts": list[str] | None,
    "types": list[str] | None,
    "pairs": list[str] | None,
    "size": str | None,
    "count": int | None,
    "file": str | None,
    "place": str | None,
    "part": str | None,
}


Kinds = Mapping[type[Options], Collection[str] | None]
"""Kinds of options a command has, with the names of those it has of each; None for all."""


def with_options(
    function: Callable[..., int], kinds: Kinds, complete: Mapping[str, Callable[[str], list[str]]] | None = None
) -> Callable[..., int]:
    """``function`` as Typer sees it, with a parameter for every option of ``kinds`` in the place of its ``**given``.

    ``complete``: shell completion of an option's values, by its name.
    """
    complete = complete or {}
    own = inspect.signature(function, eval_str=True)
    first, *others = (p for p in own.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD)
    options = [
        _parameter(name, about, default, complete.get(name))
        for kind, names in kinds.items()
        for name, about, default in _described(kind)
        if names is None or name in names
    ]
    parameters = [first, *options, *others]
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [p.replace(kind=keyword) for p in parameters]

    def command(**values: Any) -> int:
        return function(**values)

    command.__name__, command.__doc__ = function.__name__, function.__doc__
    command.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]  # what inspect looks for
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    return command


def options_of(kind: type[T], given: Mapping[str, Any], **others: Any) -> T:
    """The options of a kind that a command line's values mean, and ``others``; raises UsageError."""
    values = {name: _value(about, given[name], default) for name, about, default in _described(kind) if name in given}
    return kind.of({**values, **others})


def _described(kind: type[Options]) -> Iterator[tuple[str, About, Any]]:
    """Name, description and default of every option of a kind that the command line has."""
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]  # all kinds are dataclasses
        if "about" in field.metadata:
            yield field.name, field.metadata["about"], field.default


def _parameter(name: str, about: About, default: Any, complete: Any) -> inspect.Parameter:
    option = typer.Option(
        *about.flags,
        metavar=about.metavar,
        rich_help_panel=about.group,
        help=about.help,
        autocompletion=complete,
        min=1 if about.kind == "count" else None,
    )
    if about.kind == "choice":
        kind: Any = Literal[tuple((about.metavar or "").split("|"))]
    else:
        kind = _ANNOTATIONS[about.kind]
    start = False if about.kind in ("flag", "negated") else default if about.kind == "choice" else None
    keyword = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, keyword, default=start, annotation=Annotated[kind, option])


def _value(about: About, text: Any, default: Any) -> Any:
    """What an option says, in Python."""
    if about.kind == "negated":
        return not text
    if text is None:
        return default
    if about.kind == "types":
        return _split(text)
    if about.kind == "pairs":
        return tuple(_pair(each) for each in text)
    if about.kind == "texts":
        return tuple(text)
    if about.kind == "size":
        return parse_bytes(text, about.flags[0])
    return Part.parse(text) if about.kind == "part" else text


def _split(given: Sequence[str]) -> tuple[str, ...]:
    """``["q4_k_m,q8_0", "f16"]`` as single names, each once, in order."""
    names = [name.strip() for text in given for name in text.split(",")]
    return tuple(dict.fromkeys(name for name in names if name))


def _pair(text: str) -> tuple[str, str]:
    """``PATTERN=TYPE`` in two; the pattern ends at the first equals sign."""
    pattern, equals, name = text.partition("=")
    if not equals or not pattern or not name:
        raise UsageError(f"malformed tensor type '{text}'", hint="write it as attn_v=q6_k")
    return pattern, name
