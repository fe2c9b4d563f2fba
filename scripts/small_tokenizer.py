"""A small byte-level BPE tokenizer, trained on a paragraph, with Llama 3's pre-tokenizer and special tokens."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

TEXT = """
A checkpoint holds the weights of a language model, and most of them are stored as sixteen bits each. Quantization
stores them in blocks: a few bits for every weight, and a scale that all the weights of a block share. The model needs
less memory, reads less memory for every token, and answers almost as well as before. The first thing to know about a
quantized model is how many bits a weight takes; the second is which tensors took more than the others, because some
of them are worth it. There is nothing more to it than this: read a row, find the scale, round the weights, write the
block, and go on with the next row until there are none.
"""

SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]


def byte_alphabet() -> dict[int, str]:
    """The printable character byte-level BPE uses for each byte, as GPT-2 defined it."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = (b for b in range(256) if b not in printable)
    return {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}


def train_merges(text: str, count: int) -> list[tuple[str, str]]:
    """Up to ``count`` byte-pair merges over the words of ``text``, the most frequent pair first, ties by spelling."""
    letters = byte_alphabet()
    words = Counter(tuple(letters[b] for b in f" {word}".encode()) for word in text.split())
    merges: list[tuple[str, str]] = []
    while len(merges) < count:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, seen in words.items():
            for pair in itertools.pairwise(word):
                pairs[pair] += seen
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        words = Counter({_merged(word, best): seen for word, seen in words.items()})
    return merges


def _merged(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    out: list[str] = []
    for piece in word:
        if out and (out[-1], piece) == pair:
            out[-1] += piece
        else:
            out.append(piece)
    return tuple(out)


def tokenizer(vocab: int) -> dict[str, Any]:
    """``tokenizer.json`` of ``vocab`` tokens: bytes, merges, the special tokens, and reserved ones for what is left."""
    room = vocab - 256 - len(SPECIAL)
    merges = train_merges(TEXT, room)
    pieces = [*byte_alphabet().values(), *(a + b for a, b in merges)]
    reserved = [f"<|reserved_special_token_{i}|>" for i in range(room - len(merges))]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    added = [{"id": len(pieces) + i, "content": t, **flags} for i, t in enumerate(SPECIAL + reserved)]
    bos = {"id": SPECIAL[0], "type_id": 0}
    split = {"type": "Split", "pattern": {"Regex": SPLIT}, "behavior": "Isolated", "invert": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, level]},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": bos}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"SpecialToken": bos}, *({"Sequence": {"id": s, "type_id": i}} for i, s in enumerate("AB"))],
            "special_tokens": {SPECIAL[0]: {"id": SPECIAL[0], "ids": [len(pieces)], "tokens": [SPECIAL[0]]}},
        },
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": True,
            "vocab": {piece: i for i, piece in enumerate(pieces)},
            "merges": [f"{a} {b}" for a, b in merges],
        },
    }
