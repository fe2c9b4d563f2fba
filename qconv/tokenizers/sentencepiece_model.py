"""Reads SentencePiece's ``ModelProto``, the protocol buffer in ``tokenizer.model`` (sentencepiece_model.proto).

Only the fields a GGUF file needs: pieces, model type and the normalizer's settings.  Unknown fields are passed over.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from qconv.errors import FormatError
from qconv.files import refuse_disguise
from qconv.tokenizers.vocabulary import TokenType

UNIGRAM, BPE = 1, 2

# first bytes of a model's field "pieces" and of a piece's fields
_PIECE, _TEXT, _SCORE, _TYPE = 0x0A, 0x0A, 0x15, 0x18
_LONGEST_PLAIN = 512
"""Bytes; the usual way to write a piece takes half of them."""

# wire types of protocol buffers
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

# ModelProto.SentencePiece.Type, of which "user defined" makes an ordinary token in llama.cpp
_TYPES = {
    1: TokenType.NORMAL,
    2: TokenType.UNKNOWN,
    3: TokenType.CONTROL,
    4: TokenType.NORMAL,
    5: TokenType.UNUSED,
    6: TokenType.BYTE,
}
_TYPES_BY_NUMBER = np.array([0, *_TYPES.values()], np.int32)
_FLOAT = struct.Struct("<f").unpack_from


class SentencePieceModel:
    """``pieces`` in UTF-8, their ``scores`` (float32) and ``types`` (``TokenType``), and the normalizer's settings."""

    def __init__(self, data: bytes, location: str) -> None:
        """``data``: the file's contents; ``location``: what messages call it."""
        self.location = location
        self.pieces: list[bytes] = []
        self.model_type = UNIGRAM
        self.byte_fallback = False
        self.add_dummy_prefix = True
        self.remove_extra_whitespaces = True
        self.precompiled_charsmap = b""
        refuse_disguise(location, data)
        try:
            self._read(data)
            # one look at all of them: a zero byte is a character by itself
            b"\0".join(self.pieces).decode()
        except (IndexError, KeyError, ValueError, struct.error) as e:
            raise FormatError(f"is not a SentencePiece model: {e}", file=location) from e
        if not self.pieces:
            raise FormatError("is not a SentencePiece model: it has no pieces", file=location)
        if self.byte_fallback and b"\0" in self.pieces:
            # the library's own rule: there is a byte for it already
            self.types[self.pieces.index(b"\0")] = TokenType.UNUSED

    def __len__(self) -> int:
        return len(self.pieces)

    def _read(self, data: bytes) -> None:
        self.pieces, first_scores, first_types, rest = _plain_pieces(data)
        scores: list[float] = []
        types: list[int] = []
        for field, value in _fields(data, rest, len(data)):
            if field == 1:
                piece, score, type = _piece(data, *_span(value))
                self.pieces.append(piece)
                scores.append(score)
                types.append(_TYPES[type])
            elif field == 2:
                for inner, setting in _fields(data, *_span(value)):
                    if inner == 3:
                        self.model_type = _number(setting)
                    elif inner == 35:
                        self.byte_fallback = bool(_number(setting))
            elif field == 3:
                self._normalizer(data, *_span(value))
        self.scores = np.concatenate([first_scores, np.array(scores, np.float32)])
        self.types = np.concatenate([first_types, np.array(types, np.int32)])

    def _normalizer(self, data: bytes, start: int, stop: int) -> None:
        for field, value in _fields(data, start, stop):
            if field == 2:
                self.precompiled_charsmap = data[slice(*_span(value))]
            elif field == 3:
                self.add_dummy_prefix = bool(_number(value))
            elif field == 4:
                self.remove_extra_whitespaces = bool(_number(value))


def _plain_pieces(data: bytes) -> tuple[list[bytes], NDArray[np.float32], NDArray[np.int32], int]:
    """The first pieces, as far as they are written in the usual way: texts, scores, types, and where they end.

    That is nearly all of a quarter of a million: text, score, and the type when it is not NORMAL, all of them short.
    """
    starts: list[int] = []
    at, safe = 0, len(data) - _LONGEST_PLAIN
    while at < safe and data[at] == _PIECE:
        starts.append(at)
        at += 2 + data[at + 1]
    raw = np.frombuffer(data, np.uint8)
    begin = np.array(starts, np.int64)
    size, length = raw[begin + 1], raw[begin + 3]
    score = begin + 4 + length
    left = begin + 2 + size - score
    plain = (size < 0x80) & (raw[begin + 2] == _TEXT) & (length < 0x80) & (raw[score] == _SCORE)
    typed = left == 7
    type = np.where(typed, raw[score + 6], TokenType.NORMAL)
    plain &= (left == 5) | (typed & (raw[score + 5] == _TYPE))
    plain &= (type >= min(_TYPES)) & (type <= max(_TYPES))
    count = len(plain) if plain.all() else int(plain.argmin())
    begin, score, type = begin[:count], score[:count], type[:count]
    rest = int(score[-1] + left[count - 1]) if count else 0
    texts = [data[a:b] for a, b in zip((begin + 4).tolist(), score.tolist(), strict=True)]
    scores = raw[score[:, None] + np.arange(1, 5)].view("<f4").astype(np.float32).reshape(-1)
    return texts, scores, _TYPES_BY_NUMBER[type], rest


def _piece(data: bytes, start: int, stop: int) -> tuple[bytes, float, int]:
    """Text, score and type of one piece."""
    text, score, type = b"", 0.0, 1
    for field, value in _fields(data, start, stop):
        if field == 1:
            text = data[slice(*_span(value))]
        elif field == 2:
            score = _FLOAT(data, _span(value)[0])[0]
        elif field == 3:
            type = _number(value)
    return text, score, type


def _fields(data: bytes, start: int, stop: int) -> Iterator[tuple[int, int | tuple[int, int]]]:
    """The fields of a message: number, and value (variable-length integers) or where in ``data`` it lies."""
    while start < stop:
        key, start = _varint(data, start)
        wire = key & 7
        if wire == _VARINT:
            value, start = _varint(data, start)
            yield key >> 3, value
            continue
        if wire == _BYTES:
            length, start = _varint(data, start)
        elif wire in (_FIXED32, _FIXED64):
            length = 4 if wire == _FIXED32 else 8
        else:
            raise ValueError(f"wire type {wire} at byte {start}")
        if start + length > stop:
            raise ValueError(f"a field at byte {start} runs past its end")
        yield key >> 3, (start, start + length)
        start += length


def _varint(data: bytes, start: int) -> tuple[int, int]:
    """A variable-length integer and where it ends."""
    value = shift = 0
    while shift < 70:
        byte = data[start]
        start += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, start
        shift += 7
    raise ValueError(f"an integer at byte {start} does not end")


def _span(value: int | tuple[int, int]) -> tuple[int, int]:
    if isinstance(value, int):
        raise ValueError("a number where text should be")
    return value


def _number(value: int | tuple[int, int]) -> int:
    if not isinstance(value, int):
        raise ValueError("text where a number should be")
    return value
