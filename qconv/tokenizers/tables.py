"""``formats/tokenizers.toml`` as frozen, checked types."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, TypeAlias

import msgspec

from qconv.errors import TableError
from qconv.formats import ROOT, load

Fixed: TypeAlias = dict[str, bool | int | str]


class Structure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The steps of a known pre-tokenizer; see ``steps.py``."""

    name: str
    steps: tuple[str, ...]


class HfClass(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a tokenizer class of transformers does beyond ``tokenizer.json``; see the table for the words."""

    special: dict[str, str] = {}
    adds: tuple[str, ...] | None = None
    prefix_space: bool = True
    normalizes: bool = False
    built: str | None = None


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an architecture adds to a kind of tokenizer.

    ``before`` and ``after``: keys of ``tokenizer.ggml.`` with fixed values, set before and after everything else (a key
    that is there already keeps its place); for a string, the value under that key in ``tokenizer_config.json``, if any.
    ``after_vocab_size``: the same as ``after``, by the vocabulary size of ``config.json``.
    ``special``: ids for special tokens no file gives: a number, or the text of an added token.
    ``vocab_multiple``: the vocabulary is padded to a multiple of the config's ``pad_vocab_size_multiple``, or of this.
    ``as_marked``: added tokens keep their text and are special only where their file says so, however they look.
    ``control``: texts of added tokens that are control tokens, whatever their file says.
    ``after_tokens``: keys of ``tokenizer.ggml.`` for ids of added tokens by their text, set after everything else.
    ``template_file``: ``chat_template.jinja`` counts before ``tokenizer_config.json``'s template.
    ``template_else``: which of ``formats/templates/`` does where there is no such file.
    ``chat_template``: the template, whatever the files say.
    ``template_if_none``: which of ``formats/templates/`` it is where the files have none, by what is in the name of the
    checkpoint; the first that is there counts.
    ``size_key``: the key that says how many tokens there are, where the tokenizer is what says so.
    """

    before: Fixed = {}
    after: Fixed = {}
    after_vocab_size: dict[str, Fixed] = {}
    special: dict[str, str | int] = {}
    vocab_multiple: int | None = None
    as_marked: bool = False
    control: tuple[str, ...] = ()
    after_tokens: dict[str, str] = {}
    template_file: bool = False
    template_else: str | None = None
    chat_template: str | None = None
    template_if_none: dict[str, str] = {}
    size_key: str | None = None

    def with_(self, more: Options) -> Options:
        """Both; where both set the same thing, ``more``'s."""
        return Options(
            before=self.before | more.before,
            after=self.after | more.after,
            after_vocab_size=self.after_vocab_size | more.after_vocab_size,
            special=self.special | more.special,
            vocab_multiple=self.vocab_multiple if more.vocab_multiple is None else more.vocab_multiple,
            as_marked=self.as_marked or more.as_marked,
            control=self.control + more.control,
            after_tokens=self.after_tokens | more.after_tokens,
            template_file=self.template_file or more.template_file,
            template_else=more.template_else or self.template_else,
            chat_template=more.chat_template or self.chat_template,
            template_if_none=more.template_if_none or self.template_if_none,
            size_key=more.size_key or self.size_key,
        )

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Options:
        try:
            return msgspec.convert(dict(options), Options)
        except (msgspec.ValidationError, UnicodeEncodeError) as e:
            raise TableError(f"tokenizer options: {e}") from e


class Attempt(Options, frozen=True, forbid_unknown_fields=True, kw_only=True):
    kind: str


class Preset(Options, frozen=True, forbid_unknown_fields=True, kw_only=True, rename={"attempts": "try"}):
    """A named sequence of kinds with options."""

    attempts: tuple[Attempt, ...]


class Tekken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``special``: tokens of files that list none.  ``templates`` by version; ``sentencepiece``: those of its files.

    ``bundled``: where the runtime has no template, that of ``formats/templates/`` by version.
    """

    special: tuple[str, ...]
    templates: dict[str, str]
    sentencepiece: dict[str, str]
    bundled: dict[str, str]


class Tiktoken(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A tiktoken vocabulary's file, its pre-tokenizer, and the special tokens behind the others, numbered ones last.

    ``reserved``: how many special tokens there are whose texts ``tokenizer_config.json`` gives, or else their ids.
    """

    file: str
    pre: str
    special: tuple[str, ...] = ()
    extras: int = 0
    reserved: int = 0


class Plamo(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A class of PLaMo's tokenizer: the runtime's model, the token that ends a turn, tokens that only look special.

    ``template``: whether the chat template is carried over.
    """

    model: str
    end_of_turn: str
    plain: tuple[str, ...] = ()
    template: bool = False


class Tables(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    check_text: str
    other_names: tuple[str, ...]
    names_of_words: tuple[str, ...]
    fingerprints: dict[str, str]
    structures: tuple[Structure, ...]
    classes: dict[str, HfClass]
    model_classes: dict[str, str]
    presets: dict[str, Preset]
    tekken: Tekken
    tiktoken: dict[str, Tiktoken]
    plamo: dict[str, Plamo]
    chatglm: tuple[str, ...]

    @property
    def names(self) -> list[str]:
        """Every pre-tokenizer name that the runtime's BPE knows."""
        known = {*self.other_names, *self.fingerprints.values(), *(s.name for s in self.structures)}
        return sorted(known - set(self.names_of_words))


@functools.cache
def tables() -> Tables:
    return load(ROOT / "tokenizers.toml", Tables)
