"""Messages between a session and its child process: a few values in MessagePack, then the bytes of arrays.

A message is a 32-bit length, the values, and the arrays one after the other.  Arrays are written from where they are
and read to where they stay.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from io import RawIOBase
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from qconv import errors
from qconv.errors import QconvError

Array = NDArray[Any]


class Message(msgspec.Struct):
    """``name``: of a request; of an answer ``ok`` or ``error``.  ``arrays``: type and shape of each that follows."""

    name: str
    values: dict[str, Any]
    arrays: list[tuple[str, tuple[int, ...]]] = []


def send(stream: RawIOBase, name: str, values: dict[str, Any], arrays: Sequence[Array] = ()) -> None:
    contiguous = [np.ascontiguousarray(array) for array in arrays]
    message = Message(name, values, [(a.dtype.str, a.shape) for a in contiguous])
    head = msgspec.msgpack.encode(message)
    _write(stream, memoryview(struct.pack("<I", len(head)) + head))
    for array in contiguous:
        _write(stream, array.reshape(-1).view(np.uint8).data)


def receive(stream: RawIOBase) -> tuple[Message, list[Array]]:
    """The next message; raises ``EOFError`` when the other side has gone."""
    (size,) = struct.unpack("<I", _read(stream, bytearray(4)))
    message = msgspec.msgpack.decode(_read(stream, bytearray(size)), type=Message)
    arrays = []
    for dtype, shape in message.arrays:
        array = np.empty(shape, dtype)
        _read(stream, array.reshape(-1).view(np.uint8))
        arrays.append(array)
    return message, arrays


def _write(stream: RawIOBase, data: memoryview) -> None:
    while data:
        data = data[stream.write(data) :]


def _read(stream: RawIOBase, into: Any) -> Any:
    view = memoryview(into)
    while view:
        count = stream.readinto(view)
        if not count:
            raise EOFError
        view = view[count:]
    return into


_KINDS = {kind.code: kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, QconvError)}


def error_values(error: QconvError) -> dict[str, Any]:
    where = {"file": error.file, "tensor": error.tensor, "offset": error.offset, "hint": error.hint}
    return {"code": error.code, "message": error.message} | where


def error_of(values: dict[str, Any]) -> QconvError:
    """The error that ``error_values`` describes."""
    code, message = values.pop("code"), values.pop("message")
    return _KINDS.get(code, QconvError)(message, **values)
