"""Pooling of embedding models, from sentence-transformers' files."""

from __future__ import annotations

from pathlib import PurePosixPath

from qconv.architectures.model import Model
from qconv.architectures.registry import derivation
from qconv.errors import FormatError, PlanError
from qconv.files import read_json

_FLAGS = (("pooling_mode_mean_tokens", 1), ("pooling_mode_cls_token", 2), ("pooling_mode_lasttoken", 3))
_WORDS = {"mean": 1, "cls": 2, "lasttoken": 3}


@derivation
def pooling_type(model: Model) -> int | None:
    """GGUF's number for the pooling that ``modules.json`` leads to; none without that file.

    PlanError: pooling llama.cpp cannot do.
    """
    if model.directory is None or not (model.directory / "modules.json").is_file():
        return None
    modules = read_json(model.directory / "modules.json")
    if not isinstance(modules, list) or not all(isinstance(m, dict) for m in modules):
        raise FormatError("is not a list of modules", file=model.directory / "modules.json")
    folder = next((m.get("path") for m in modules if str(m.get("type", "")).endswith("Pooling")), None)
    if folder is None:
        return None
    inside = PurePosixPath(str(folder))
    if inside.is_absolute() or ".." in inside.parts:
        raise FormatError(f"leads out of its folder: {folder!r}", file=model.directory / "modules.json")
    pooling = read_json(model.directory / inside / "config.json")
    if isinstance(pooling, dict):
        found = next((number for flag, number in _FLAGS if pooling.get(flag)), None)
        found = _WORDS.get(str(pooling.get("pooling_mode"))) if found is None else found
        if found is not None:
            return found
    raise PlanError("pools neither by mean, by CLS nor by last token", file=model.directory / inside / "config.json")
