"""The small files beside the weights: JSON, and what a file turns out to be instead."""

from __future__ import annotations

import codecs
import json
import re
from typing import Any

import msgspec

from qconv.errors import FormatError
from qconv.storage import LARGEST_SMALL_FILE, Folder

DEEPEST = 64
"""Lists and objects in one another; those of real files lie under ten deep."""

_BRACKETS = re.compile(rb'(?:[^"\[\]{}]++|"(?:[^"\\\n]++|\\.)*+"?+)*+([\[{]++|[\]}]++)?+')
"""The next brackets of one direction, after anything else; texts in double quotes, within a line, are anything else."""


def read_json(folder: Folder, name: str, limit: int = LARGEST_SMALL_FILE) -> Any:
    """The JSON value in a file of ``folder``, as plain Python objects.

    ``NaN`` and ``Infinity``, which Python writes, are read too.  Raises InputError when the file cannot be read,
    FormatError when it is larger than ``limit`` bytes or no JSON.
    """
    return decode_json(folder.read(name, limit), folder.locate(name))


def read_object(folder: Folder, name: str, limit: int = LARGEST_SMALL_FILE) -> dict[str, Any]:
    """The JSON object in a file of ``folder``; raises as ``read_json``, and FormatError for any other value."""
    value = read_json(folder, name, limit)
    if not isinstance(value, dict):
        raise FormatError("is not a JSON object", file=folder.locate(name))
    return value


_MARKS = (
    (codecs.BOM_UTF8, "UTF-8"),
    (codecs.BOM_UTF32_LE, "UTF-32"),  # before UTF-16's, which it begins with
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_SAVE = "save it as UTF-8 without a byte-order mark"


def mark_of(first: bytes) -> str | None:
    """The encoding that a file's ``first`` bytes say by a byte-order mark, as Windows' editors write it; else None."""
    return next((name for mark, name in _MARKS if first.startswith(mark)), None)


def as_utf8(data: bytes, location: str) -> bytes:
    """The text ``data`` in UTF-8 without a byte-order mark; text without a mark as it is.

    FormatError: it is not in the encoding that its mark says.
    """
    encoding = mark_of(data)
    if encoding is None:
        return data
    try:
        return data[len(codecs.BOM_UTF8) :] if encoding == "UTF-8" else data.decode(encoding).encode()
    except UnicodeError as e:
        raise FormatError(
            f"is {encoding} by its byte-order mark, but cannot be read so", file=location, hint=_SAVE
        ) from e


def json_as_utf8(data: bytes, location: str) -> bytes:
    """JSON text as ``as_utf8``; UTF-16 without a mark is told by its zero bytes."""
    if mark_of(data) is None and b"\0" in data[:2]:
        data = (codecs.BOM_UTF16_BE if data[:1] == b"\0" else codecs.BOM_UTF16_LE) + data
    return as_utf8(data, location)


def no_json(data: bytes, location: str, error: Exception) -> FormatError:
    """The error for ``data`` that no decoder of JSON takes: what it is instead, its encoding, or the decoder's word."""
    refuse_disguise(location, data)
    try:
        data.decode()
    except UnicodeDecodeError as e:
        message = f"is not valid JSON: byte {e.start}, 0x{data[e.start]:02X}, is not UTF-8, but of an older encoding"
        return FormatError(message, file=location, hint=_SAVE)
    return FormatError(f"is not valid JSON: {error}", file=location, hint="download or copy it again")


def decode_json(data: bytes, location: str) -> Any:
    """The JSON value ``data``, the contents of the file that messages call ``location``.

    UTF-16 and byte-order marks are read too.  Lists and objects more than ``DEEPEST`` deep are refused, whatever the
    decoders would take.
    """
    data = json_as_utf8(data, location)
    if nests_deeper(data, DEEPEST):
        raise FormatError(f"is not read: its lists and objects lie more than {DEEPEST} deep", file=location)
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
        raise no_json(data, location, e) from e


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


def refuse_disguise(location: str, first: bytes) -> None:
    """Raises ``FormatError`` for a file whose ``first`` bytes (512 are enough) are what a failed download leaves."""
    text = first[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
    if first.startswith(b"version https://git-lfs"):
        hint = "run 'git lfs install' and 'git lfs pull' in its folder, or download it with 'hf download'"
        raise FormatError("is a Git LFS pointer, not the file itself", file=location, hint=hint)
    if text[:1] == b"<" and (b"html" in text.lower() or text.startswith((b"<?xml", b"<!", b"<Error"))):
        hint = "the server sent an error or login page: download it again, with access to the model"
        raise FormatError("is a web page, not the file its name says", file=location, hint=hint)
