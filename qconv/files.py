"""Bounded reading of the small files beside the weights: JSON, text, and names that stay inside their folder."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path, PurePosixPath
from typing import Any

import msgspec

from qconv.errors import FormatError, InputError

LARGEST_JSON = 256 << 20
"""Bytes; the largest tokenizer.json known is 34 MB."""

DEEPEST = 64
"""Lists and objects in one another; those of real files lie under ten deep."""

_BRACKETS = re.compile(rb'(?:[^"\[\]{}]++|"(?:[^"\\\n]++|\\.)*+"?+)*+([\[{]++|[\]}]++)?+')
"""The next brackets of one direction, after anything else; texts in double quotes, within a line, are anything else."""


def read_bytes(path: Path, limit: int = LARGEST_JSON) -> bytes:
    """The whole file, refused when it is larger than ``limit`` bytes or not a regular file."""
    try:
        with open(open_regular(path), "rb") as f:
            data = f.read(limit + 1)
    except OSError as e:
        raise InputError(f"cannot be read: {e.strerror}", file=path) from e
    if len(data) > limit:
        raise FormatError(f"is larger than {limit} bytes", file=path)
    return data


def begins_with(path: Path, expected: bytes) -> bool:
    """Whether the file begins with these bytes."""
    try:
        with open(open_regular(path), "rb") as f:
            return f.read(len(expected)) == expected
    except OSError as e:
        raise InputError(f"cannot be read: {e.strerror}", file=path) from e


def open_regular(path: Path) -> int:
    """A descriptor to read ``path`` from; raises ``InputError`` when it cannot be opened or is not a regular file."""
    try:
        # without O_NONBLOCK, opening a named pipe would wait for its other end
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as e:
        raise InputError(f"cannot be opened: {e.strerror}", file=path) from e
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise InputError("is not a regular file", file=path)
    return descriptor


def read_json(path: Path, limit: int = LARGEST_JSON) -> Any:
    """The file's JSON value, as plain Python objects; ``NaN`` and ``Infinity``, which Python writes, are read too.

    Lists and objects more than ``DEEPEST`` deep are refused, whatever the decoders would take.
    """
    data = read_bytes(path, limit)
    if nests_deeper(data, DEEPEST):
        raise FormatError(f"is not read: its lists and objects lie more than {DEEPEST} deep", file=path)
    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        if b"Infinity" in data or b"NaN" in data:
            try:
                value = json.loads(data)
                json.dumps(value, ensure_ascii=False).encode()  # half of a surrogate pair is no text
                return value
            except (ValueError, RecursionError):
                pass  # the first error says where
        refuse_disguise(path, data)
        raise FormatError(f"is not valid JSON: {e}", file=path, hint="download or copy it again") from e


def nests_deeper(text: bytes, limit: int) -> bool:
    """Whether brackets, square or curly ones outside double quotes, lie more than ``limit`` deep.

    For what is read by a library that calls itself for each, or has a bound of its own.  Exact for JSON, up to the byte
    where it stops being JSON.
    """
    if text.count(b"[") + text.count(b"{") <= limit:  # as in most files, and quicker
        return False
    depth = 0
    for match in _BRACKETS.finditer(text):
        brackets = match[1] or b""
        depth = depth + len(brackets) if brackets[:1] in b"[{" else max(0, depth - len(brackets))
        if depth > limit:
            return True
    return False


def refuse_disguise(path: Path, first: bytes) -> None:
    """Raises ``FormatError`` for a file whose ``first`` bytes (512 are enough) are what a failed download leaves."""
    text = first[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
    if first.startswith(b"version https://git-lfs"):
        hint = "run 'git lfs install' and 'git lfs pull' in its folder, or download it with 'hf download'"
        raise FormatError("is a Git LFS pointer, not the file itself", file=path, hint=hint)
    if text[:1] == b"<" and (b"html" in text.lower() or text.startswith((b"<?xml", b"<!", b"<Error"))):
        hint = "the server sent an error or login page: download it again, with access to the model"
        raise FormatError("is a web page, not the file its name says", file=path, hint=hint)


def beside(directory: Path, name: str) -> Path | None:
    """``inside``, or None when there is no such file."""
    return inside(directory, name) if (directory / name).is_file() else None


def inside(directory: Path, name: str) -> Path:
    """The file ``name`` of ``directory``, which must stay in there.

    A link may lead to another place in the directory, or to the blobs of a Hugging Face cache, where checkpoints are
    folders of links; any other is refused with ``FormatError``, as are absolute names and those with ``..``.
    """
    pure = PurePosixPath(name)
    if not name or "\0" in name or pure.is_absolute() or ".." in pure.parts:
        hint = "only files of its own folder are read: put it there, or get the model from another place"
        raise FormatError(f"names a file outside its folder, '{name}'", file=directory, hint=hint)
    path = directory / name
    try:
        target, home = path.resolve(), directory.resolve()
    except (OSError, RuntimeError) as e:
        raise FormatError(f"'{name}' cannot be followed: {e}", file=directory) from e
    if target.is_relative_to(home):
        return path
    folder = target.parent
    if folder.name == "blobs" and folder.parent.name.startswith("models--"):
        return path
    hint = "copy the file there, or give its own path"
    raise FormatError(f"'{name}' is a link that leads out of the folder, to '{target}'", file=directory, hint=hint)
