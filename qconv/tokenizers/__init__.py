"""Tokenizer files of a checkpoint → ``tokenizer.*`` metadata, as llama.cpp's converter writes it.

One file per kind of tokenizer:

| kind | from | llama.cpp |
|---|---|---|
| ``gpt2`` | byte-level BPE, ``tokenizer.json`` (or ``vocab.json`` and ``merges.txt``) | ``_set_vocab_gpt2`` |
| ``sentencepiece`` | ``tokenizer.model`` | ``_set_vocab_sentencepiece`` |
| ``sentencepiece_json`` | the same from ``tokenizer.json`` alone | (it needs the file) |
| ``llama_hf`` | SentencePiece BPE inside ``tokenizer.json`` | ``_set_vocab_llama_hf`` |
| ``gemma4`` | the same, with merges | ``Gemma4Model.set_vocab`` |
| ``phi3`` | ``tokenizer.model`` and the added tokens of every file | ``Phi3MiniModel.set_vocab`` |
| ``internlm2`` | ``tokenizer.model`` and the added tokens of every file | ``InternLM2Model.set_vocab`` |
| ``internlm3`` | ``tokenizer.model`` | ``InternLM3Model.set_vocab`` |
| ``wordpiece`` | ``tokenizer.json`` (or ``vocab.txt``) | ``BertModel.set_vocab`` |
| ``t5`` | unigram, ``tokenizer.model`` or ``spiece.model`` | ``T5Model.set_vocab`` |
| ``xlm_roberta`` | unigram, ``sentencepiece.bpe.model`` or ``tokenizer.json`` | ``XLMRobertaModel.set_vocab`` |
| ``xlm_roberta_masked`` | the same, its mask in its place | ``NomicBertModel.set_vocab`` |
| ``roberta`` | byte-level BPE with token types | ``RobertaModel.set_vocab`` |
| ``jina_bert`` | word pieces, byte-level BPE, or words, with token types | ``JinaBertV2Model.set_vocab`` |
| ``tekken`` | ``tekken.json`` alone | ``_set_vocab_mistral`` |
| ``mistral`` | ``tekken.json`` or ``tokenizer.model.v*`` of Mistral's own format | ``_set_vocab_mistral`` |
| ``arctic`` | ``tokenizer.model`` with tokens redefined | ``ArcticModel.set_vocab`` |
| ``xverse`` | ``tokenizer.json`` with bytes | ``XverseModel.set_vocab`` |
| ``two_ends`` | byte-level BPE | ``LagunaModel.set_vocab`` |
| ``hunyuan`` | byte-level BPE, or ``hy.tiktoken`` | ``HunYuanModel.set_vocab`` |
| ``hunyuan_tiktoken`` | ``hy.tiktoken`` | ``HunYuanMoEModel.set_vocab`` |
| ``qwen_tiktoken`` | ``qwen.tiktoken`` | ``_set_vocab_qwen`` |
| ``kimi_tiktoken`` | ``tiktoken.model`` | ``DeepseekV2Model.set_vocab`` |
| ``kimi_linear_tiktoken`` | the same, with the end by its name | ``KimiLinearModel.set_vocab`` |
| ``chatglm_files`` | ``tokenizer.json`` or ``tokenizer.model`` | ``ChatGLMModel.set_vocab`` |
| ``rwkv`` | ``rwkv_vocab_v20230424.txt`` | ``_set_vocab_rwkv_world`` |
| ``plamo`` | ``tokenizer.jsonl`` | ``_set_vocab_plamo`` |
| ``none`` | nothing | ``_set_vocab_none`` |

and, in ``formats/tokenizers.toml``, presets: named sequences of kinds with options.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from qconv.errors import TableError, TokenizerError
from qconv.storage import Folder
from qconv.tokenizers import past_embedding
from qconv.tokenizers.context import Context, NotThisTokenizer
from qconv.tokenizers.files import TokenizerFiles
from qconv.tokenizers.huggingface import HfTokenizer
from qconv.tokenizers.pre_tokenizer import check_pre
from qconv.tokenizers.tables import Attempt, Fixed, Options, tables
from qconv.tokenizers.templates import TEMPLATE_FILE, bundled_template, bundled_text, template_text
from qconv.types import Metadata, Value

__all__ = ["KINDS", "check_pre", "metadata"]

KINDS = (
    "gpt2",
    "sentencepiece",
    "sentencepiece_json",
    "llama_hf",
    "gemma4",
    "phi3",
    "internlm2",
    "internlm3",
    "wordpiece",
    "t5",
    "xlm_roberta",
    "xlm_roberta_masked",
    "roberta",
    "jina_bert",
    "tekken",
    "mistral",
    "arctic",
    "xverse",
    "two_ends",
    "hunyuan",
    "hunyuan_tiktoken",
    "qwen_tiktoken",
    "kimi_tiktoken",
    "kimi_linear_tiktoken",
    "chatglm_files",
    "rwkv",
    "plamo",
    "none",
)

_TEMPLATE = "tokenizer.chat_template"


def metadata(
    folder: Folder,
    config: Mapping[str, Any],
    *,
    kind: str | Sequence[str],
    options: Mapping[str, Any] | None = None,
    pre: str | None = None,
    note: Callable[[str], object] = lambda text: None,
) -> Metadata:
    """The ``tokenizer.*`` keys for the tokenizer files in ``folder``, in the order llama.cpp writes them.

    ``config``: the model's config completed with defaults, a multimodal one's text part at the top; ``vocab_size`` is
    taken from it.  ``kind``: a kind, a preset, or several that are tried until one finds its files.  ``options``: as
    ``tables.Options``, on top of a preset's own.  ``pre``: the pre-tokenizer's name, when the user gives it.
    ``note`` is called with what the user should know of the outcome.

    Raises ``TokenizerError`` (files missing, vocabulary larger than the embedding, unknown pre-tokenizer) and
    ``FormatError``.
    """
    files = TokenizerFiles(folder)
    said = Options.of(options or {})
    missed: NotThisTokenizer | None = None
    for attempt in _attempts([kind] if isinstance(kind, str) else kind):
        context = Context(files, config, Options.with_(attempt, said), pre)
        try:
            keys = _fixed(context, context.options.before) | _make(attempt.kind, context)
        except NotThisTokenizer as e:
            # the last kind tried is the common one; its traceback would keep this frame, and so all that was read
            missed = e.with_traceback(None)
            continue
        tokens = keys.get("tokenizer.ggml.tokens")
        reads_others = attempt.kind != "mistral"  # which looks at files of transformers for nothing
        if reads_others and tokens is not None and (text := past_embedding.tell(context, len(tokens.data))) is not None:
            note(text)
        if pre is not None and (made := keys.get("tokenizer.ggml.pre")) is not None and made.data != pre:
            context.notes.append(f"--pre {pre} counts for byte-level BPE only, which this vocabulary is not")
        for text in context.notes:
            note(text)
        for name, encoding in files.marks.items():
            note(f"{name} begins with a byte-order mark ({encoding}): it is read, but transformers may refuse it")
        sized = context.options.after_vocab_size.get(str(config.get("vocab_size")), {})
        keys |= _fixed(context, sized) | _fixed(context, context.options.after) | _last(context)
        return keys if _TEMPLATE in keys else keys | bundled_template(files, context.options.template_if_none)
    raise missed or TokenizerError("no kind of tokenizer to try", file=folder.location)


def _attempts(kinds: Sequence[str]) -> list[Attempt]:
    attempts: list[Attempt] = []
    for kind in kinds:
        if kind in KINDS:
            attempts.append(Attempt(kind=kind))
        elif preset := tables().presets.get(kind):
            for attempt in preset.attempts:
                both = Options.with_(preset, attempt)
                attempts.append(Attempt(kind=attempt.kind, **{f: getattr(both, f) for f in Options.__struct_fields__}))
        else:
            raise TableError(
                f"no kind of tokenizer is called '{kind}'", hint=f"known: {', '.join([*KINDS, *tables().presets])}"
            )
    return attempts


def _make(kind: str, context: Context) -> Metadata:
    if kind == "none":
        return {"tokenizer.ggml.model": Value.string("none")}
    made: Metadata = importlib.import_module(f"qconv.tokenizers.{kind}").make(context)
    return made


def _fixed(context: Context, fixed: Fixed) -> Metadata:
    keys: Metadata = {}
    for name, given in fixed.items():
        value = context.files.tokenizer_config.get(given) if isinstance(given, str) else given
        if isinstance(value, bool):
            keys[f"tokenizer.ggml.{name}"] = Value.boolean(value)
        elif isinstance(value, int) and 0 <= value < 1 << 32:
            keys[f"tokenizer.ggml.{name}"] = Value.uint32(value)
    return keys


def _last(context: Context) -> Metadata:
    """What replaces the tokenizer's own keys: ``after_tokens``, and the options about templates."""
    keys: Metadata = {}
    if context.options.chat_template is not None:
        keys[_TEMPLATE] = Value.string(context.options.chat_template)
    if context.options.after_tokens:
        tokenizer = HfTokenizer(context.files, context.config.get("model_type"))
        for name, text in context.options.after_tokens.items():
            if (index := tokenizer.id_of(text)) is not None:
                keys[f"tokenizer.ggml.{name}"] = Value.uint32(index)
    if context.options.template_file and context.files.has(TEMPLATE_FILE):
        text = template_text(context.files, TEMPLATE_FILE)
        keys |= {_TEMPLATE: Value.string(text)} if text else {}
    elif context.options.template_else is not None:
        keys[_TEMPLATE] = Value.string(bundled_text(context.options.template_else))
    return keys
