"""``tokenizer.json`` for checkpoints from before it: ``vocab.json`` with ``merges.txt``, or ``vocab.txt``."""

from __future__ import annotations

from typing import Any

import msgspec

from qconv.tokenizers.context import NotThisTokenizer
from qconv.tokenizers.files import TokenizerFiles, TokenizerJson
from qconv.tokenizers.tables import HfClass, tables

_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def build(files: TokenizerFiles, hf_class: HfClass) -> TokenizerJson:
    """What transformers converts the older files to, for the classes whose table says how.

    Raises ``NotThisTokenizer`` when the files are not there.
    """
    if hf_class.built in ("gpt2", "qwen2") and files.has("vocab.json") and files.has("merges.txt"):
        return _bpe(files, qwen2=hf_class.built == "qwen2")
    if hf_class.built == "bert" and files.has("vocab.txt"):
        return _wordpiece(files)
    raise NotThisTokenizer(
        "has no tokenizer.json",
        file=files.location,
        hint="put the model's tokenizer.json, or its tokenizer.model, beside the weights",
    )


def _bpe(files: TokenizerFiles, *, qwen2: bool) -> TokenizerJson:
    model = {
        "type": "BPE",
        "vocab": files.decoded("vocab.json", dict[str, int]),
        "merges": [merge.decode() for merge in files.merges],
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


def _wordpiece(files: TokenizerFiles) -> TokenizerJson:
    text = files.text("vocab.txt").decode("utf-8", "replace").replace("\r\n", "\n").removesuffix("\n")
    vocab = {line: i for i, line in enumerate(text.split("\n"))}
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
