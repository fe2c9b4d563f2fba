"""The layouts of llama.cpp's structs, from ``formats/llama_cpp.toml``, and which of them a library has.

Nothing in a library tells its layouts, but its functions ``*_default_params`` return structs by value, and the values
are known.  So every known layout is laid over the bytes returned; the newest whose defaults are all found there is the
library's.  ``selftest`` proves it before use.

A struct is kept in a larger space than it needs and handed over with that space.  Where a newer build has further
fields behind the known ones they hold the library's own defaults, as these came with the rest.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any, Final, Literal

import msgspec

from qconv.errors import LlamaCppError
from qconv.formats import ROOT, load

INSTALL: Final = "pip install 'qconv[runtime]'"

CType = Literal["bool", "i32", "u32", "i64", "f32", "size", "pointer", "char"]

_CTYPES: Final[dict[CType, Any]] = {
    "bool": ctypes.c_bool,
    "i32": ctypes.c_int32,
    "u32": ctypes.c_uint32,
    "i64": ctypes.c_int64,
    "f32": ctypes.c_float,
    "size": ctypes.c_size_t,
    "pointer": ctypes.c_void_p,
    "char": ctypes.c_char,
}


class Field(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A field of a struct; ``since`` and ``until`` are the first and the last build that has it."""

    name: str
    type: CType
    count: int = 1
    default: float = 0
    since: int = 0
    until: int = 1 << 62


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``formats/llama_cpp.toml``."""

    builds: tuple[str, ...]
    structs: dict[str, tuple[Field, ...]]

    @property
    def numbers(self) -> list[int]:
        """llama.cpp's build numbers, ascending."""
        return sorted(int(build.rpartition(".")[2]) for build in self.builds)


@functools.cache
def table() -> Table:
    return load(ROOT / "llama_cpp.toml", Table)


def fields(name: str, build: int) -> tuple[Field, ...]:
    """The fields of a struct in a build, in order."""
    return tuple(f for f in table().structs[name] if f.since <= build <= f.until)


@functools.cache
def structure(name: str, build: int = 0) -> Any:
    """The struct as a ``ctypes.Structure`` class; ``build`` matters for those that have changed."""
    described = [(f.name, _CTYPES[f.type] if f.count == 1 else _CTYPES[f.type] * f.count) for f in fields(name, build)]
    return type(name, (ctypes.Structure,), {"_fields_": described})


class Space(ctypes.Structure):
    """Room for a struct of parameters of any build: what the functions that take or return one by value are given."""

    _fields_ = (("words", ctypes.c_uint64 * 128),)


def has_defaults(name: str, build: int, space: Space) -> bool:
    """Whether every field, laid out as in ``build``, holds its default."""
    overlay = structure(name, build).from_buffer(space)
    return all((getattr(overlay, f.name) or 0) == f.default for f in fields(name, build))


def find_build(model_defaults: Space, context_defaults: Space) -> int:
    """The newest build whose layouts fit what the library returned as defaults of its two structs of parameters.

    Raises ``LlamaCppError``, naming the builds that would do, when none fits.
    """
    for build in reversed(table().numbers):
        if has_defaults("model_params", build, model_defaults) and has_defaults(
            "context_params", build, context_defaults
        ):
            return build
    raise LlamaCppError("the llama.cpp library lays out its parameters in a way qconv does not know", hint=known())


def known() -> str:
    """Which llama.cpp qconv works with, as a hint."""
    first, last = table().builds[0], table().builds[-1]
    return f"known are those of xllamacpp {first} to {last}, the last number being llama.cpp's build: {INSTALL}"
