"""GGUF files that lie, each a few bytes long; most of them stopped or broke another reader once."""

from __future__ import annotations

import struct

from tests.gguf import packing as p

_alignment = "general.alignment"


def _u32(number: int) -> bytes:
    return struct.pack("<I", number)


ATTACKS: dict[str, tuple[bytes, str]] = {
    "counts of 2^62 in 43 bytes": (
        p.file(counts=(0, 2**62))[:24] + bytes(19),
        "claims 4611686018427387904 metadata keys",
    ),
    "tensor count of 2^62": (p.file(counts=(2**62, 0)) + bytes(100), "claims 4611686018427387904 tensors"),
    "more tensors than fit": (p.file(counts=(9, 0)) + bytes(100), "claims 9 tensors, more than fit"),
    "more keys than fit": (p.file(counts=(0, 200)) + bytes(100), "claims 200 metadata keys, more than fit"),
    "array of 2^60 bytes": (p.file([p.key("a", p.ARRAY, p.array(p.U8, 2**60, b""))]), "claims 1152921504606846976"),
    "array of 2^61 + 1 numbers, wrapping to 8 bytes": (
        p.file([p.key("a", p.ARRAY, p.array(p.U64, 2**61 + 1, bytes(8)))]),
        "claims 2305843009213693953 items",
    ),
    "array of 2^61 strings": (p.file([p.key("a", p.ARRAY, p.array(p.STRING, 2**61, b""))]), "more than fit"),
    "array of strings that leads out": (
        p.file([p.key("a", p.ARRAY, p.array(p.STRING, 2, p.text("x") + _u32(2**31) + _u32(2**31)))]) + bytes(64),
        "ends inside its header",
    ),
    "arrays in arrays": (
        p.file([p.key("a", p.ARRAY, p.array(p.ARRAY, 1, p.array(p.ARRAY, 1, b"") * 1000))]),
        "nests arrays",
    ),
    "string of 2^63 bytes": (p.file([p.key("a", p.STRING, struct.pack("<Q", 2**63))]), "9223372036854775808 bytes"),
    "string beyond the end": (p.file([p.key("a", p.STRING, struct.pack("<Q", 999))]), "ends inside its header"),
    "key of 2^32 bytes": (p.file([struct.pack("<Q", 2**32) + bytes(32)]), "a metadata key 4294967296 bytes"),
    "key without a name": (p.file([p.key("", p.U8, b"\0")]), "without a name"),
    "key twice": (p.file([p.key("a", p.U8, b"\0"), p.key("a", p.U8, b"\1")]), "'a' twice"),
    "unknown value type": (p.file([p.key("a", 13, bytes(8))]), "unknown value type, 13"),
    "unknown item type": (p.file([p.key("a", p.ARRAY, p.array(77, 1, bytes(8)))]), "unknown value type, 77"),
    "alignment 0": (p.file([p.key(_alignment, p.U32, _u32(0))]), "not a power of two"),
    "alignment 24": (p.file([p.key(_alignment, p.U32, _u32(24))]), "not a power of two"),
    "alignment 2^31": (p.file([p.key(_alignment, p.U32, _u32(2**31))]), "not a power of two"),
    "alignment NaN": (p.file([p.key(_alignment, p.F32_VALUE, struct.pack("<f", float("nan")))]), "not a power of two"),
    "alignment as text": (p.file([p.key(_alignment, p.STRING, p.text("32"))]), "not a power of two"),
    "version 0": (p.file(version=0), "GGUF version 0"),
    "version 1": (p.file(version=1), "GGUF version 1"),
    "version 4": (p.file(version=4), "GGUF version 4"),
    "magic alone": (b"GGUF", "too short"),
    "other magic": (b"GGML" + bytes(60), "not a GGUF file"),
    "five dimensions": (p.file([], [p.tensor("a", [1] * 5, p.F32, 0)], bytes(32)), "has 5 dimensions"),
    "2^32 - 1 dimensions": (
        p.file([], [p.text("a") + _u32(2**32 - 1) + bytes(64)], bytes(32)),
        "has 4294967295 dimensions",
    ),
    "dimension of 2^63": (p.file([], [p.tensor("a", [2**63], p.F32, 0)], bytes(32)), "impossible shape"),
    "product that wraps to 0": (p.file([], [p.tensor("a", [2**32, 2**32], p.F32, 0)], bytes(32)), "impossible shape"),
    "product that wraps to 4": (
        p.file([], [p.tensor("a", [2**62, 2, 2, 2], p.F32, 0)], bytes(32)),
        "impossible shape",
    ),
    "2^62 rows of nothing": (p.file([], [p.tensor("a", [0, 2**62], p.F32, 0)], bytes(32)), "impossible shape"),
    "bytes that wrap": (p.file([], [p.tensor("a", [2**62], p.F32, 0)], bytes(32)), "needs 18446744073709551"),
    "offset beyond the end": (p.file([], [p.tensor("a", [8], p.F32, 1024)], bytes(32)), "the file has"),
    "offset + size that wraps": (
        p.file([], [p.tensor("a", [8], p.F32, 2**64 - 32)], bytes(32)),
        "the file has",
    ),
    "offset off the alignment": (
        p.file([], [p.tensor("a", [4], p.F32, 4)], bytes(32)),
        "not a multiple of the alignment",
    ),
    "data one byte short": (p.file([], [p.tensor("a", [8], p.F32, 0)], bytes(31)), "the file has"),
    "tensors that overlap": (
        p.file([], [p.tensor("a", [16], p.F32, 0), p.tensor("b", [8], p.F32, 32)], bytes(64)),
        "overlaps tensor 'a'",
    ),
    "tensors in one place": (
        p.file([], [p.tensor("a", [8], p.F32, 0), p.tensor("b", [8], p.F32, 0)], bytes(64)),
        "overlaps tensor",
    ),
    "tensor twice": (
        p.file([], [p.tensor("a", [8], p.F32, 0), p.tensor("a", [8], p.F32, 32)], bytes(64)),
        "occurs twice",
    ),
    "unknown tensor type": (p.file([], [p.tensor("a", [8], 4, 0)], bytes(64)), "unknown type, 4"),
    "tensor type 2^32 - 1": (p.file([], [p.tensor("a", [8], 2**32 - 1, 0)], bytes(64)), "unknown type"),
    "row that is no whole block": (p.file([], [p.tensor("a", [33, 32], p.Q8_0, 0)], bytes(2048)), "not a multiple of"),
    "name of 5,000 bytes": (p.file([], [p.tensor("a" * 5000, [8], p.F32, 0)], bytes(64)), "5000 bytes"),
}
"""By what they try: the file, and a part of the message that must come."""
