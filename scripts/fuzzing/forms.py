"""The forms inputs come in: bytes taken apart into a tree that ``trees`` changes, and put together again.

Whatever a tree has become, putting it together succeeds: what does not fit a field is cut to it.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Callable
from typing import Any, NamedTuple

from fuzzing.targets import WIDTHS
from fuzzing.trees import Tree
from qconv.formats import block_types_by_id

_MOST_DATA = 60_000
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Bytes of GGUF's value types; 8 is a string, 9 an array."""


class Form(NamedTuple):
    """``parse`` may raise ValueError, KeyError or RecursionError; ``write`` raises nothing."""

    parse: Callable[[bytes], Tree]
    write: Callable[[Tree], bytes]


def _object(tree: Tree) -> dict[str, Any]:
    return tree if isinstance(tree, dict) else {}


def _list(tree: Tree) -> list[Any]:
    return tree if isinstance(tree, list) else []


def _number(tree: Tree, size: int) -> bytes:
    try:
        return (int(tree) & (1 << 8 * size) - 1).to_bytes(size, "little")
    except (TypeError, ValueError, OverflowError):
        return bytes(size)


def _data(tree: Tree, size: int | None) -> bytes:
    """Bytes written as Latin-1, filled up with zeros or cut to ``size``."""
    data = tree.encode("latin-1", "replace") if isinstance(tree, str) else b""
    return data if size is None else data[:size].ljust(min(size, _MOST_DATA), b"\0")


def _write_json(tree: Tree) -> bytes:
    return json.dumps(tree, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def _write_words(tree: Tree) -> bytes:
    return "\0".join(map(str, _list(tree))).encode("utf-8", "surrogatepass")


def _parse_safetensors(data: bytes) -> Tree:
    length = int.from_bytes(data[:8], "little")
    return {"header": json.loads(data[8 : 8 + length]), "data": data[8 + length :].decode("latin-1"), "placed": True}


def _write_safetensors(tree: Tree) -> bytes:
    """``placed``: offsets follow from types and shapes, so that they are right whatever has changed."""
    header, size = _object(tree).get("header"), None
    if _object(tree).get("placed") is True:
        size = 0
        for tensor in _object(header).values():
            match tensor:
                case {"dtype": str() as dtype, "shape": list() as shape} if all(type(n) is int for n in shape):
                    end = size + max(0, math.prod(shape)) * WIDTHS.get(dtype, 1)
                    tensor["data_offsets"] = [size, end]
                    size = end
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + _data(_object(tree).get("data"), size)


def _parse_toml(data: bytes) -> Tree:
    return tomllib.loads(data.decode())


def _write_toml(tree: Tree) -> bytes:
    lines = (f"{_toml_text(key)} = {_toml(value)}\n" for key, value in _object(tree).items())
    return "".join(lines).encode("utf-8", "replace")


def _toml(value: Tree) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case list():
            return f"[{', '.join(map(_toml, value))}]"
        case dict():
            return f"{{{', '.join(f'{_toml_text(k)} = {_toml(v)}' for k, v in value.items())}}}"
    return _toml_text(value)


def _toml_text(value: Tree) -> str:
    return json.dumps(str(value)).replace("\x7f", "\\u007F")


class _Cursor:
    """Takes a little-endian GGUF header apart, trusting it; what leads out of it raises."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def take(self, size: int) -> bytes:
        taken = self.data[self.at : self.at + size]
        if len(taken) != size:
            raise ValueError("cut short")
        self.at += size
        return taken

    def text(self) -> str:
        return self.take(self.number(8)).decode("latin-1")

    def value(self, kind: int) -> Tree:
        if kind == 8:
            return self.text()
        if kind == 9:
            element = self.number(4)
            return [element, [self.value(element) for _ in range(self._few(self.number(8)))]]
        return self.number(_SIZES[kind])

    def key(self) -> Tree:
        name, kind = self.text(), self.number(4)
        return [name, kind, self.value(kind)]

    def tensor(self) -> Tree:
        name = self.text()
        sizes = [self.number(8) for _ in range(self._few(self.number(4)))]
        return [name, sizes, self.number(4), self.number(8)]

    @staticmethod
    def _few(count: int) -> int:
        if count > 5000:
            raise ValueError("too many")
        return count


def _parse_gguf(data: bytes) -> Tree:
    cursor = _Cursor(data)
    if cursor.take(4) != b"GGUF":
        raise ValueError("no GGUF file")
    version, n_tensors, n_keys = cursor.number(4), cursor.number(8), cursor.number(8)
    keys = [cursor.key() for _ in range(cursor._few(n_keys))]
    tensors = [cursor.tensor() for _ in range(cursor._few(n_tensors))]
    rest = data[cursor.at + -cursor.at % 32 :].decode("latin-1")
    return {"version": version, "keys": keys, "tensors": tensors, "data": rest, "placed": True}


def _write_gguf(tree: Tree) -> bytes:
    """``placed``: offsets follow from types and shapes, so that they are right whatever has changed."""
    file = _object(tree)
    keys, tensors = _list(file.get("keys")), _list(file.get("tensors"))
    size = _place(tensors) if file.get("placed") is True else None
    head = b"GGUF" + _number(file.get("version"), 4) + _number(len(tensors), 8) + _number(len(keys), 8)
    head += b"".join(map(_gguf_key, keys)) + b"".join(map(_gguf_tensor, tensors))
    return head + bytes(-len(head) % 32) + _data(file.get("data"), size)


def _place(tensors: list[Any]) -> int:
    end = 0
    for tensor in tensors:
        match tensor:
            case [_, list() as sizes, int() as kind, _] if all(type(n) is int for n in sizes):
                row = block_types_by_id().get(kind)
                tensor[3] = end
                size = 0 if row is None else max(0, math.prod(sizes)) // row.weights * row.bytes
                end += size + -size % 32
    return end


def _gguf_text(tree: Tree) -> bytes:
    data = str(tree).encode("latin-1", "replace")
    return _number(len(data), 8) + data


def _gguf_value(kind: Tree, value: Tree) -> bytes:
    if kind == 8:
        return _gguf_text(value)
    if kind == 9:
        element, items = (*_list(value), None, None)[:2]
        held = b"".join(_gguf_value(element, item) for item in _list(items))
        return _number(element, 4) + _number(len(_list(items)), 8) + held
    return _number(value, _SIZES.get(kind, 4) if isinstance(kind, int) else 4)


def _gguf_key(tree: Tree) -> bytes:
    name, kind, value = (*_list(tree), None, None, None)[:3]
    return _gguf_text(name) + _number(kind, 4) + _gguf_value(kind, value)


def _gguf_tensor(tree: Tree) -> bytes:
    name, sizes, kind, offset = (*_list(tree), None, None, None, None)[:4]
    numbers = b"".join(_number(n, 8) for n in _list(sizes))
    return _gguf_text(name) + _number(len(_list(sizes)), 4) + numbers + _number(kind, 4) + _number(offset, 8)


_GGUF, _TOML = Form(_parse_gguf, _write_gguf), Form(_parse_toml, _write_toml)
FORMS = {
    "gguf": _GGUF,
    "safetensors": Form(_parse_safetensors, _write_safetensors),
    "plan": Form(json.loads, _write_json),
    "adapter": Form(json.loads, _write_json),
    "quantized": Form(json.loads, _write_json),
    "imatrix": _GGUF,
    "calibration": _GGUF,
    "hessians": _GGUF,
    "evaluations": Form(json.loads, _write_json),
    "mix": _TOML,
    "table": _TOML,
    "cli": Form(lambda data: data.decode().split("\0"), _write_words),
}
"""By target."""
