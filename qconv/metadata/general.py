"""``general.*``: what a model is called, where it comes from and how to sample from it.

Gathered from the model card, ``config.json``, ``generation_config.json`` and the directory's name, in the order of
precedence of llama.cpp's converter (``gguf-py/gguf/metadata.py``), and written in its order.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from qconv.errors import FormatError
from qconv.files import read_json
from qconv.metadata.card import read_card
from qconv.metadata.model_id import ModelId, parse, title
from qconv.metadata.size import Weights
from qconv.storage import Folder
from qconv.types import Metadata, Value, ValueType

_ENTRIES = ("name", "author", "version", "organization", "description", "url", "doi", "uuid", "repo_url")
"""What is written of each base model and data set, in this order."""

_GENERATION = "generation_config.json"

_MOST_ENTRIES = 1000
"""Base models, data sets, tags or languages."""

_FROM_CARD = {
    "name": ("name", "model_name"),
    "author": ("author", "model_author", "model_creator"),
    "version": ("version", "model_version"),
    "organization": ("organization", "model_organization"),
    "description": ("description", "model_description"),
    "finetune": ("finetune", "model_finetune"),
    "basename": ("basename", "model_basename", "model_type"),
    "size_label": ("size_label", "model_size_label"),
    "source.url": ("url", "model_url"),
    "source.doi": ("doi", "model_doi"),
    "source.uuid": ("uuid", "model_uuid"),
    "source.repo_url": ("repo_url", "model_repo_url"),
    "license": ("license",),
    "license.name": ("license_name",),
    "license.link": ("license_link",),
}
"""``general.`` key → keys of a model card that may give it, the first that does counts."""

_ORDER = (
    "name", "author", "version", "organization", "finetune", "basename", "description", "size_label", "license",
    "license.name", "license.link", "source.url", "source.doi", "source.uuid", "source.repo_url",
)  # fmt: skip

_SAMPLING = {
    "sequence": (ValueType.STRING, ("sequence",)),
    "top_k": (ValueType.INT32, ("top_k",)),
    "top_p": (ValueType.FLOAT32, ("top_p",)),
    "min_p": (ValueType.FLOAT32, ("min_p",)),
    "xtc_probability": (ValueType.FLOAT32, ("xtc_probability",)),
    "xtc_threshold": (ValueType.FLOAT32, ("xtc_threshold",)),
    "temp": (ValueType.FLOAT32, ("temperature",)),
    "penalty_last_n": (ValueType.INT32, ("penalty_last_n",)),
    "penalty_repeat": (ValueType.FLOAT32, ("penalty_repeat", "repetition_penalty")),
    "mirostat": (ValueType.INT32, ("mirostat",)),
    "mirostat_tau": (ValueType.FLOAT32, ("mirostat_tau",)),
    "mirostat_eta": (ValueType.FLOAT32, ("mirostat_eta",)),
}
"""``general.sampling.`` key → type and the keys of ``generation_config.json`` that give it."""


@dataclass(slots=True)
class General:
    """``texts`` by key after ``general.``; ``None`` in ``base_models`` and ``datasets`` means the card names none."""

    texts: dict[str, str] = field(default_factory=dict)
    sampling: Metadata = field(default_factory=dict)
    base_models: list[dict[str, str]] | None = None
    datasets: list[dict[str, str]] | None = None
    tags: list[str] = field(default_factory=list)
    languages: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def metadata(self) -> Metadata:
        """The keys in the order llama.cpp's converter writes them; empty texts are left out, as it does."""
        keys = {f"general.sampling.{key}": value for key, value in self.sampling.items()}
        keys |= {f"general.{key}": Value.string(self.texts[key]) for key in _ORDER if self.texts.get(key)}
        for kind, entries in (("base_model", self.base_models), ("dataset", self.datasets)):
            if entries is None:
                continue
            keys[f"general.{kind}.count"] = Value.uint32(len(entries))
            for at, entry in enumerate(entries):
                texts = {key: Value.string(entry[key]) for key in _ENTRIES if entry.get(key)}
                keys |= {f"general.{kind}.{at}.{key}": text for key, text in texts.items()}
        for key, words in (("tags", self.tags), ("languages", self.languages)):
            if words:
                keys[f"general.{key}"] = Value.array(ValueType.STRING, words)
        return keys


def gather(folder: Folder, weights: Weights, config: Mapping[str, Any] | None = None) -> General:
    """What the files in ``folder`` and its name say about a model of that many ``weights``.

    ``config``: ``config.json``, already read.
    """
    card, trouble = read_card(folder)
    general = General(sampling=_sampling(folder), notes=[] if trouble is None else [trouble])
    _take_card(general, card, weights.total)
    path = (config or {}).get("_name_or_path")
    if isinstance(path, str) and path.count("/") <= 1:  # more is a path on somebody's machine
        _take_id(general, parse(path, weights.total))
    _take_id(general, parse(folder.name, weights.total))
    general.texts.setdefault("name", folder.name)
    if weights.total > 0:
        general.texts.setdefault("size_label", weights.label)
    return general


def lone(stem: str, weights: Weights) -> General:
    """What is known of a file that has nothing beside it: its name without the suffix, and its size."""
    texts = {"name": stem} if stem != "model" else {}
    return General(texts=texts | ({"size_label": weights.label} if weights.total > 0 else {}))


def _take_card(general: General, card: Mapping[str, Any], weights: int) -> None:
    for key, sources in _FROM_CARD.items():
        for source in sources:
            text = _text(card.get(source), "," if key == "license" else ", ")
            if text is not None:
                general.texts.setdefault(key, text)
    general.base_models = _entries(card, ("base_model", "base_models", "base_model_sources"), weights)
    general.datasets = _entries(card, ("datasets", "dataset", "dataset_sources"), weights)
    general.tags = _words(card, ("tags", "pipeline_tag"))
    general.languages = _words(card, ("languages", "language"))


def _take_id(general: General, model: ModelId) -> None:
    """Fill what is not known yet."""
    texts = {
        "name": None if model.name is None else title(model.name),
        "organization": None if model.organization is None else title(model.organization),
        "basename": model.basename,
        "finetune": model.finetune,
        "version": model.version,
        "size_label": model.size_label,
    }
    for key, text in texts.items():
        if text is not None:
            general.texts.setdefault(key, text)


def _entries(card: Mapping[str, Any], keys: tuple[str, ...], weights: int) -> list[dict[str, str]] | None:
    """Base models or data sets: ids, addresses, or mappings of what is known about each."""
    key = next((k for k in keys if k in card), None)
    if key is None:
        return None
    value = card[key]
    items = value if isinstance(value, list) else [value] if isinstance(value, str) else []
    return [_entry(item, weights) for item in items[:_MOST_ENTRIES]]


def _entry(item: object, weights: int) -> dict[str, str]:
    if isinstance(item, dict):
        texts = {str(key): _text(value) for key, value in item.items()}
        return {key: text for key, text in texts.items() if text is not None}
    if not isinstance(item, str):
        return {}
    entry, model_id, address = {}, item, None
    if item.startswith(("http://", "https://", "ssh://")):
        entry["repo_url"] = item
        match = re.match(r"https?://huggingface.co/([^/]+/[^/]+)$", item)
        if not match:
            return entry
        model_id = match[1]
    model = parse(model_id, weights)
    if model.organization is not None and "repo_url" not in entry:
        address = f"https://huggingface.co/{model.organization}/{model.name}"
    known = {
        "name": None if model.name is None else title(model.name),
        "organization": None if model.organization is None else title(model.organization),
        "version": model.version,
        "repo_url": address,
    }
    return entry | {key: text for key, text in known.items() if text is not None}


def _words(card: Mapping[str, Any], keys: tuple[str, ...]) -> list[str]:
    """The words under all of the keys, each a word or a list of them."""
    words: list[str] = []
    for key in keys:
        value = card.get(key)
        items = value if isinstance(value, list) else [value] if isinstance(value, str) else []
        words += [text for item in items if (text := _text(item)) is not None]
    return words[:_MOST_ENTRIES]


def _text(value: object, between: str = ", ") -> str | None:
    """A scalar of a card as text, a list of scalars joined; ``None`` for what is neither."""
    if isinstance(value, list):
        return between.join(str(item) for item in value[:_MOST_ENTRIES] if not isinstance(item, list | dict))
    return None if value is None or isinstance(value, dict) else str(value)


def _sampling(folder: Folder) -> Metadata:
    """Sampling defaults; a missing or malformed ``generation_config.json`` gives none."""
    try:
        config = read_json(folder, _GENERATION) if folder.has(_GENERATION) else {}
    except FormatError:
        return {}
    if not isinstance(config, dict):
        return {}
    keys = {}
    for key, (kind, sources) in _SAMPLING.items():
        value = config.get(next((s for s in sources if s in config), ""))
        if kind == ValueType.STRING:
            if isinstance(value, str) and value:
                keys[key] = Value.string(value)
        elif isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**31:
            number = int(value) if kind == ValueType.INT32 else float(value)
            keys[key] = Value(kind, number)
    return keys
