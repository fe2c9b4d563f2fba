"""Safetensors files that lie, each a few bytes long."""

from __future__ import annotations

from typing import Any

from tests.checkpoints import packing as p


def _record(start: Any, end: Any, shape: Any = (8,), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


ATTACKS: dict[str, tuple[bytes, str]] = {
    "seven bytes": (bytes(7), "too short"),
    "header of 0 bytes": (bytes(8), "malformed header"),
    "header of 2^64 - 1 bytes": (b"\xff" * 8 + b"{}", "claims a header of 18446744073709551615 bytes"),
    "header of 100,000,001 bytes": (p.file({}, length=100_000_001), "claims a header of 100000001 bytes"),
    "header beyond the end": (p.file({}, length=3), "ends inside its header"),
    "header that is no JSON": (p.file(b"nonsense"), "malformed header"),
    "header that is no UTF-8": (p.file(b'{"\xff": 1}'), "malformed header"),
    "header that is a list": (p.file([]), "malformed header"),
    "header nested deeply": (p.file(b'{"a":' * 100_000), "malformed header"),
    "lists nested deeply": (p.file(b"[" * 100_000), "malformed header"),
    "tensor that is a number": (p.file({"a": 1}), "tensor 'a', byte 8: has a malformed header"),
    "tensor without a type": (p.file({"a": {"shape": [1], "data_offsets": [0, 4]}}, bytes(4)), "malformed header"),
    "type that is a number": (p.file({"a": _record(0, 32, dtype=1)}, bytes(32)), "malformed header"),
    "dimension below zero": (p.file({"a": _record(0, 32, shape=[-8])}, bytes(32)), "malformed header"),
    "dimension of 2^64": (p.file({"a": _record(0, 32, shape=[2**64])}, bytes(32)), "malformed header"),
    "dimension that is not an integer": (p.file({"a": _record(0, 32, shape=[8.5])}, bytes(32)), "malformed header"),
    "a thousand dimensions": (p.file({"a": _record(0, 4, shape=[1] * 1000)}, bytes(4)), "malformed header"),
    "offset below zero": (p.file({"a": _record(-32, 0)}, bytes(32)), "malformed header"),
    "one offset": (p.file({"a": {"dtype": "F32", "shape": [8], "data_offsets": [0]}}, bytes(32)), "malformed header"),
    "end before start": (p.file({"a": _record(32, 0)}, bytes(32)), "do not fit F32[8]"),
    "product that wraps to 0": (p.file({"a": _record(0, 0, shape=[2**32, 2**32])}), "do not fit"),
    "product that wraps to 4": (p.file({"a": _record(0, 16, shape=[2**62, 2, 2])}, bytes(16)), "do not fit"),
    "2^62 rows of nothing": (p.file({"a": _record(0, 0, shape=[2**62, 0])}), "do not fit"),
    "bytes that wrap": (p.file({"a": _record(0, 0, shape=[2**62])}), "do not fit"),
    "too few bytes for its shape": (p.file({"a": _record(0, 28)}, bytes(28)), "do not fit F32[8]"),
    "data beyond the end": (p.file({"a": _record(0, 32)}, bytes(31)), "but the file has"),
    "bytes of no tensor at the end": (p.file({"a": _record(0, 32)}, bytes(33)), "1 bytes that belong to no tensor"),
    "only bytes of no tensor": (p.file({}, bytes(100)), "100 bytes that belong to no tensor"),
    "hole at the start": (p.file({"a": _record(8, 40)}, bytes(40)), "leaves a hole of 8 bytes"),
    "hole between tensors": (
        p.file({"a": _record(0, 32), "b": _record(36, 68)}, bytes(68)),
        "tensor 'b', byte",
    ),
    "tensors that overlap": (p.file({"a": _record(0, 32), "b": _record(16, 48)}, bytes(48)), "overlaps tensor 'a'"),
    "tensors in one place": (p.file({"a": _record(0, 32), "b": _record(0, 32)}, bytes(32)), "overlaps tensor 'a'"),
    "tensor twice": (
        p.file(b'{"a":%s,"a":%s}' % ((b'{"dtype":"F32","shape":[1],"data_offsets":[0,4]}',) * 2), bytes(8)),
        "bytes that belong to no tensor",
    ),
    "metadata that is no text": (
        p.file({"__metadata__": {"a": [1]}, "a": _record(0, 32)}, bytes(32)),
        "malformed header",
    ),
}
"""By what they try: the file, and a part of the message that must come."""
