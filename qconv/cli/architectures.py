"""``qconv architectures``: what is supported, and each table as a person reads it."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qconv.cli.options import Debug, Json

if TYPE_CHECKING:
    from qconv.architectures import Drop, Entry, Key, Keys, Table
    from qconv.types import ModelPart

OF_ITS_TEXT = "its text part is converted"
SHORT = "List the model classes that can be converted."
EXAMPLES = """
Examples:
  qconv architectures                  # every class, with its table
  qconv architectures | grep -i qwen
  qconv architectures llama            # what becomes of tensors and config
  qconv architectures Qwen3ForCausalLM # the same, by the class
  qconv architectures --all            # and those that are not converted
  qconv architectures --projectors     # classes that see or hear (--mmproj)
"""


def complete_name(incomplete: str) -> list[str]:
    """Shell completion: tables and classes."""
    from qconv.architectures import classes, multimodal, names, not_converted

    known = (*names(), *classes(), *names("projector"), *classes("projector"), *multimodal(), *not_converted())
    return [name for name in dict.fromkeys(known) if name.startswith(incomplete)]


def architectures(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="A table, or a class as config.json names it.", autocompletion=complete_name
        ),
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also list what llama.cpp converts and qconv does not, with the reason.")
    ] = False,
    projectors: Annotated[
        bool, typer.Option("--projectors", help="List the classes whose projector --mmproj makes a file of.")
    ] = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the model classes qconv converts, or show how one is converted.

    A class is what config.json calls the model ("architectures"). A table says, for the classes of one GGUF
    architecture, where each tensor and each metadata key comes from; it is a file in formats/architectures/, that of
    a projector in formats/projectors/. GGUF files of any architecture can be converted, listed here or not.
    """
    if name is not None:
        _show_one(name, as_json)
    else:
        _show_all("projector" if projectors else "text", everything and not projectors, as_json)


def _show_one(name: str, as_json: bool) -> None:
    """How a class, or those of a table, are converted: the text model, and the projector where there is one."""
    from qconv.architectures import multimodal, not_converted
    from qconv.cli import screen

    lines = []
    if name in multimodal():
        lines = _wrapped(f"{name}: {OF_ITS_TEXT}, as what model_type says there in config.json", "")
    elif name in not_converted():
        lines = _wrapped(f"{name} is not converted: {not_converted()[name]}", "")
    tables = _tables(name, known=bool(lines))
    if as_json and tables:
        screen.result(_as_json(tables))
        return
    for number, table in enumerate(tables):
        lines += [*([""] if lines or number else []), *describe(table)]
    screen.lines(*lines)


def _tables(name: str, known: bool) -> list[Table]:
    """The tables of that name, or of the class of that name, in any case; UsageError unless there are any or ``known``.

    Of a text model's table those of its classes' projectors are added.
    """
    from qconv.architectures import PARTS, classes, load_table, names
    from qconv.errors import UsageError, nearest

    by_name = {
        part: {cls.lower(): of for cls, of in classes(part).items()} | {n.lower(): n for n in names(part)}
        for part in PARTS
    }
    tables = [load_table(of[name.lower()], part) for part, of in by_name.items() if name.lower() in of]
    if not tables and not known:
        near = nearest(name.lower(), {known for of in by_name.values() for known in of}, most=5)
        raise UsageError(f"unknown architecture '{name}'", hint=f"nearest: {', '.join(near)}")
    if tables and name in names():
        seen = dict.fromkeys(filter(None, (classes("projector").get(cls) for cls in tables[0].classes)))
        tables = [tables[0], *(load_table(of, "projector") for of in seen)]
    return tables


def _show_all(part: ModelPart, refused: bool, as_json: bool) -> None:
    """Every class of a part with its table; ``refused``: also those that are not converted."""
    from qconv.architectures import classes, load_table, multimodal, not_converted
    from qconv.cli import screen

    by_table = sorted(classes(part).items(), key=lambda item: (item[1], item[0]))
    known = {cls: load_table(of, part) for cls, of in by_table}
    wrappers = sorted(multimodal()) if part == "text" else []
    reasons = sorted(not_converted().items()) if refused else []
    if as_json:
        rows = [{"class": cls, "table": of.name, "architecture": of.gguf_name} for cls, of in known.items()]
        rows += [{"class": cls, "table": "", "architecture": ""} for cls in wrappers]
        rows += [{"class": cls, "table": "", "architecture": "", "reason": why} for cls, why in reasons]
        screen.result(json.dumps(rows))
        return
    screen.table(
        [screen.Column("class", cut=True), screen.Column("table"), screen.Column("GGUF architecture")],
        [(cls, of.name, of.gguf_name) for cls, of in known.items()] + [(cls, OF_ITS_TEXT, "") for cls in wrappers],
    )
    if reasons:
        screen.lines("")
        screen.table([screen.Column("class"), screen.Column("not converted because", cut=True)], reasons)


def describe(table: Table) -> Iterator[str]:
    """A table in lines: classes, tensors, metadata, what is left out."""
    named = f"projector {table.name}" if table.part == "projector" else table.name
    yield f"{named}: {table.about}" if table.about else named
    yield f"GGUF architecture: {table.gguf_name}"
    if table.classes:
        yield from _wrapped(f"classes: {', '.join(table.classes)}", "")
    for name, when in table.redirect.items():
        yield from _wrapped(f"{name} instead when {_condition(when)}", "")
    yield ""
    yield "tensors (a module is a weight, and a bias where there is one)"
    yield from _entries(table.modules | table.tensors, "  ")
    for kind, tower in table.towers.items():
        yield f"  of the {kind} tower, which config.json has in {_names(tower.config, ' or ')}"
        yield from _entries(tower.modules | tower.tensors, "    ")
    for group, variants in table.alternatives.items():
        for variant, entries in variants.items():
            yield f"  where {group} is {variant}"
            yield from _entries(entries.modules | entries.tensors, "    ")
    yield ""
    yield f"metadata (besides what every {'projector' if table.part == 'projector' else 'architecture'} has)"
    yield from _keys(table.metadata)
    if table.drop or table.within:
        yield ""
        yield "left out"
        if table.within:
            yield from _wrapped(f"what does not begin with {', '.join(table.within)}: of the text model", "  ")
        for drop in table.drop:
            yield from _wrapped(_dropped(drop), "  ")


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text, 80, initial_indent=indent, subsequent_indent=indent + "  ", break_on_hyphens=False, break_long_words=False
    )


def _entries(entries: dict[str, str | tuple[str, ...] | Entry], indent: str) -> Iterator[str]:
    width = max(map(len, entries), default=0)
    for name, entry in entries.items():
        yield f"{indent}{name:<{width}}  {_entry(entry)}"


def _entry(entry: str | tuple[str, ...] | Entry) -> str:
    if isinstance(entry, str | tuple):
        return f"from {_names(entry)}"
    parts = [f"made by {entry.make}" if entry.make else f"from {_names(entry.from_ or ())}"]
    parts += [f"or {_names(other)}" for other in entry.or_]
    parts += [f"then {_operation(operation)}" for operation in entry.do]
    if entry.when is not None:
        parts.append(f"when {_condition(entry.when)}")
    if entry.optional:
        parts.append(f"may be missing when {entry.optional}" if isinstance(entry.optional, str) else "may be missing")
    if entry.store is not None:
        parts.append(f"stored as {entry.store}")
    return ", ".join(parts)


def _keys(keys: Keys) -> Iterator[str]:
    width = max(map(len, keys), default=0)
    for name, key in keys.items():
        yield f"  {name:<{width}}  {_key(key)}"


def _key(key: str | tuple[str, ...] | Key) -> str:
    if isinstance(key, str | tuple):
        return f"from {_names(key, ' or ')}"
    if key.derive is not None:
        source = f"derived by {key.derive}" + (f" of {', '.join(map(str, key.of))}" if key.of else "")
    elif key.from_ is not None:
        source = f"from {_names(key.from_, ' or ')}"
    else:
        source = f"always {json.dumps(key.value)}"
    parts = [source]
    if key.default is not None:
        parts.append(f"else {json.dumps(key.default)}")
    if key.when is not None:
        parts.append(f"when {_condition(key.when)}")
    if key.optional:
        parts.append("may be missing")
    return ", ".join(parts)


def _dropped(drop: Drop) -> str:
    patterns = [
        *drop.names,
        *(f"{part}…" for part in drop.starts),
        *(f"…{part}" for part in drop.ends),
        *(f"…{part}…" for part in drop.contains),
    ]
    return f"{', '.join(patterns)}: {drop.reason}"


def _names(value: str | tuple[str, ...], between: str = " + ") -> str:
    return value if isinstance(value, str) else between.join(value)


def _operation(operation: str | dict[str, Any]) -> str:
    if isinstance(operation, str):
        return operation
    return ", ".join(f"{name}({_arguments(argument)})" for name, argument in operation.items())


def _arguments(argument: Any) -> str:
    return ", ".join(map(str, argument)) if isinstance(argument, tuple | list) else str(argument)


def _condition(when: str | dict[str, Any]) -> str:
    return when if isinstance(when, str) else " and ".join(f"{k} is {json.dumps(v)}" for k, v in when.items())


def _as_json(tables: list[Table]) -> str:
    """The text model's table with the projector's in it, or the one there is."""
    import msgspec

    first, *others = map(msgspec.to_builtins, tables)
    return json.dumps({**first, "projectors": others})
