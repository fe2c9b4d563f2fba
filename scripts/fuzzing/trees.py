"""Random changes to a tree of dicts, lists, texts and numbers: what hides behind a format's first checks."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from random import Random
from typing import Any

Tree = Any

NUMBERS = [0, 1, -1, 2, 3, 4, 7, 8, 31, 32, 33, 64, 127, 255, 256, 288, 300, 4096, 65535, 1 << 16, 1 << 20]
NUMBERS += [n + d for n in (1 << 31, 1 << 32, 1 << 53, 1 << 63, 1 << 64) for d in (-1, 0, 1)]
FLOATS = [0.0, -0.0, 0.5, 1.5, -1.0, 1e-320, 1e30, 1e308]
TEXTS = ["", " ", "a", "0", "\0", "\x1b[2J", "\n", "../x", "\ud800", "\u202e", "é", "{", "a" * 300, "%s{layer}{}"]


def change(random: Random, tree: Tree, words: Sequence[str]) -> Tree:
    """``tree`` with one change, made in place where it can be; ``words``: texts its format gives a meaning."""
    place = _place(random, tree)
    if place is None:
        return _value(random, words)
    container, key = place
    choice = random.random()
    if choice < 0.5:
        container[key] = _changed(random, container[key], words)
    elif choice < 0.6:
        del container[key]
    elif choice < 0.75:
        container[key] = copy.deepcopy(_somewhere(random, tree))
    elif choice < 0.85:
        container[key] = random.choice(([], {}, None, [container[key]], {"a": container[key]}))
    elif isinstance(container, list):
        again = copy.deepcopy(container[key])
        container[key:key] = [again] * random.choice((1, 1, 2, 5, 70))
    else:
        name = random.choice(words) if words and random.random() < 0.6 else _text(random, key, words)
        container[name] = container[key] if random.random() < 0.5 else container.pop(key)
    return tree


def _place(random: Random, tree: Tree) -> tuple[Any, Any] | None:
    """A container and a key in it, near the root as likely as far from it; None when there is no place."""
    place = None
    while isinstance(tree, dict | list) and tree:
        key = random.randrange(len(tree)) if isinstance(tree, list) else random.choice(list(tree))
        place = tree, key
        if random.random() < 0.2:
            break
        tree = tree[key]
    return place


def _somewhere(random: Random, tree: Tree) -> Tree:
    place = _place(random, tree)
    return tree if place is None else place[0][place[1]]


def _changed(random: Random, value: Tree, words: Sequence[str]) -> Tree:
    """Another value, mostly of the same kind."""
    if random.random() < 0.2:
        return _value(random, words)
    match value:
        case bool():
            return not value
        case int():
            near = (value + 1, value - 1, value * 2, value // 2, -value, random.randrange(300), random.choice(NUMBERS))
            return random.choice(near)
        case float():
            return random.choice((value * 2, -value, *FLOATS))
        case str():
            return _text(random, value, words)
        case list():
            random.shuffle(value)
            return value
    return _value(random, words)


def _value(random: Random, words: Sequence[str]) -> Tree:
    return random.choice((None, True, [], {}, random.choice(NUMBERS), random.choice(FLOATS), _text(random, "", words)))


def _text(random: Random, value: str, words: Sequence[str]) -> str:
    choice = random.random()
    if words and choice < 0.4:
        return random.choice(words)
    if not value or choice < 0.55:
        return random.choice(TEXTS)
    at = random.randrange(len(value))
    if choice < 0.7:
        return (
            value[:at] + chr(random.choice((0, 9, 10, 27, 127, 128, 255, random.randrange(32, 127)))) + value[at + 1 :]
        )
    if choice < 0.8:
        return value[:at]
    if choice < 0.9:
        return value[:at] + value[at + 1 :]
    return value[:at] + random.choice(("0", "9", ".", "{layer}", "weight", value)) + value[at:]
