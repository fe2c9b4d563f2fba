"""Kind ``rwkv``: RWKV's own vocabulary of byte strings (llama.cpp: ``_set_vocab_rwkv_world``).

Each line of the file is an id, a text or byte string as Python writes it, and its length in bytes.  In a GGUF file they
all stand as Python writes byte strings, without the quotes.
"""

from __future__ import annotations

import re

from qconv.errors import FormatError
from qconv.files import refuse_disguise
from qconv.tokenizers.context import Context, NotThisTokenizer
from qconv.tokenizers.special import SpecialTokens
from qconv.tokenizers.templates import bundled_text
from qconv.tokenizers.vocabulary import TokenType, Vocabulary, too_large
from qconv.types import Metadata, Value

FILE = "rwkv_vocab_v20230424.txt"

_SIZE = 65_536
_END_OF_TURN = 261  # two line ends, after which the user's turn begins

# what Python's repr writes of texts and byte strings
_LITERAL = re.compile(r"""\d+ (b?)(['"])(.*)\2 (\d{1,9})\s*""")
_ESCAPE = re.compile(r"\\(x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|.)")
_LETTERS = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", "'": "'", '"': '"'}


def make(context: Context) -> Metadata:
    if not context.files.has(FILE):
        hint = "put the model's tokenizer file beside the weights"
        raise NotThisTokenizer(f"has no {FILE}", file=context.files.location, hint=hint)
    location = context.files.locate(FILE)
    texts = _texts(context.files.text(FILE), location)
    size = context.vocab_size or _SIZE
    if len(texts) >= size:
        raise too_large(len(texts), size, location)
    vocabulary = Vocabulary(size)
    vocabulary.set(0, "<s>", TokenType.CONTROL)
    for index, text in enumerate(texts, 1):
        vocabulary.set(index, repr(text)[2:-1], TokenType.NORMAL)
    tokens = SpecialTokens(context.files)
    tokens.set("eot", _END_OF_TURN)
    tokens.ids |= {"bos": 0, "eos": 0}
    keys = vocabulary.metadata("rwkv", None) | tokens.metadata()
    if context.files.tokenizer_config.get("chat_template") is None:
        keys.setdefault("tokenizer.chat_template", Value.string(bundled_text("rwkv-world")))
    return keys


def _texts(data: bytes, location: str) -> list[bytes]:
    refuse_disguise(location, data)
    texts = []
    for number, line in enumerate(data.removesuffix(b"\n").split(b"\n"), 1):
        try:
            texts.append(_text(line.decode()))
        except (LookupError, OverflowError, ValueError) as e:
            raise FormatError(f"line {number} is not an id, text and length", file=location) from e
    return texts


def _text(line: str) -> bytes:
    """The byte string of one line; LookupError, OverflowError or ValueError when the line is no such thing."""
    match = _LITERAL.fullmatch(line)
    if match is None:
        raise ValueError(line)
    value = _ESCAPE.sub(_letter, match[3])
    text = value.encode("latin-1" if match[1] else "utf-8")
    if len(text) != int(match[4]):
        raise ValueError(line)
    return text


def _letter(escape: re.Match[str]) -> str:
    code = escape[1]
    return _LETTERS[code] if len(code) == 1 else chr(int(code[1:], 16))
