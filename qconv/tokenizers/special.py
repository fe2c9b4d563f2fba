"""Special tokens: ids, which are added to a text; the normalizer's flags, the merges (llama.cpp: ``SpecialVocab``).

An id comes from the first of these that gives one: ``tokenizer_config.json`` (a token's text, looked up in the added
tokens of ``tokenizer.json``), ``config.json``, its ``text_config``, and last what an architecture's options say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from qconv.tokenizers.context import Context
from qconv.tokenizers.files import TokenizerFiles
from qconv.tokenizers.post_processor import Surroundings
from qconv.tokenizers.templates import chat_templates
from qconv.types import Metadata, Value, ValueType

NAMES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")

_ID_KEYS = {
    "bos": "bos_token_id",
    "eos": "eos_token_id",
    "eot": "eot_token_id",
    "eom": "eom_token_id",
    "unk": "unknown_token_id",
    "sep": "seperator_token_id",  # the key's own spelling
    "pad": "padding_token_id",
    "mask": "mask_token_id",
}
_ADD_KEYS = ("bos", "eos", "sep")


class SpecialTokens:
    """``ids`` by name, in the order they are written; ids of ``limit`` and above do not count."""

    def __init__(self, files: TokenizerFiles, limit: int | None = None, names: tuple[str, ...] = NAMES) -> None:
        self.files = files
        self.limit = limit
        self.ids: dict[str, int] = {}
        config = files.tokenizer_config
        file = files.tokenizer_json
        around = Surroundings(config, file.post_processor if file else None)
        self.adds = around.adds
        names = (*names, *around.extra)
        if config:
            added: dict[str, int] = {}
            for token in (file.added_tokens or ()) if file else ():
                added.setdefault(token.content, token.id)
            self._from_tokenizer_config(around.named, added, names)
        self._from_config(files.model_config, names)

    def _from_tokenizer_config(
        self, config: Mapping[str, Any], added: Mapping[str, int], names: tuple[str, ...]
    ) -> None:
        for name in names:
            if isinstance(add := config.get(f"add_{name}_token"), bool):
                self.adds.setdefault(name, add)
            entry = config.get(f"{name}_token")
            text = entry.get("content") if isinstance(entry, dict) else entry
            if isinstance(text, str):
                self.set(name, added.get(text))

    def _from_config(self, config: Mapping[str, Any], names: tuple[str, ...]) -> None:
        inner = config.get("text_config")
        for name in names:
            index = config.get(f"{name}_token_id")
            if index is None and isinstance(inner, dict):
                index = inner.get(f"{name}_token_id")
            self.set(name, index)

    def set(self, name: str, index: object) -> None:
        """Gives ``name`` an id, unless it has one; anything but an id within the vocabulary is passed over.

        Configs write -1 for "none", lists for several ids.
        """
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < 1 << 32:
            return
        if self.limit is None or index < self.limit:
            self.ids.setdefault(name, index)

    def set_defaults(self, special: Mapping[str, str | int], id_of: Callable[[str], int | None]) -> None:
        """``Options.special``: ids for names that have none yet."""
        for name, given in special.items():
            self.set(name, id_of(given) if isinstance(given, str) else given)

    def metadata(self, *, merges: bool = False) -> Metadata:
        """All keys in llama.cpp's order; ``merges``: with the merges of a BPE vocabulary."""
        keys: Metadata = {}
        if merges and self.files.merges:
            keys["tokenizer.ggml.merges"] = Value.array(ValueType.STRING, self.files.merges)
        for name, index in self.ids.items():
            if name in _ID_KEYS:
                keys[f"tokenizer.ggml.{_ID_KEYS[name]}"] = Value.uint32(index)
        for name, add in self.adds.items():
            if name in _ADD_KEYS:
                keys[f"tokenizer.ggml.add_{name}_token"] = Value.boolean(add)
        keys |= chat_templates(self.files)
        if self.files.tokenizer_json:
            for flag, value in normalizer_flags(self.files.tokenizer_json.normalizer).items():
                keys[f"tokenizer.ggml.normalizer.{flag}"] = Value.boolean(value)
        return keys


def normalizer_flags(step: object) -> dict[str, bool]:
    """``lowercase`` and ``strip_accents``, where a normalizer says anything about them."""
    flags: dict[str, bool] = {}
    match step:
        case {"type": "Lowercase"}:
            flags["lowercase"] = True
        case {"type": "StripAccents"}:
            flags["strip_accents"] = True
        case {"type": "BertNormalizer", **settings}:
            flags = {f: v for f in ("lowercase", "strip_accents") if isinstance(v := settings.get(f), bool)}
        case {"type": "Sequence", "normalizers": list(inner)}:
            for one in inner:
                flags |= normalizer_flags(one)
    return flags


def special_metadata(
    context: Context,
    limit: int | None = None,
    id_of: Callable[[str], int | None] | None = None,
    *,
    merges: bool = False,
) -> Metadata:
    """The special tokens' keys with the options' defaults applied."""
    tokens = SpecialTokens(context.files, limit)
    tokens.set_defaults(context.options.special, id_of or (lambda text: None))
    return tokens.metadata(merges=merges)
