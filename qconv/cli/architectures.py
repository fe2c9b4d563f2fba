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

OF_ITS_TEXT = "its text part is converted"
SHORT = "List the model classes that can be converted."
EXAMPLES = """
Examples:
  qconv architectures                  # every class, with its table
  qconv architectures | grep -i qwen
  qconv architectures llama            # what becomes of tensors and config
  qconv architectures Qwen3ForCausalLM # the same, by the class
  qconv architectures --all            # and those that are not converted
"""


def complete_name(incomplete: str) -> list[str]:
    """Shell completion: tables and classes."""
    from qconv.architectures import classes, multimodal, names, not_converted

    return [name for name in (*names(), *classes(), *multimodal(), *not_converted()) if name.startswith(incomplete)]


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
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """List the model classes qconv converts, or show how one is converted.

    A class is what config.json calls the model ("architectures"). A table says, for the classes of one GGUF
    architecture, where each tensor and each metadata key comes from; it is a file in formats/architectures/.
    GGUF files of any architecture can be converted, listed here or not.
    """
    from qconv.architectures import classes, load_table, multimodal, not_converted
    from qconv.cli import screen

    wrappers = sorted(multimodal())
    refused = sorted(not_converted().items()) if everything else []
    if name is not None and name in wrappers:
        screen.lines(*_wrapped(f"{name}: {OF_ITS_TEXT}, as what model_type says there in config.json", ""))
        return
    if name is not None and name in not_converted():
        screen.lines(*_wrapped(f"{name} is not converted: {not_converted()[name]}", ""))
        return
    if name is not None:
        table = load_table(_table_name(name))
        if as_json:
            screen.result(_as_json(table))
        else:
            screen.lines(*describe(table))
        return
    known = {cls: load_table(of) for cls, of in sorted(classes().items(), key=lambda item: (item[1], item[0]))}
    if as_json:
        rows = [{"class": cls, "table": of.name, "architecture": of.gguf_name} for cls, of in known.items()]
        rows += [{"class": cls, "table": "", "architecture": ""} for cls in wrappers]
        rows += [{"class": cls, "table": "", "architecture": "", "reason": why} for cls, why in refused]
        screen.result(json.dumps(rows))
        return
    screen.table(
        [screen.Column("class", cut=True), screen.Column("table"), screen.Column("GGUF architecture")],
        [(cls, of.name, of.gguf_name) for cls, of in known.items()] + [(cls, OF_ITS_TEXT, "") for cls in wrappers],
    )
    if refused:
        screen.lines("")
        screen.table([screen.Column("class"), screen.Column("not converted because", cut=True)], refused)


def _table_name(name: str) -> str:
    """The table of that name, or of the class of that name, in any case."""
    from qconv.architectures import classes, names
    from qconv.errors import UsageError, nearest

    by_name = {cls.lower(): of for cls, of in classes().items()} | {n.lower(): n for n in names()}
    if name.lower() not in by_name:
        near = nearest(name.lower(), by_name, most=5)
        raise UsageError(f"unknown architecture '{name}'", hint=f"nearest: {', '.join(near)}")
    return by_name[name.lower()]


def describe(table: Table) -> Iterator[str]:
    """A table in lines: classes, tensors, metadata, what is left out."""
    yield f"{table.name}: {table.about}" if table.about else table.name
    yield f"GGUF architecture: {table.gguf_name}"
    if table.classes:
        yield from _wrapped(f"classes: {', '.join(table.classes)}", "")
    for name, when in table.redirect.items():
        yield from _wrapped(f"{name} instead when {_condition(when)}", "")
    yield ""
    yield "tensors (a module is a weight, and a bias where there is one)"
    yield from _entries(table.modules | table.tensors, "  ")
    for group, variants in table.alternatives.items():
        for variant, entries in variants.items():
            yield f"  where {group} is {variant}"
            yield from _entries(entries.modules | entries.tensors, "    ")
    yield ""
    yield "metadata (besides what every architecture has)"
    yield from _keys(table.metadata)
    if table.drop:
        yield ""
        yield "left out"
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


def _as_json(table: Table) -> str:
    import msgspec

    return msgspec.json.encode(table).decode()
