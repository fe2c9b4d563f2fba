"""The projector of a multimodal model, from its checkpoint to the tensors and metadata of its GGUF file.

It is what turns images or sounds into embeddings of the text model: their encoders, the *towers*, and what maps their
outputs.  The order in which configs count follows ``MmprojModel`` of llama.cpp's ``conversion/base.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from qconv.architectures import config as configs
from qconv.architectures import evaluate
from qconv.architectures.model import ModelContext
from qconv.architectures.names import canonical_names
from qconv.architectures.resolve import Checkpoint, Resolved, context, resolved
from qconv.architectures.schema import TOWERS, Table, Tower
from qconv.architectures.table import classes, common, table, table_of
from qconv.architectures.tensors import Matcher
from qconv.errors import InputError, UnsupportedError, nearest
from qconv.files import read_object
from qconv.storage import Folder

_OTHER_PART = "belongs to another part of the model than its projector"
_PREPROCESSORS = (("preprocessor_config.json", "media_proc_cfg"), ("processor_config.json", "image_processor"))
"""Files that say how images and sounds are prepared, later ones first to count, and the part of each that does so."""
_SIGNS = ("vision_config", "audio_config", "vision_encoder", "thinker_config", "speech_config", "whisper_config")
"""Keys of the configs of models that see or hear."""


_WHOLE = "."
"""Where a tower's part is the whole config."""


def resolve_projector(checkpoint: Checkpoint) -> Resolved:
    """The GGUF tensors and metadata of the projector of a checkpoint with a ``config.json``.

    UnsupportedError: the class has no projector, or none that is known.  PlanError: as ``resolve``.
    """
    if checkpoint.config is None:
        raise InputError("has no config.json", file=checkpoint.folder.location)
    known = _find(checkpoint.config, checkpoint.folder)
    config, known = _complete(checkpoint.config, known, checkpoint.folder)
    names = canonical_names(checkpoint.lazy, config, known)
    origins = {f"{kind}.": _origin(_places(tower)[0], known.config_file) for kind, tower in known.towers.items()}
    origins |= {"text.": (known.config_file, ""), "preprocessor.": (_PREPROCESSORS[0][0], "")}
    model = context(checkpoint, known, config, names, origins=origins)
    own = set(names.values())
    others = [(source, _OTHER_PART) for source in checkpoint.lazy if source not in own]
    return resolved(Matcher(model, known, names, checkpoint.lazy, checkpoint.absent, left_out=others))


def folders_of_projector(config: Mapping[str, Any], folder: Folder) -> tuple[str, ...]:
    """The folders in a model's whose tensors its projector needs, named FOLDER/NAME.  UnsupportedError: as above."""
    return _find(config, folder).folders


def of_projector(config: Mapping[str, Any], sources: Iterable[str]) -> frozenset[str]:
    """Those of a model's tensors that are its projector's; none where no table knows its class."""
    name = table_of(_class(config) or "", "projector")
    return (
        frozenset() if name is None else frozenset(canonical_names(sources, config, table(name, "projector")).values())
    )


def _class(config: Mapping[str, Any]) -> str | None:
    """The class that decides the projector: that of the images' part where the config names one."""
    vision = config.get("vision_config")
    inner = configs.first_class(vision) if isinstance(vision, Mapping) else None
    return inner or configs.first_class(config)


def _find(config: Mapping[str, Any], folder: Folder) -> Table:
    """The table of a config's projector.  UnsupportedError: there is none, in the model or among the tables."""
    model_class = _class(config)
    name = None if model_class is None else table_of(model_class, "projector")
    if name is not None:
        known = table(name, "projector")
        model = ModelContext(config, folder=folder, table=known.name)
        redirects = (table(other, "projector") for other, when in known.redirect.items() if evaluate.holds(model, when))
        return next(redirects, known)
    if (reason := common("projector").refused.get(model_class or "")) is not None:
        raise UnsupportedError(f"the projector of {model_class} is not made: {reason}", file=folder.location)
    if not any(sign in config for sign in _SIGNS):
        raise UnsupportedError(
            f"has no projector: {model_class or 'the model'} takes in neither images nor sounds",
            file=folder.location,
            hint="leave --mmproj out",
        )
    if model_class is None:
        hint = "take config.json from the original model"
        raise UnsupportedError("config.json names no model class ('architectures')", file=folder.location, hint=hint)
    near = nearest(model_class, classes("projector"), most=3, least_alike=0.5)
    like = f"nearest known: {', '.join(near)}; " if near else ""
    raise UnsupportedError(
        f"the projector of {model_class} is not known",
        file=folder.location,
        hint=f"{like}`qconv architectures --projectors` lists all",
    )


def _complete(config: Mapping[str, Any], known: Table, folder: Folder) -> tuple[dict[str, Any], Table]:
    """The config with what tables ask for under names of its own, and the table with the towers that it has.

    ``vision`` and ``audio`` are the towers' parts, ``text`` the text model's keys over those of the whole, each with
    defaults, and ``preprocessor`` says how images and sounds are prepared.
    """
    outer = config.get("model_type")
    full = configs.with_defaults(config, outer, known)
    text = configs.text_config(config) or {}
    sizes = common().text_sizes.get(str(text.get("model_type") or f"{outer}_text"), {})
    completed = {"text": {**full, **sizes, **text} if text else full}
    model = ModelContext(full, folder=folder, table=known.name)
    there = {}
    for kind, tower in known.towers.items():
        places = _places(tower)
        part = full if _WHOLE in places else _own_config(folder, places) or model.find(*places)
        if isinstance(part, Mapping):
            types = (str(part.get("model_type")), f"{outer}_{kind}", str(outer))
            chosen = next(filter(known.defaults.__contains__, types), None)
            completed[kind] = configs.with_defaults(part, chosen, known)
            there[kind] = tower
        elif part is not None:
            raise model.lacks(places, part, "an object")
    absent = [kind for kind, tower in known.towers.items() if kind not in there and not tower.optional]
    if absent or not there:
        wanted = " or ".join(f"'{place}'" for kind in absent or known.towers for place in _places(known.towers[kind]))
        raise UnsupportedError(
            f"has no projector: there is no {wanted} in its config", file=folder.location, hint="leave --mmproj out"
        )
    full |= {**completed, "preprocessor": _preprocessor(folder)}
    return full, msgspec.structs.replace(known, **{kind: there.get(kind) for kind in TOWERS})


def _origin(place: str, config_file: str) -> tuple[str, str]:
    """The file that has a tower's part of the config, and what its keys begin with there."""
    return (place, "") if place.endswith(".json") else (config_file, f"{place}.")


def _own_config(folder: Folder, places: Iterable[str]) -> dict[str, Any] | None:
    """A tower's part of the config where it is a file in a folder of its own."""
    file = next((place for place in places if place.endswith(".json") and folder.has(place)), None)
    return None if file is None else read_object(folder, file)


def _places(tower: Tower) -> tuple[str, ...]:
    """Where the config may keep a tower's part."""
    return (tower.config,) if isinstance(tower.config, str) else tower.config


def _preprocessor(folder: Folder) -> dict[str, Any]:
    """How images and sounds are prepared, whichever of the files say it."""
    merged: dict[str, Any] = {}
    for name, inner in _PREPROCESSORS:
        said = read_object(folder, name) if folder.has(name) else {}
        part = said.get(inner)
        merged |= {**said, **(part if isinstance(part, Mapping) else {})}
    return merged
