"""``--override-kv KEY=TYPE:VALUE``, as llama-quantize reads it."""

from __future__ import annotations

import math
import re

from qconv.errors import UsageError
from qconv.types import Value

_LONGEST = 127
"""Bytes of a key or a string that llama.cpp takes."""
_INTEGER = re.compile(r"\s*[+-]?\d{1,19}")
_FLOAT = re.compile(r"\s*[+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?)")


def parse_override(text: str) -> tuple[str, Value]:
    """The key and its value: ``int`` becomes UINT32 (without its sign, as in llama-quantize), ``float`` FLOAT32."""
    key, equals, typed = text.partition("=")
    kind, colon, value = typed.partition(":")
    if not equals or not key or not colon or len(key.encode("utf-8", "surrogateescape")) > _LONGEST:
        raise _malformed(text, "write it as KEY=TYPE:VALUE, TYPE one of int, float, bool, str")
    if kind == "int":
        if not _INTEGER.fullmatch(value) or abs(int(value)) >= 1 << 32:
            raise _malformed(text, "int takes a whole number of up to 32 bits")
        return key, Value.uint32(abs(int(value)))
    if kind == "float":
        if not _FLOAT.fullmatch(value) or not math.isfinite(float(value)) or abs(float(value)) > 3.4028235e38:
            raise _malformed(text, "float takes a number such as 0.5 or 1e-5")
        return key, Value.float32(float(value))
    if kind == "bool":
        if value not in ("true", "false"):
            raise _malformed(text, "bool takes true or false")
        return key, Value.boolean(value == "true")
    if kind == "str":
        if len(value.encode("utf-8", "surrogateescape")) > _LONGEST:
            raise _malformed(text, f"str takes up to {_LONGEST} bytes")
        return key, Value.string(value)
    raise _malformed(text, "TYPE is one of int, float, bool, str")


def _malformed(text: str, hint: str) -> UsageError:
    return UsageError(f"malformed metadata override '{text}'", hint=hint)
