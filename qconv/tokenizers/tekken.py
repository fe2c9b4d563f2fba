"""Kind ``tekken``: Mistral's ``tekken.json`` with no ``tokenizer.json`` beside it (llama.cpp: ``_set_vocab_mistral``).

The file holds byte strings by rank and no merges; these follow from the ranks.  Special tokens come first in the
vocabulary.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

import msgspec
import numpy as np

from qconv.errors import FormatError, TokenizerError
from qconv.tokenizers.context import LARGEST_VOCAB, Context, NotThisTokenizer
from qconv.tokenizers.excerpt import byte_letters
from qconv.tokenizers.tables import tables
from qconv.tokenizers.templates import chat_templates
from qconv.tokenizers.vocabulary import TokenType, too_large
from qconv.types import Metadata, Value, ValueType

_LONGEST = 1_024
"""Bytes of a token at most, since every place where one may be cut in two is looked at; real ones have below 100."""


class _Config(msgspec.Struct, frozen=True):
    default_vocab_size: int
    default_num_special_tokens: int
    version: str = ""


class _Token(msgspec.Struct, frozen=True):
    token_bytes: str


class _Special(msgspec.Struct, frozen=True):
    rank: int
    token_str: str


class _Tekken(msgspec.Struct, frozen=True):
    config: _Config
    vocab: list[_Token]
    special_tokens: list[_Special] | None = None


ENDS: Metadata = {
    "tokenizer.ggml.add_bos_token": Value.boolean(True),
    "tokenizer.ggml.add_eos_token": Value.boolean(False),
}


def make(context: Context) -> Metadata:
    if context.files.has("tokenizer.json") or not context.files.has("tekken.json"):
        raise NotThisTokenizer("has no tekken.json alone", file=context.files.location)
    keys, version = vocabulary(context)
    return keys | ENDS | _template(context, version)


def vocabulary(context: Context) -> tuple[Metadata, str]:
    """The keys of ``tekken.json`` up to the tokens' types, and the file's version."""
    location = context.files.locate("tekken.json")
    file = context.files.decoded("tekken.json", _Tekken)
    count = file.config.default_vocab_size - file.config.default_num_special_tokens
    if not 256 <= count <= len(file.vocab) or not 0 <= file.config.default_num_special_tokens <= LARGEST_VOCAB:
        raise FormatError(f"asks for {count} of its {len(file.vocab)} tokens", file=location)
    special = _special(file, location)
    try:
        texts = [base64.b64decode(token.token_bytes, validate=True) for token in file.vocab[:count]]
    except (binascii.Error, ValueError) as e:
        raise FormatError(f"a token is not base64: {e}", file=location) from e
    if max(map(len, texts)) > _LONGEST:
        raise FormatError(f"holds a token of more than {_LONGEST:,} bytes", file=location)
    ranks = {text: rank for rank, text in enumerate(texts)}
    if len(ranks) != count:
        raise FormatError("holds a token twice", file=location)
    letters = byte_letters()
    spelled = [text.decode("latin-1").translate(letters) for text in texts]
    try:
        merges = _merges(texts, ranks, spelled)
    except LookupError as e:
        raise TokenizerError(f"token {e} cannot be made by merging two others", file=location) from e
    size = len(special) + count
    if context.vocab_size is not None and size > context.vocab_size:
        raise too_large(size - 1, context.vocab_size, location)
    keys: Metadata = {
        "tokenizer.ggml.model": Value.string("gpt2"),
        "tokenizer.ggml.pre": Value.string("tekken"),
        "tokenizer.ggml.merges": Value.array(ValueType.STRING, merges),
    }
    for key, text in (("bos", "<s>"), ("eos", "</s>"), ("unknown", "<unk>"), ("padding", "<pad>")):
        if text in special:
            keys[f"tokenizer.ggml.{key}_token_id"] = Value.uint32(special.index(text))
    types = np.full(size, TokenType.NORMAL, np.int32)
    types[: len(special)] = TokenType.CONTROL
    tokens = [text.encode() for text in [*special, *spelled]]
    keys["tokenizer.ggml.tokens"] = Value.array(ValueType.STRING, tokens)
    # integers, which is what the converter writes
    keys["tokenizer.ggml.scores"] = Value.array(ValueType.INT32, np.zeros(size, np.int32))
    keys["tokenizer.ggml.token_type"] = Value.array(ValueType.INT32, types)
    return keys, file.config.version


def _special(file: _Tekken, location: str) -> list[str]:
    """The special tokens by id, with names made up for those that have none."""
    if file.special_tokens is None:
        named = list(tables().tekken.special)
    else:
        named = [token.token_str for token in sorted(file.special_tokens, key=lambda token: token.rank)]
    count = file.config.default_num_special_tokens
    if len(named) > count:
        raise FormatError(f"lists {len(named)} special tokens, of {count}", file=location)
    return [*named, *(f"<SPECIAL_{i}>" for i in range(len(named), count))]


def _merges(texts: Sequence[bytes], ranks: dict[bytes, int], spelled: Sequence[str]) -> list[bytes]:
    """Every pair of tokens that makes a third, by the third's rank and then by their own.

    Raises ``LookupError`` for a token that no pair makes.
    """
    merges: list[bytes] = []
    for rank, text in enumerate(texts[256:], 256):
        pairs = []
        for cut in range(1, len(text)):
            left = ranks.get(text[:cut])
            right = None if left is None else ranks.get(text[cut:])
            if left is not None and right is not None:
                pairs.append((left, right))
        if not pairs:
            raise LookupError(rank)
        merges.extend(f"{spelled[left]} {spelled[right]}".encode() for left, right in sorted(pairs))
    return merges


def _template(context: Context, version: str) -> Metadata:
    """The checkpoint's own template, or the name of the runtime's for this version."""
    own = chat_templates(context.files)
    if own or (name := tables().tekken.templates.get(version)) is None:
        return own
    return {"tokenizer.chat_template": Value.string(name)}
