"""Pooling of embedding models, from sentence-transformers' files."""

from __future__ import annotations

from pathlib import PurePosixPath

from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation
from qconv.errors import FormatError, PlanError
from qconv.files import read_json
from qconv.storage import Folder

_MODULES = "modules.json"
_EMBEDDING = "embedding_config.json"
_FLAGS = (("pooling_mode_mean_tokens", 1), ("pooling_mode_cls_token", 2), ("pooling_mode_lasttoken", 3))
_WORDS = {"mean": 1, "cls": 2, "lasttoken": 3}


@derivation
def pooling_type(model: ModelContext) -> int | None:
    """GGUF's number for the pooling that ``modules.json`` leads to, or ``embedding_config.json``; none without either.

    PlanError: pooling llama.cpp cannot do.
    """
    folder = model.folder
    if folder is None:
        return None
    below = _path(folder) if folder.has(_MODULES) else None
    if below is None:
        return _embedding_config(folder)
    name = str(PurePosixPath(below) / "config.json")
    pooling = read_json(folder, name)
    if isinstance(pooling, dict):
        flagged = next((number for flag, number in _FLAGS if pooling.get(flag)), None)
        flagged = _WORDS.get(str(pooling.get("pooling_mode"))) if flagged is None else flagged
        if flagged is not None:
            return flagged
    raise PlanError("pools neither by mean, by CLS nor by last token", file=folder.locate(name))


@derivation
def dense_features(model: ModelContext, module: str, axis: int) -> int | None:
    """How many values a Dense module makes (axis 0) or takes (1); none without it."""
    weight = model.tensors.get(f"{module}.linear.weight")
    if weight is None:
        return None
    if len(weight.shape) != 2:
        raise PlanError("is not a matrix", file=model.location, tensor=weight.name)
    return weight.shape[axis]


def _path(folder: Folder) -> str | None:
    """The folder of the first pooling among the modules."""
    modules = read_json(folder, _MODULES)
    if not isinstance(modules, list) or not all(isinstance(m, dict) for m in modules):
        raise FormatError("is not a list of modules", file=folder.locate(_MODULES))
    return next((str(m.get("path")) for m in modules if str(m.get("type", "")).endswith("Pooling")), None)


def _embedding_config(folder: Folder) -> int | None:
    if not folder.has(_EMBEDDING):
        return None
    config = read_json(folder, _EMBEDDING)
    pooling = config.get("pooling") if isinstance(config, dict) else None
    if pooling not in (None, "last_token"):
        raise PlanError(f"pools by {pooling!r}, known is 'last_token'", file=folder.locate(_EMBEDDING))
    return None if pooling is None else _WORDS["lasttoken"]
