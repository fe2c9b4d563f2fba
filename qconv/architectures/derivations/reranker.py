"""Qwen3-Reranker: a language model read as a classifier, told from others by its names only."""

from __future__ import annotations

from qconv.architectures.model import ModelContext
from qconv.architectures.registry import condition, derivation
from qconv.errors import PlanError
from qconv.files import read_json

_NAMES = ("qwen3-reranker", "qwen3-vl-reranker")
_README = "README.md"
_LARGEST_README = 16 << 20


@condition
def is_reranker(model: ModelContext) -> bool:
    """The model card's heading, the folder's name or ``_name_or_path`` says so."""
    names = [str(model.find("_name_or_path")), str(model.find("model_type"))]
    if model.folder is not None:
        names.append(model.folder.name)
        if model.folder.has(_README):
            readme = model.folder.read(_README, _LARGEST_README).decode("utf-8", "replace")
            if any(f"# {name}" in readme.lower() for name in _NAMES):
                return True
    return any(known in name.lower() for known in _NAMES for name in names)


@derivation
def token_yes(model: ModelContext) -> int:
    return _token(model, "yes")


@derivation
def token_no(model: ModelContext) -> int:
    return _token(model, "no")


def _token(model: ModelContext, text: str) -> int:
    """The number of a token in ``tokenizer.json`` (or ``vocab.json``)."""
    if model.folder is not None:
        for file, path in (("tokenizer.json", ("model", "vocab")), ("vocab.json", ())):
            if model.folder.has(file):
                vocabulary = read_json(model.folder, file)
                for part in path:
                    vocabulary = vocabulary[part]
                return int(vocabulary[text])
    raise PlanError(f"needs a tokenizer that has the token {text!r}", file=model.location)
