"""Command-line parameters made from ``qconv.options``: each option is defined there once."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

import typer

from qconv.cli.sizes import parse_size
from qconv.errors import UsageError
from qconv.options import About, ConvertOptions, Part, RunOptions

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


def with_options(
    function: Callable[..., int], complete: Mapping[str, Callable[[str], list[str]]]
) -> Callable[..., int]:
    """``function`` as Typer sees it, with a parameter for every option in the place of its ``**given``.

    ``complete``: shell completion of an option's values, by its name.
    """
    own = inspect.signature(function, eval_str=True)
    first, *others = (p for p in own.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD)
    options = [_parameter(name, about, default, complete.get(name)) for name, about, default in _options()]
    parameters = [first, *options, *others]
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [p.replace(kind=keyword) for p in parameters]

    def command(**values: Any) -> int:
        return function(**values)

    command.__name__, command.__doc__ = function.__name__, function.__doc__
    command.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]  # what inspect looks for
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    return command


def options_of(given: Mapping[str, Any]) -> tuple[ConvertOptions, RunOptions]:
    """The options that a command line's values mean; raises UsageError."""
    values = {name: _value(about, given[name], default) for name, about, default in _options()}
    what = {f.name: values[f.name] for f in dataclasses.fields(ConvertOptions) if f.name in values}
    how = {f.name: values[f.name] for f in dataclasses.fields(RunOptions) if f.name in values}
    return ConvertOptions.of({**what, "imatrix_name": given["imatrix"]}), RunOptions.of(how)


def _options() -> Iterator[tuple[str, About, Any]]:
    """Name, description and default of every option the command line has."""
    for options in (ConvertOptions, RunOptions):
        for field in dataclasses.fields(options):
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
        return parse_size(text, about.flags[0])
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
