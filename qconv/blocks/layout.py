"""Where in a block each of its fields lies, from the ``fields`` of ``formats/blocks.toml``.

A field reads ``name: type[count]``.  Its type is a scalar, named by its bits (``u4``, ``i8``, ``f16``, ``e2m1``), or
several in parentheses that belong together, each with a name: ``scales: (u6 scale, u6 min)[8]``.  Fields follow one
another without gaps, each a whole number of bytes.  The only field of a plain type (``F16``) has no name.
"""

from __future__ import annotations

import re
from collections import namedtuple
from dataclasses import dataclass
from functools import cache
from typing import Any, NoReturn

from qconv.errors import TableError
from qconv.formats import ROOT, BlockType, block_types

_FLOATS = {"f64": 64, "f32": 32, "f16": 16, "bf16": 16, "e8m0": 8, "ue4m3": 8, "e2m1": 4}
"""Bits of the floating-point scalars; ``u`` and ``i`` with a number are integers of that many bits, ``i`` signed."""
_INTEGER = re.compile(r"[ui]([1-9][0-9]?)")
_FIELD = re.compile(r"(?:([a-z][a-z_]*): )?([a-z0-9]+|\([^()]+\))(?:\[([1-9][0-9]{0,3})\])?")
_MEMBER = re.compile(r"([a-z0-9]+) ([a-z]+)")


@dataclass(frozen=True, slots=True)
class Field:
    """``count`` elements of ``type``, ``size`` bytes from byte ``offset`` of the block on."""

    name: str
    type: str
    count: int
    offset: int
    size: int


@cache
def fields(layout: BlockType) -> dict[str, Field]:
    """The fields of a block by name, in order; a plain type's by the name ``""``.

    Raises TableError where one cannot be read, is no whole number of bytes, or has another's name, and where all of
    them come to another size than ``layout.bytes``.
    """
    parsed: dict[str, Field] = {}
    offset = 0
    for text in layout.fields:
        match = _FIELD.fullmatch(text)
        if match is None:
            raise _error(layout, f"'{text}' is not 'name: type[count]'")
        name, element, count = match[1] or "", match[2], int(match[3] or 1)
        bits = count * _bits(layout, element)
        if bits % 8:
            raise _error(layout, f"'{text}' has {bits} bits, not whole bytes")
        if name in parsed or not (name or len(layout.fields) == 1):
            raise _error(layout, f"'{text}' needs a name of its own")
        parsed[name] = Field(name, element, count, offset, bits // 8)
        offset += bits // 8
    if offset != layout.bytes:
        raise _error(layout, f"fields of {offset} bytes in a block of {layout.bytes}")
    return parsed


def _bits(layout: BlockType, element: str) -> int:
    if element.startswith("("):
        members = [_MEMBER.fullmatch(member) for member in element[1:-1].split(", ")]
        return sum(_bits(layout, member[1]) if member else _unknown(layout, element) for member in members)
    integer = _INTEGER.fullmatch(element)
    return int(integer[1]) if integer else _FLOATS.get(element) or _unknown(layout, element)


def _unknown(layout: BlockType, element: str) -> NoReturn:
    raise _error(layout, f"unknown field type '{element}'")


def _error(layout: BlockType, message: str) -> TableError:
    return TableError(f"{layout.name}: {message}", file=ROOT / "blocks.toml")


def offsets(block_type: str, *names: str) -> Any:
    """A named tuple for kernels, which compile it in: the offset of each field, and ``end``, the bytes of a block.

    With ``names``, of these fields only, None for those that the block type does not have.
    """
    layout = block_types()[block_type]
    known = {name: field.offset for name, field in fields(layout).items()}
    chosen = {name: known.get(name) for name in names} if names else known
    kind = namedtuple(block_type, [*chosen, "end"])  # type: ignore[misc]  # names are not known beforehand
    return kind._make([*chosen.values(), layout.bytes])
