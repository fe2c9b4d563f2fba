"""What a tensor's GGUF name says: its role, its layer, whether it is ever quantized, its place in a file."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import Literal

import msgspec

from qconv import formats
from qconv.types import without_leading_ones

_LAYER = re.compile(r"blk\.(\d{1,9})")


class Names(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Matches a name that is one of ``is`` or contains one of ``has``."""

    same: tuple[str, ...] = msgspec.field(default=(), name="is")
    has: tuple[str, ...] = ()

    def match(self, name: str) -> bool:
        return name in self.same or any(part in name for part in self.has)


class Kept(Names, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Names never quantized, in every architecture or in one, and why."""

    why: str
    architecture: str = ""


class Floor(Names, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Names of one architecture that a mix gives no fewer bits than ``type``."""

    architecture: str
    type: str


class Tensors(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``formats/tensors.toml``."""

    also_65b: tuple[str, ...]
    roles: dict[str, Names]
    groups: dict[str, tuple[str, ...]]
    kept: tuple[Kept, ...]
    floors: tuple[Floor, ...]
    counted_layers: dict[str, Literal["each_loop", "with_router"]]
    layers_of_70b: dict[str, int]


@functools.cache
def table() -> Tensors:
    return formats.load(formats.ROOT / "tensors.toml", Tensors)


@functools.cache
def members() -> dict[str, frozenset[str]]:
    """Every word a mix may use as a role, with the roles it stands for."""
    words = {role: frozenset({role}) for role in (*table().roles, "other")}
    return words | {group: frozenset(roles) for group, roles in table().groups.items()}


@functools.cache
def roles_of(words: tuple[str, ...]) -> frozenset[str]:
    """All roles that the words of a rule stand for."""
    return frozenset[str]().union(*(members()[word] for word in words))


@functools.lru_cache(1 << 16)
def role(name: str) -> str:
    """The role of a tensor by its name alone: one of ``formats/tensors.toml``'s, or "other"."""
    return next((role for role, names in table().roles.items() if names.match(name)), "other")


def layer(name: str) -> int | None:
    """The layer number of ``blk.N.…``."""
    match = _LAYER.match(name)
    return int(match[1]) if match else None


@functools.lru_cache(1 << 16)
def why_kept(name: str, shape: tuple[int, ...], architecture: str) -> str | None:
    """Why the tensor is never quantized, ``None`` when it may be.

    Dimensions are counted as ggml does, where outer dimensions of 1 do not exist.
    """
    if len(without_leading_ones(shape)) < 2:
        return "one dimension"
    if not name.endswith("weight"):
        return "not a weight matrix"
    for kept in table().kept:
        if kept.architecture in ("", architecture) and kept.match(name):
            return kept.why
    return None


def in_order(names: Iterable[str]) -> list[str]:
    """Names in the order llama-quantize works and writes: by layer, those of no layer first, then by bytes."""

    def key(name: str) -> tuple[int, bytes]:
        number = layer(name)
        return (-1 if number is None else number, name.encode("utf-8", "surrogateescape"))

    return sorted(names, key=key)
