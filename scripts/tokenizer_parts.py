"""Makes the files of tiny tokenizers: SentencePiece models, and every kind of ``tokenizer.json``."""

from __future__ import annotations

import base64
import io
import json
import struct
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number: int, value: bytes | int | float) -> bytes:
    """One field of a protocol buffer."""
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    return varint(number << 3) + varint(value)


NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)


def sentencepiece(
    pieces: Sequence[tuple[str, float, int]], model_type: int, *, prefix: bool = True, charsmap: bytes = b""
) -> bytes:
    """A SentencePiece model: pieces with score and type; ``model_type`` 1 is unigram, 2 BPE."""
    out = b""
    for text, score, type in pieces:
        body = field(1, text.encode()) + field(2, float(score)) + (b"" if type == NORMAL else field(3, type))
        out += field(1, body)
    normalizer = field(1, b"identity") + field(2, charsmap) + field(3, int(prefix)) + field(4, 0)
    byte_fallback = any(type == BYTE for _, _, type in pieces)
    return out + field(2, field(3, model_type) + field(35, int(byte_fallback))) + field(3, normalizer)


def pieces(*words: str, bytes_: bool = True) -> list[tuple[str, float, int]]:
    head = [("<unk>", 0.0, UNKNOWN), ("<s>", 0.0, CONTROL), ("</s>", 0.0, CONTROL)]
    letters = [(f"<0x{b:02X}>", 0.0, BYTE) for b in range(256)] if bytes_ else []
    return [*head, *letters, *((word, -float(i), NORMAL) for i, word in enumerate(words))]


def charsmap() -> bytes:
    """A character map with one rule, a full-width A for a plain one, as SentencePiece compiles it."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2

    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as rules:
        rules.write("FF21\t41\n")
        rules.flush()
        out = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(["the then there here"] * 50),
            model_writer=out,
            vocab_size=10,
            normalization_rule_tsv=rules.name,
            minloglevel=2,
        )
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(out.getvalue())
    return bytes(model.normalizer_spec.precompiled_charsmap)


LETTERS = sorted(
    [chr(b) for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or 174 <= b <= 255]
    + [chr(256 + i) for i in range(68)]
)
MERGES = [("Ġ", "t"), ("h", "e"), ("Ġt", "he"), ("i", "n")]


def token(index: int, content: str, special: bool = True, **more: Any) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": not special, "special": special}
    return {"id": index, "content": content, **flags, **more}


def decoder(*tokens: dict[str, Any]) -> dict[str, Any]:
    """Added tokens as ``tokenizer_config.json`` has them."""
    return {str(t["id"]): {k: v for k, v in t.items() if k != "id"} for t in tokens}


BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def template(single: Sequence[str], pair: Sequence[str], ids: Mapping[str, int]) -> dict[str, Any]:
    def item(word: str) -> dict[str, Any]:
        if word in ("A", "B"):
            return {"Sequence": {"id": word, "type_id": 0}}
        return {"SpecialToken": {"id": word, "type_id": 0}}

    special = {name: {"id": name, "ids": [index], "tokens": [name]} for name, index in ids.items()}
    return {
        "type": "TemplateProcessing",
        "single": [item(w) for w in single],
        "pair": [item(w) for w in pair],
        "special_tokens": special,
    }


def bpe(added: Sequence[dict[str, Any]], *, pairs: bool = True, **more: Any) -> dict[str, Any]:
    """A byte-level ``tokenizer.json``: 256 letters, four merges, added tokens."""
    vocab = {text: i for i, text in enumerate([*LETTERS, *(a + b for a, b in MERGES)])}
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "vocab": vocab,
        "merges": [[a, b] if pairs else f"{a} {b}" for a, b in MERGES],
    }
    parts = {"pre_tokenizer": BYTE_LEVEL, "post_processor": BYTE_LEVEL, "normalizer": None, **more}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": list(added),
        **parts,
        "decoder": BYTE_LEVEL,
        "model": model,
    }


def spm_bpe(words: Sequence[str], merges: Sequence[tuple[str, str]], added: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """SentencePiece BPE as ``tokenizer.json`` holds it."""
    vocab = {text: i for i, (text, _, _) in enumerate(pieces(*words))}
    steps = [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ]
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": list(added),
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace]},
        "pre_tokenizer": None,
        "post_processor": template(["<s>", "A"], ["<s>", "A", "<s>", "B"], {"<s>": 1}),
        "decoder": {"type": "Sequence", "decoders": steps},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "vocab": vocab,
            "merges": [list(pair) for pair in merges],
        },
    }


WORDS = ["▁", "t", "h", "e", "▁t", "he", "▁the"]
SPM_MERGES = [("▁", "t"), ("h", "e"), ("▁t", "he")]
HEAD = [token(0, "<unk>"), token(1, "<s>"), token(2, "</s>")]
N = len(LETTERS) + len(MERGES)  # first id after byte-level BPE's own
P = 259 + len(WORDS)  # first id after SentencePiece's own
CHARSMAP = charsmap()

WORDPIECE = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "##in", "t", "##h", "##e"]
BERT_ADDED = [token(i, WORDPIECE[i]) for i in range(5)]


def wordpiece_json() -> dict[str, Any]:
    return {
        **bpe(BERT_ADDED),
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": False,
            "lowercase": False,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": template(
            ["[CLS]", "A", "[SEP]"], ["[CLS]", "A", "[SEP]", "B", "[SEP]"], {"[CLS]": 2, "[SEP]": 3}
        ),
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {text: i for i, text in enumerate(WORDPIECE)},
        },
    }


def words_json() -> dict[str, Any]:
    """Whole words, of which none is made of others: BPE without merges between spaces."""
    words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "the", "in", "t", "<odd>"]
    added = [token(i, words[i]) for i in range(5)]
    file = bpe(added, pre_tokenizer={"type": "Whitespace"}, normalizer={"type": "Lowercase"})
    model = {**file["model"], "unk_token": "<unk>", "vocab": {text: i for i, text in enumerate(words)}, "merges": []}
    return {**file, "post_processor": None, "model": model}


UNIGRAM = ["<s>", "<pad>", "</s>", "<unk>", "▁the", "▁", "t", "h", "e", "<mask>"]


def unigram_json() -> dict[str, Any]:
    charsmap = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(b"\0\0\0\0").decode()}
    meta = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True}
    return {
        **bpe([token(i, UNIGRAM[i]) for i in (0, 1, 2, 3, 9)]),
        "normalizer": charsmap,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, meta]},
        "post_processor": template(
            ["<s>", "A", "</s>"], ["<s>", "A", "</s>", "</s>", "B", "</s>"], {"<s>": 0, "</s>": 2}
        ),
        "decoder": meta,
        "model": {"type": "Unigram", "unk_id": 3, "vocab": [[text, -float(i)] for i, text in enumerate(UNIGRAM)]},
    }


def chat_tokens(start: int, *texts: str) -> list[dict[str, Any]]:
    return [token(start + i, text) for i, text in enumerate(texts)]


def write(value: Any, indent: int | None = None) -> bytes:
    """The bytes of a file: of bytes, of text, or of a value as JSON."""
    if isinstance(value, bytes):
        return value
    return (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=indent)).encode()
