"""``tokenizer.json`` for directories from before it: ``vocab.json`` with ``merges.txt``, or ``vocab.txt``."""

from __future__ import annotations

from typing import Any

import msgspec

from qconv.files import read_bytes
from qconv.tokenizers.job import OtherKind
from qconv.tokenizers.source import Source, TokenizerJson
from qconv.tokenizers.tables import HfClass, tables

_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def build(source: Source, hf_class: HfClass) -> TokenizerJson:
    """What transformers converts the older files to, for the classes whose table says how.

    Raises ``OtherKind`` when the files are not there.
    """
    if hf_class.built in ("gpt2", "qwen2") and source.has("vocab.json") and source.has("merges.txt"):
        return _bpe(source, qwen2=hf_class.built == "qwen2")
    if hf_class.built == "bert" and source.has("vocab.txt"):
        return _wordpiece(source)
    raise OtherKind(
        "has no tokenizer.json",
        file=source.directory,
        hint="put the model's tokenizer.json, or its tokenizer.model, beside the weights",
    )


def _bpe(source: Source, *, qwen2: bool) -> TokenizerJson:
    path = source.path("vocab.json")
    model = {
        "type": "BPE",
        "vocab": Source.decode(read_bytes(path), dict[str, int], path),
        "merges": [merge.decode() for merge in source.merges],
        "continuing_subword_prefix": "",
        "end_of_word_suffix": "",
        "fuse_unk": False,
        "byte_fallback": False,
    }
    pre_tokenizer: dict[str, Any] = _BYTES
    if qwen2:
        expression = next(s for s in tables().structures if s.name == "qwen2").steps[0].removeprefix("split ")
        split = {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": False}
        pre_tokenizer = {"type": "Sequence", "pretokenizers": [split, {**_BYTES, "use_regex": False}]}
    return TokenizerJson(
        model=_encoded(model),
        normalizer={"type": "NFC"} if qwen2 else None,
        pre_tokenizer=pre_tokenizer,
        decoder=_BYTES,
    )


def _wordpiece(source: Source) -> TokenizerJson:
    lines = read_bytes(source.path("vocab.txt")).decode("utf-8", "replace").removesuffix("\n").split("\n")
    vocab = {line.rstrip("\n"): i for i, line in enumerate(lines)}
    around = [{"SpecialToken": {"id": name, "type_id": 0}} for name in ("[CLS]", "[SEP]")]
    sequence = {"Sequence": {"id": "A", "type_id": 0}}
    model = {"type": "WordPiece", "vocab": vocab, "unk_token": "[UNK]", "continuing_subword_prefix": "##"}
    return TokenizerJson(
        model=_encoded({**model, "max_input_chars_per_word": 100}),
        normalizer={
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
        },
        pre_tokenizer={"type": "BertPreTokenizer"},
        post_processor={
            "type": "TemplateProcessing",
            "single": [around[0], sequence, around[1]],
            "pair": [],
            "special_tokens": {n: {"id": n, "ids": [vocab.get(n, 0)], "tokens": [n]} for n in ("[CLS]", "[SEP]")},
        },
        decoder={"type": "WordPiece", "prefix": "##", "cleanup": True},
    )


def _encoded(model: dict[str, Any]) -> dict[str, msgspec.Raw]:
    return {name: msgspec.Raw(msgspec.json.encode(part)) for name, part in model.items()}
