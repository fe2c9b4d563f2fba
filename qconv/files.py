"""Bounded reading of the small files beside the weights: JSON, text, and names that stay inside their folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from qconv.errors import FormatError, InputError

LARGEST_JSON = 256 << 20
"""Bytes; the largest tokenizer.json known is 34 MB."""


def read_bytes(path: Path, limit: int = LARGEST_JSON) -> bytes:
    """The whole file, refused when it is larger than ``limit`` bytes or not a regular file."""
    try:
        with path.open("rb") as f:
            data = f.read(limit + 1)
    except OSError as e:
        raise InputError(f"cannot be read: {e.strerror}", file=path) from e
    if len(data) > limit:
        raise FormatError(f"is larger than {limit} bytes", file=path)
    return data


def read_json(path: Path, limit: int = LARGEST_JSON) -> Any:
    """The file's JSON value, as plain Python objects."""
    data = read_bytes(path, limit)
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise FormatError(f"is not valid JSON: {e}", file=path) from e
