"""Byte-level BPE as tiktoken keeps it: a line for each token, in base64, with its rank, and no merges.

A token's rank is its id.  Special tokens stand in the code beside the file; which they are says
``formats/tokenizers.toml``.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from qconv.errors import FormatError
from qconv.files import refuse_disguise
from qconv.tokenizers.context import LARGEST_VOCAB, Context, NotThisTokenizer
from qconv.tokenizers.excerpt import byte_letters
from qconv.tokenizers.pre_tokenizer import check_pre
from qconv.tokenizers.tables import Tiktoken
from qconv.tokenizers.vocabulary import TokenType, Vocabulary, too_large
from qconv.types import Metadata, Value, ValueType

LONGEST = 1_024
"""Bytes of a token at most, since how it was merged takes the square of its length; real ones have below 200."""


def read_ranks(data: bytes, location: str) -> dict[bytes, int]:
    """Tokens to ranks, in the order of the file; FormatError when it is no such file."""
    refuse_disguise(location, data)
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(data.splitlines(), 1):
        if not line:
            continue
        try:
            text, rank = line.split()
            token = base64.b64decode(text, validate=True)
            ranks[token] = int(rank)
        except (binascii.Error, ValueError) as e:
            raise FormatError(f"line {number} is not a token in base64 and its rank", file=location) from e
        if not 0 < len(token) <= LONGEST or not 0 <= ranks[token] < LARGEST_VOCAB:
            raise FormatError(f"line {number}: a token of {len(token)} bytes of rank {ranks[token]}", file=location)
    if not ranks or len(set(ranks.values())) != len(ranks):
        raise FormatError("has no tokens, or two of one rank", file=location)
    return ranks


def spelled(ranks: Mapping[bytes, int]) -> dict[bytes, str]:
    """Each token's bytes in the letters of byte-level BPE (``byte_letters``)."""
    letters = byte_letters()
    return {token: token.decode("latin-1").translate(letters) for token in ranks}


def merges(ranks: Mapping[bytes, int]) -> list[bytes]:
    """The merge that makes each token, ``left right``, in the order of ``ranks``; tokens that none makes have none."""
    texts = spelled(ranks)
    pairs = []
    for token, rank in ranks.items():
        cut = _last_cut(ranks, token, rank)
        left, right = texts.get(token[:cut]), texts.get(token[cut:])
        if left is not None and right is not None:
            pairs.append(f"{left} {right}".encode())
    return pairs


def _last_cut(ranks: Mapping[bytes, int], token: bytes, rank: int) -> int:
    """Where ``token`` is merged from two parts when only tokens of a lower ``rank`` are known; 0 when it never is.

    Byte pair encoding: of all neighbours that make a token, those are merged first that make the one of lowest rank.
    """
    edges = list(range(len(token) + 1))
    made = [ranks.get(token[i : i + 2], rank) for i in range(len(token) - 1)]
    while len(made) > 1:
        lowest = min(made)
        if lowest >= rank:
            return 0
        place = made.index(lowest)
        del made[place], edges[place + 1]
        if place > 0:
            made[place - 1] = ranks.get(token[edges[place - 1] : edges[place + 1]], rank)
        if place < len(made):
            made[place] = ranks.get(token[edges[place] : edges[place + 2]], rank)
    return edges[1] if made else 0


def base_vocabulary(
    context: Context, ranks: Mapping[bytes, int], special: Mapping[str, int], location: str
) -> Vocabulary:
    """Ordinary tokens and special ones, padded to the config's ``vocab_size``; TokenizerError for one beyond it."""
    highest = max(*ranks.values(), *special.values())
    size = context.vocab_size or highest + 1
    if highest >= size:
        raise too_large(highest, size, location)
    vocabulary = Vocabulary(size)
    for text, rank in zip(spelled(ranks).values(), ranks.values(), strict=True):
        vocabulary.set(rank, text, TokenType.NORMAL)
    for text, index in special.items():
        vocabulary.set(index, text, TokenType.CONTROL)
    return vocabulary


def read(context: Context, known: Tiktoken) -> tuple[dict[str, int], Metadata]:
    """The special tokens, and the keys up to the merges; ``NotThisTokenizer`` when the file is not there."""
    if not context.files.has(known.file):
        raise NotThisTokenizer(f"has no {known.file}", file=context.files.location)
    location = context.files.locate(known.file)
    ranks = read_ranks(context.files.text(known.file), location)
    first = max(ranks.values()) + 1
    last = LARGEST_VOCAB if context.vocab_size is None else context.vocab_size
    extras = [f"<|extra_{i}|>" for i in range(known.extras)]
    said = context.files.config_added_tokens or {} if known.reserved else {}
    reserved = [
        said[i].content if i in said else f"<|reserved_token_{i}|>" for i in range(first, first + known.reserved)
    ]
    special = {text: index for index, text in enumerate((*known.special, *extras, *reserved), first)}
    special = {text: index for text, index in special.items() if index < last or text in known.special}
    pre = known.pre if context.pre is None else check_pre(context.pre)
    keys = base_vocabulary(context, ranks, special, location).metadata("gpt2", pre)
    keys["tokenizer.ggml.merges"] = Value.array(ValueType.STRING, merges(ranks))
    return special, keys
