"""As much of Go's ``text/template`` as the templates in ``formats/ollama.toml`` are written in.

Its documentation says: ``{{ }}`` holds an action, everything else is text; a dot is the value at hand, ``$`` the one
that a template is given; ``range`` may name an index and an element; ``and`` gives its first empty argument or its
last.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_WORD = re.compile(r'\s*(\(|\)|"[^"]*"|[^\s()]+)')
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "and": lambda *values: next((v for v in values if not v), values[-1]),
    "not": lambda value: not value,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
    "len": len,
    "slice": lambda value, start: value[start:],
}


def render(text: str, values: Mapping[str, Any]) -> str:
    """What a template makes of ``values``; ValueError for what is not in the part of the language known here."""
    pieces = re.split(r"\{\{ (.*?) \}\}", text)
    steps = iter([(n % 2 == 1, piece) for n, piece in enumerate(pieces)])
    return _run(_parse(steps)[0], values, {"$": values})


def _parse(steps: Iterator[tuple[bool, str]]) -> tuple[list[Any], str]:
    """Nodes up to the ``else`` or ``end`` that closes them, and that."""
    nodes: list[Any] = []
    for is_action, piece in steps:
        if not is_action:
            nodes.append(("text", piece))
        elif piece == "end" or piece.split()[0] == "else":
            return nodes, piece
        elif piece.split()[0] in ("if", "range"):
            nodes.append(_branch(piece, steps))
        else:
            nodes.append(("value", piece))
    return nodes, ""


def _branch(piece: str, steps: Iterator[tuple[bool, str]]) -> Any:
    kind, _, condition = piece.partition(" ")
    then, closing = _parse(steps)
    otherwise: list[Any] = []
    if closing.startswith("else if "):
        otherwise = [_branch(closing.removeprefix("else "), steps)]
    elif closing == "else":
        otherwise, closing = _parse(steps)
    if not closing:
        raise ValueError(f"'{piece}' has no end")
    return kind, condition, then, otherwise


def _run(nodes: list[Any], dot: Any, names: Mapping[str, Any]) -> str:
    out = ""
    for kind, what, *branches in nodes:
        if kind == "text":
            out += what
        elif kind == "value":
            out += _value(what, dot, names)
        elif kind == "if":
            out += _run(branches[0] if _value(what, dot, names) else branches[1], dot, names)
        else:
            index, _, values = what.rpartition(" := ")
            name = index.partition(",")[0]
            for n, each in enumerate(_value(values, dot, names)):
                out += _run(branches[0], each, {**names, name: n})
    return out


def _value(text: str, dot: Any, names: Mapping[str, Any]) -> Any:
    words = iter(_WORD.findall(text))
    return _pipeline(words, dot, names)


def _pipeline(words: Iterator[str], dot: Any, names: Mapping[str, Any]) -> Any:
    values = []
    for word in words:
        if word == ")":
            break
        values.append(_pipeline(words, dot, names) if word == "(" else _operand(word, dot, names))
    first, *arguments = values
    if callable(first):
        return first(*arguments)
    if arguments:
        raise ValueError(f"{first!r} is no function")
    return first


def _operand(word: str, dot: Any, names: Mapping[str, Any]) -> Any:
    if word.startswith('"'):
        return word[1:-1]
    if word.isdecimal():
        return int(word)
    name, _, field = word.partition(".")
    if word in _FUNCTIONS:
        return _FUNCTIONS[word]
    value = names[name] if name else dot
    return value[field] if field else value
