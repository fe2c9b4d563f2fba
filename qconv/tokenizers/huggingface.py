"""The tokenizer that transformers (4.57) makes of a directory, as far as llama.cpp's converter looks at it.

Beyond ``tokenizer.json`` it adds tokens named in ``tokenizer_config.json`` (or, failing these, in
``special_tokens_map.json`` and ``added_tokens.json``), the special tokens its class assumes, and for some classes
other settings; which class does what stands in ``formats/tokenizers.toml``.  No code of a checkpoint is run: a class it
brings along counts as the plain one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from qconv.errors import FormatError
from qconv.tokenizers.excerpt import excerpt
from qconv.tokenizers.files import AddedToken, Pieces, TokenizerFiles, added_token
from qconv.tokenizers.post_processor import unknown_in_template
from qconv.tokenizers.slow_files import build
from qconv.tokenizers.tables import HfClass, tables

if TYPE_CHECKING:
    import tokenizers

SPECIAL = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")

# what "clean_up_tokenization_spaces" undoes in decoded text
_CLEANED = {" .": ".", " ?": "?", " !": "!", " ,": ",", " ' ": "'", " n't": "n't", " 'm": "'m", " 's": "'s"}
_CLEANED |= {" 've": "'ve", " 're": "'re"}


class HfTokenizer:
    """``added``: the tokens found before the model sees a text, by id; ``special``: the texts of those with a role."""

    def __init__(self, files: TokenizerFiles, model_type: object = None) -> None:
        self.files = files
        self.config = files.tokenizer_config
        self.hf_class = _class_of(files, model_type)
        self.file = files.tokenizer_json or build(files, self.hf_class)
        self.added: dict[int, AddedToken] = {}
        self._added_ids: dict[str, int] = {}
        self._highest = -1
        self._later: list[AddedToken] = []
        for token in self.file.added_tokens or ():
            self._add(token)
        settings, decoder = self._settings()
        self._named = {name: _text(entry) for name, entry in settings.items()}
        self.special = list(dict.fromkeys(self._named.values()))
        self._add_configured(settings, decoder)

    @cached_property
    def vocab(self) -> dict[str, int]:
        """The model's own vocabulary, without added tokens."""
        try:
            vocab = self.files.part("vocab", dict[str, int], self.file)
        except FormatError:
            pieces = self.files.part("vocab", Pieces, self.file) or []
            return {text: i for i, (text, _) in enumerate(pieces)}
        if vocab is None:
            raise FormatError("has no vocabulary", file=self.files.locate("tokenizer.json"))
        return vocab

    @cached_property
    def renamed(self) -> list[str]:
        """As ``TokenizerFiles.renamed``; transformers takes the config's spelling for a further token, behind all."""
        wanted = self.files.config_added_tokens or {}
        return self.files.renamed({index: text for text, index in self.vocab.items() if index in wanted})

    def id_of(self, text: str) -> int | None:
        number = self._added_ids.get(text)
        return self.vocab.get(text) if number is None else number

    def _add(self, token: AddedToken) -> None:
        """As the tokenizers library numbers added tokens: the model's id for the text, or the next one that is free."""
        if not token.content:
            return
        index = self.id_of(token.content)
        if index is None:
            index = max(len(self.vocab), self._highest + 1)
        self._highest = max(self._highest, index)
        self.added[index] = token
        self._added_ids[token.content] = index

    def _settings(self) -> tuple[dict[str, str | AddedToken], Iterable[AddedToken]]:
        """Special tokens by name, in transformers' order, and the tokens to add."""
        defaults = self.hf_class.special
        given: dict[str, Any] = {f"{name}_token": value for name, value in defaults.items()}
        if self.file.padding and "pad" not in defaults:
            given["pad_token"] = self.file.padding.get("pad_token")
        given |= {key: value for key, value in self.config.items() if key.endswith(("_token", "_special_tokens"))}
        decoder = self.files.config_added_tokens
        if decoder is None:
            others = self.files.object("special_tokens_map.json")
            more = [given.get("additional_special_tokens"), others.pop("additional_special_tokens", None)]
            given |= others
            given["additional_special_tokens"] = [one for some in more if isinstance(some, list) for one in some]
            special = {_text(given[key]) for key in given if isinstance(given[key], str | dict)}
            decoder = {
                index: AddedToken(text, normalized=text not in special, special=text in special)
                for text, index in self.files.added_tokens_json.items()
            }
            decoder |= {token.id: token for token in self.file.added_tokens or ()}
        known = {token.content: token for token in decoder.values()}
        extra = given.get("additional_special_tokens") or []
        named = given.get("extra_special_tokens") or {}
        named = list(named.values()) if isinstance(named, dict) else named
        if not isinstance(extra, list) or not isinstance(named, list):
            raise FormatError("special tokens are not in a list", file=self.files.locate("tokenizer_config.json"))
        entries: dict[str, Any] = {name: given.get(f"{name}_token") for name in SPECIAL}
        entries |= {f"{i}": entry for i, entry in enumerate([*extra, *named])}
        settings: dict[str, str | AddedToken] = {}
        for name, entry in entries.items():
            if isinstance(entry, dict) and isinstance(entry.get("content"), str):
                token = added_token(entry, self.files.locate("tokenizer_config.json"))
                settings[name] = known.get(token.content, token)
            elif isinstance(entry, str) and entry:
                settings[name] = known.get(entry, entry)
        return settings, [decoder[index] for index in sorted(decoder)]

    def _add_configured(self, settings: dict[str, str | AddedToken], decoder: Iterable[AddedToken]) -> None:
        special = set(self.special)
        later = list(decoder)
        known = {token.content for token in [*self.added.values(), *later]}
        listed = set(later)
        first: dict[str, str | AddedToken] = {}
        for entry in settings.values():
            first.setdefault(_text(entry), entry)
        for entry in first.values():
            if isinstance(entry, AddedToken) and entry not in listed:
                later.append(entry)
            elif isinstance(entry, str) and entry not in known:
                later.append(AddedToken(entry, normalized=False, special=True))
        for token in later:
            marked = msgspec.structs.replace(token, special=token.special or token.content in special)
            self._later.append(marked)
            self._add(marked)

    @cached_property
    def backend(self) -> tokenizers.Tokenizer:
        """The tokenizers library's own object, good for the check text and for added tokens."""
        import tokenizers

        keep = [(token.content, index) for index, token in self.added.items()]

        parts = {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [{**_flags(t), "id": max(t.id, 0)} for t in self.file.added_tokens or ()],
            "normalizer": self._normalizer(),
            "pre_tokenizer": self._pre_tokenizer(),
            "post_processor": self.file.post_processor,
            "decoder": self.file.decoder,
            "model": excerpt(self.file, tables().check_text, self.vocab, self.files.merges, keep),
        }
        with _library(self.files):
            made: tokenizers.Tokenizer = tokenizers.Tokenizer.from_buffer(msgspec.json.encode(parts))
            made.add_tokens([tokenizers.AddedToken(**_flags(token)) for token in self._later])
        return made

    def _pre_tokenizer(self) -> dict[str, Any] | None:
        step = self.file.pre_tokenizer
        if step and self.hf_class.prefix_space and "add_prefix_space" in step:
            return {**step, "add_prefix_space": bool(self.config.get("add_prefix_space", False))}
        return step

    def _normalizer(self) -> dict[str, Any] | None:
        step = self.file.normalizer
        if step and self.hf_class.normalizes and step.get("type") == "BertNormalizer":
            return {
                **step,
                "lowercase": bool(self.config.get("do_lower_case", True)),
                "strip_accents": self.config.get("strip_accents"),
                "handle_chinese_chars": bool(self.config.get("tokenize_chinese_chars", True)),
            }
        return step

    def encode(self, text: str, *, special: bool) -> list[int]:
        """Token ids of ``text``; ``special``: with those the tokenizer puts around every text."""
        rewritten = special and self.hf_class.adds is not None
        unknown = unknown_in_template(self.file.post_processor) if special and not rewritten else None
        if unknown is not None:
            message = f"its post_processor puts {unknown!r} around a text, which is not among its special_tokens"
            raise FormatError(message, file=self.files.locate("tokenizer.json"))
        with _library(self.files):
            ids: list[int] = self.backend.encode(text, add_special_tokens=special and not rewritten).ids
        if rewritten:
            around = {name: self._around(name) for name in ("bos", "eos")}
            ids = [*around["bos"], *ids, *around["eos"]]
        return ids

    def _around(self, name: str) -> list[int]:
        adds = self.config.get(f"add_{name}_token", name in (self.hf_class.adds or ()))
        text = self._named.get(name)
        index = self.id_of(text) if adds and text is not None else None
        return [] if index is None else [index]

    def as_decoded(self, text: str) -> str:
        """``text`` encoded and decoded again."""
        ids = self.encode(text, special=False)
        with _library(self.files):
            decoded: str = self.backend.decode(ids, skip_special_tokens=False)
        if self.config.get("clean_up_tokenization_spaces", False):
            for spelling, replacement in _CLEANED.items():
                decoded = decoded.replace(spelling, replacement)
        return decoded


@contextlib.contextmanager
def _library(files: TokenizerFiles) -> Iterator[None]:
    """Turns what the tokenizers library raises, panics of its Rust included, into ``FormatError``."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit, FormatError):
        raise
    except BaseException as e:
        location = files.locate("tokenizer.json")
        raise FormatError(f"the tokenizers library refuses it: {e}", file=location) from e


def _class_of(files: TokenizerFiles, model_type: object) -> HfClass:
    known = tables()
    config = files.model_config
    name = files.tokenizer_config.get("tokenizer_class") or config.get("tokenizer_class")
    if name is None:
        name = known.model_classes.get(str(config.get("model_type") or model_type))
    return known.classes.get(str(name).removesuffix("Fast"), known.classes["PreTrainedTokenizer"])


def _text(entry: Any) -> str:
    return (
        entry
        if isinstance(entry, str)
        else str(entry.content if isinstance(entry, AddedToken) else entry.get("content"))
    )


def _flags(token: AddedToken) -> dict[str, Any]:
    return {f: getattr(token, f) for f in ("content", "single_word", "lstrip", "rstrip", "normalized", "special")}
