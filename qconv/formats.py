"""Loads ``formats/`` (what qconv knows) into frozen, checked types."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TypeVar

import msgspec

from qconv.errors import InputError, TableError, UsageError

T = TypeVar("T")

_PACKAGE = Path(__file__).parent
ROOT = _PACKAGE / "_formats" if (_PACKAGE / "_formats").is_dir() else _PACKAGE.parent / "formats"
"""The folder of tables: inside the package when installed, at the top of a source checkout."""


def load(path: Path, into: type[T]) -> T:
    """The TOML table at ``path`` as ``into``; unknown keys and wrong types are errors."""
    try:
        return msgspec.toml.decode(path.read_bytes(), type=into)
    except OSError as e:
        raise InputError(f"cannot be read: {e.strerror}", file=path) from e
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise TableError(str(e), file=path) from e


class BlockType(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A block type: ``weights`` weights are stored in ``bytes`` bytes, as ``fields`` in order.

    ``fallback``: the type of rows whose length is not a multiple of ``weights``; F16 fits every row.
    """

    id: int
    weights: int
    bytes: int
    fields: tuple[str, ...] = ()
    about: str = ""
    fallback: str = "F16"
    name: str = ""

    @property
    def bits(self) -> float:
        """Bits per weight."""
        return self.bytes * 8 / self.weights

    def row_bytes(self, columns: int) -> int:
        """Bytes of a row of ``columns`` weights, which must be a multiple of ``weights``."""
        if columns % self.weights:
            raise UsageError(f"a row of {columns} weights is not a multiple of {self.name}'s {self.weights}")
        return columns // self.weights * self.bytes


@functools.cache
def block_types() -> dict[str, BlockType]:
    """All block types of ``formats/blocks.toml`` by name, plain floats and integers included."""
    table = load(ROOT / "blocks.toml", dict[str, BlockType])
    return {name: msgspec.structs.replace(row, name=name) for name, row in table.items()}


@functools.cache
def block_types_by_id() -> dict[int, BlockType]:
    return {row.id: row for row in block_types().values()}


@functools.cache
def file_types() -> dict[str, int]:
    """Numbers of ``general.file_type`` by the name of the file type."""
    return load(ROOT / "file_types.toml", dict[str, int])
