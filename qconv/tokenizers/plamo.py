"""Kind ``plamo``: PLaMo 2 and 3, a line of JSON for each token (llama.cpp: ``_set_vocab_plamo``)."""

from __future__ import annotations

import msgspec

from qconv.errors import FormatError, TokenizerError
from qconv.files import refuse_disguise
from qconv.tokenizers.context import Context, NotThisTokenizer
from qconv.tokenizers.tables import Plamo, tables
from qconv.tokenizers.templates import chat_templates
from qconv.tokenizers.vocabulary import TokenType, Vocabulary
from qconv.types import Metadata, Value

FILE = "tokenizer.jsonl"

_PADDING_SCORE = -1000.0
_TYPES = {"UNKNOWN": TokenType.UNKNOWN, "CONTROL": TokenType.CONTROL, "BYTE": TokenType.BYTE}
_IDS = {"bos": "bos", "eos": "eos", "pad": "padding", "sep": "seperator", "unk": "unknown"}


class _Line(msgspec.Struct, frozen=True, array_like=True):
    text: str
    score: float
    type: str = "NORMAL"


def make(context: Context) -> Metadata:
    if not context.files.has(FILE):
        hint = "put the model's tokenizer files beside the weights"
        raise NotThisTokenizer(f"has no {FILE}", file=context.files.location, hint=hint)
    config = context.files.tokenizer_config
    known = tables().plamo.get(str(config.get("tokenizer_class")))
    if known is None:
        which = f"names the class {config.get('tokenizer_class')!r}, which is not one of PLaMo's"
        raise TokenizerError(which, file=context.files.locate("tokenizer_config.json"))
    lines = _lines(context.files.text(FILE), context.files.locate(FILE))
    vocabulary = Vocabulary(max(len(lines), context.vocab_size or 0), _PADDING_SCORE)
    for index, line in enumerate(lines):
        vocabulary.set(index, line.text, _type(line, known), line.score)
    for index in range(len(lines), len(vocabulary)):
        vocabulary.tokens[index] = b"[PAD%d]" % (index - len(lines) + 1)
    keys = vocabulary.metadata(known.model, "default")
    ids: dict[str, int] = {}
    for index, line in enumerate(lines):
        ids.setdefault(line.text, index)
    named = {role: config.get(f"{role}_token") for role in _IDS}
    for role, text in [*named.items(), ("eot", known.end_of_turn)]:
        if text is None:
            continue
        if not isinstance(text, str) or text not in ids:
            raise TokenizerError(f"no token is {text!r}, its '{role}'", file=context.files.locate(FILE))
        keys[f"tokenizer.ggml.{_IDS.get(role, role)}_token_id"] = Value.uint32(ids[text])
    keys["tokenizer.ggml.add_space_prefix"] = Value.boolean(False)
    for role in ("bos", "eos"):
        if isinstance(add := config.get(f"add_{role}_token"), bool):
            keys[f"tokenizer.ggml.add_{role}_token"] = Value.boolean(add)
    return keys | (chat_templates(context.files) if known.template else {})


def _lines(data: bytes, location: str) -> list[_Line]:
    refuse_disguise(location, data)
    try:
        return [msgspec.json.decode(line, type=_Line) for line in data.split(b"\n") if line.strip()]
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as e:
        raise FormatError(f"is not a list of tokens: {e}", file=location, hint="download or copy it again") from e


def _type(line: _Line, known: Plamo) -> TokenType:
    if line.text in known.plain:
        return TokenType.NORMAL
    if line.text.startswith("<|plamo:") and line.text.endswith("|>"):
        return _TYPES.get(line.type, TokenType.CONTROL)
    return _TYPES.get(line.type, TokenType.NORMAL)
