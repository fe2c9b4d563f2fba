"""Where in a block the quant of each weight lies, and what it stands for between the block's scales.

Neither is written down a second time: the type's own decoder is asked.  A bit of a block that changes one weight alone
belongs to that weight's quant; bits of scales change many.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qconv.blocks.codec import Codec, EncodeContext

_PROBED = 64
"""Blocks looked at for the quants that an encoder uses."""
_CHANGED = 8
"""Of these, blocks whose bits are changed: a sign changes nothing of a zero."""


@dataclass(frozen=True, slots=True, eq=False)
class Quants:
    """The quants of a type, numbered from the lowest value to the highest: its levels.

    ``levels``: float32 ``(levels,)`` from 0 to 1, where a level lies between the lowest and the highest; ``uniform``:
    whether evenly.  ``codes``: uint8, a level's bits as stored.  ``kept``: uint8 ``(bytes,)``, the bits of a block that
    belong to no quant.  ``lowest``, ``highest``: the other bits when all weights have that level.  ``pieces``: int32
    ``(pieces, 4, weights)``, of each weight's code the first bit, the mask, the byte in the block, the first bit there.
    """

    levels: NDArray[np.float32]
    uniform: bool
    codes: NDArray[np.uint8]
    kept: NDArray[np.uint8]
    lowest: NDArray[np.uint8]
    highest: NDArray[np.uint8]
    pieces: NDArray[np.int32]


_known: dict[str, Quants | None] = {}


def quants(codec: Codec) -> Quants | None:
    """The quants of a type that can be encoded; None where they do not lie apart from each other (TQ1_0, F16)."""
    name = codec.layout.name
    if name not in _known:
        _known[name] = _quants(codec)
    return _known[name]


def _quants(codec: Codec) -> Quants | None:
    weights, size = codec.layout.weights, codec.layout.bytes
    rows = np.random.default_rng(1).standard_normal((_PROBED, weights), np.float32)
    made = np.empty((_PROBED, size), np.uint8)
    if weights == 1 or weights > 256 or not codec.encode(rows, EncodeContext(), made):
        return None
    bits = _bits_of_weights(codec, made[:_CHANGED])
    if bits is None:
        return None
    count = bits.shape[1]

    def block(codes: NDArray[np.integer]) -> NDArray[np.uint8]:
        """The quant bits of a block whose weights have these codes."""
        set_bits = np.zeros(8 * size, np.uint8)
        set_bits[bits] = codes[:, None] >> np.arange(count) & 1
        return np.packbits(set_bits, bitorder="little")

    kept = ~block(np.full(weights, (1 << count) - 1))
    all_codes = np.arange(1 << count)
    each = np.stack([made[0] & kept | block(np.full(weights, code)) for code in all_codes])
    values = _decode(codec, each)[:, 0]
    order = np.argsort(values, kind="stable")
    order = order[np.concatenate([[True], np.diff(values[order]) != 0])]
    used = np.unpackbits(made, axis=1, bitorder="little")[:, bits] @ (1 << np.arange(count))
    low, high = np.sort(np.flatnonzero(np.isin(values[order], values[np.unique(used)])))[[0, -1]]
    codes = order[low : high + 1]
    levels = (values[codes] - values[codes[0]]) / (values[codes[-1]] - values[codes[0]])
    return Quants(
        levels=levels,
        uniform=bool(np.allclose(levels, np.linspace(0, 1, len(levels)), atol=1e-5)),
        codes=codes.astype(np.uint8),
        kept=kept,
        lowest=block(np.full(weights, codes[0])),
        highest=block(np.full(weights, codes[-1])),
        pieces=_pieces(bits),
    )


def _decode(codec: Codec, coded: NDArray[np.uint8]) -> NDArray[np.float32]:
    decoded = np.empty((len(coded), codec.layout.weights), np.float32)
    codec.decode(np.ascontiguousarray(coded), decoded)
    return decoded


def _bits_of_weights(codec: Codec, made: NDArray[np.uint8]) -> NDArray[np.int64] | None:
    """The bits of each weight's quant, ``(weights, bits)``, the one that changes least first."""
    weights, size = codec.layout.weights, codec.layout.bytes
    single = np.packbits(np.eye(8 * size, dtype=np.uint8), axis=1, bitorder="little")
    changed = np.zeros((8 * size, weights), np.bool_)
    with np.errstate(invalid="ignore", over="ignore"):
        for block in made:
            changed |= _decode(codec, block ^ single).view(np.uint32) != _decode(codec, block[None]).view(np.uint32)
    alone = np.flatnonzero(changed.sum(axis=1) == 1)
    owner = changed[alone].argmax(axis=1)
    count = np.bincount(owner, minlength=weights)
    if not count[0] or (count != count[0]).any() or count[0] > 8:
        return None
    cleared = made[:1] & ~np.bitwise_or.reduce(single[alone], axis=0)
    effect = np.abs(_decode(codec, cleared | single[alone]) - _decode(codec, cleared))[np.arange(len(alone)), owner]
    return alone[np.lexsort((effect, owner))].reshape(weights, -1)


def _pieces(bits: NDArray[np.int64]) -> NDArray[np.int32]:
    """Runs of bits that are neighbours both in the code and in the block."""
    weights, count = bits.shape
    follows = (np.diff(bits, axis=1) == 1) & (bits[:, 1:] % 8 != 0)
    starts = [0, *(b + 1 for b in range(count - 1) if not follows[:, b].all())]
    pieces = np.empty((len(starts), 4, weights), np.int32)
    for piece, (start, stop) in zip(pieces, zip(starts, [*starts[1:], count], strict=True), strict=True):
        piece[:] = np.stack(
            [
                np.full(weights, start),
                np.full(weights, (1 << stop - start) - 1),
                bits[:, start] // 8,
                bits[:, start] % 8,
            ]
        )
    return pieces
