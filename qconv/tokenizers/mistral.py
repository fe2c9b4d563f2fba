"""Kind ``mistral``: the tokenizer of Mistral's own format (llama.cpp: ``_set_vocab_mistral``).

``tekken.json``, or else the last of the SentencePiece models by name, which say their version in it:
``tokenizer.model.v3``; without one it is v1.
"""

from __future__ import annotations

import re

from qconv.tokenizers import tekken
from qconv.tokenizers.context import Context, NotThisTokenizer
from qconv.tokenizers.sentencepiece_model import SentencePieceModel
from qconv.tokenizers.tables import tables
from qconv.tokenizers.templates import TEMPLATE_FILE, bundled_text, template_text
from qconv.tokenizers.vocabulary import too_large
from qconv.types import Metadata, Value, ValueType

_MODEL = re.compile(r"[^.]+\.model(?:\.(?P<version>v\d+)(?:m\d+)?)?")


def make(context: Context) -> Metadata:
    if context.files.has("tekken.json"):
        keys, version = tekken.vocabulary(context)
        templates = tables().tekken.templates
    else:
        keys, version = _sentencepiece(context)
        templates = tables().tekken.sentencepiece
    if context.options.size_key is not None:
        keys[context.options.size_key] = Value.uint32(len(keys["tokenizer.ggml.tokens"].data))
    return keys | tekken.ENDS | _template(context, templates.get(version), version)


def _sentencepiece(context: Context) -> tuple[Metadata, str]:
    """The keys up to the tokens' types, and the version."""
    names = [match for name in context.files.folder.names() if (match := _MODEL.fullmatch(name)) is not None]
    if not names:
        hint = "get it from the model's repository"
        raise NotThisTokenizer("has no tekken.json or tokenizer.model", file=context.files.location, hint=hint)
    match = max(names, key=lambda match: match[0])
    model = SentencePieceModel(context.files.read(match[0]), context.files.locate(match[0]))
    if context.vocab_size is not None and len(model) > context.vocab_size:
        raise too_large(len(model) - 1, context.vocab_size, model.location)
    keys: Metadata = {"tokenizer.ggml.model": Value.string("llama")}
    ids = {name: model.pieces.index(text) for name, text in _SPECIAL if text in model.pieces}
    if "eos" in ids:
        ids.setdefault("padding", ids["eos"])
    keys |= {f"tokenizer.ggml.{name}_token_id": Value.uint32(index) for name, index in ids.items()}
    keys["tokenizer.ggml.tokens"] = Value.array(ValueType.STRING, model.pieces)
    keys["tokenizer.ggml.scores"] = Value.array(ValueType.FLOAT32, model.scores)
    keys["tokenizer.ggml.token_type"] = Value.array(ValueType.INT32, model.types)
    return keys, match["version"] or "v1"


_SPECIAL = (("bos", b"<s>"), ("eos", b"</s>"), ("unknown", b"<unk>"), ("padding", b"<pad>"))


def _template(context: Context, name: str | None, version: str) -> Metadata:
    """The template beside the model, else the name of the runtime's for this version, else the text in its place."""
    if context.files.has(TEMPLATE_FILE):
        name = template_text(context.files, TEMPLATE_FILE)
    elif (bundled := tables().tekken.bundled.get(version)) is not None:
        name = bundled_text(bundled)
    if name is None:
        context.notes.append(
            f"there is no chat template: none is known for {version} of Mistral's tokenizers, and there is no"
            f" {TEMPLATE_FILE} beside the model; put one there"
        )
        return {}
    return {"tokenizer.chat_template": Value.string(name)}
