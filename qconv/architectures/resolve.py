"""From a checkpoint to the tensors and metadata of its GGUF file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from qconv.architectures import config as configs
from qconv.architectures import evaluate
from qconv.architectures import metadata as keys
from qconv.architectures.build import carried
from qconv.architectures.derivations.common import file_type
from qconv.architectures.further_tokens import select
from qconv.architectures.model import ModelContext
from qconv.architectures.names import canonical_names
from qconv.architectures.not_converted import not_converted, told_by_files
from qconv.architectures.schema import Table, When
from qconv.architectures.table import classes, table, table_of
from qconv.architectures.tensors import MappedTensor, Matcher
from qconv.errors import InputError, UnsupportedError, nearest
from qconv.storage import Folder
from qconv.tensors import LazyTensor
from qconv.types import Metadata, TensorInfo, Value


class Checkpoint(Protocol):
    """What this room needs of a checkpoint."""

    @property
    def folder(self) -> Folder: ...

    @property
    def config(self) -> dict[str, Any] | None: ...

    @property
    def metadata(self) -> Metadata | None: ...

    @property
    def lazy(self) -> Mapping[str, LazyTensor]: ...

    @property
    def tensors(self) -> Mapping[str, TensorInfo]: ...

    @property
    def absent(self) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class Resolved:
    """A model as GGUF names it.

    ``metadata``: the architecture's keys in llama.cpp's order, with ``general.file_type`` of the unquantized file in
    its place among them.  ``tensors``: in the order llama.cpp's converter writes them.  ``config``: completed with
    defaults, the text model's keys at the root.  ``tokenizer``: names of the presets to try, in order.  ``notes``: what
    a user should know.
    """

    architecture: str
    metadata: Metadata
    tensors: list[MappedTensor]
    dropped: list[tuple[str, str]] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    table: str | None = None
    tokenizer: tuple[str, ...] = ()
    tokenizer_options: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def resolve(checkpoint: Checkpoint, target: Mapping[str, Any] | None = None, mtp: str = "keep") -> Resolved:
    """The GGUF tensors and metadata of a checkpoint with a ``config.json``.

    ``target``: of a drafter, the config of the model it drafts for.  ``mtp``: as ``further_tokens.select`` has it.

    UnsupportedError: no table knows the class.  PlanError: config, table and tensors do not fit together.
    """
    return resolved(matcher_of(checkpoint, target, mtp))


def resolved(matcher: Matcher) -> Resolved:
    """What a matcher makes of its model; raises PlanError as ``resolve``."""
    outputs, dropped = matcher.outputs()
    known, model, config = matcher.table, matcher.model, dict(matcher.model.config)
    return Resolved(
        architecture=known.gguf_name,
        metadata=keys.metadata(model, known),
        tensors=outputs,
        dropped=dropped,
        config=config,
        table=known.name,
        tokenizer=(known.tokenizer,) if isinstance(known.tokenizer, str) else known.tokenizer,
        tokenizer_options=_tokenizer_options(known, model),
        notes=tuple(matcher.notes),
    )


def context(
    checkpoint: Checkpoint,
    known: Table,
    config: Mapping[str, Any],
    names: Mapping[str, str],
    *,
    origins: Mapping[str, tuple[str, str]] | None = None,
    **more: Any,
) -> ModelContext:
    """What a table may ask about a checkpoint of which ``names`` are the sources by the names tables use."""
    infos = checkpoint.tensors
    tensors = {name: infos[source] for name, source in names.items()}
    origins = {**(origins or {}), "": (known.config_file, "")}
    return ModelContext(config, tensors, checkpoint.folder, known.name, checkpoint.lazy, origins=origins, **more)


def _tokenizer_options(known: Table, model: ModelContext) -> dict[str, Any]:
    """The table's, with what it takes from the config among the keys to be set last."""
    options = dict(known.tokenizer_options)
    asked = options.pop("after_config", {})
    given = {key: value for key, names in asked.items() if (value := model.find(*names)) is not None}
    return options | {"after": options.get("after", {}) | given} if given else options


def vocabulary_of(config: Mapping[str, Any], folder: Folder) -> tuple[tuple[str, ...], dict[str, Any], dict[str, Any]]:
    """Of a model that something is for: the kinds of its tokenizer, their options, its completed config."""
    known = find_table(config, folder)
    full = configs.complete(config, known)
    kinds = (known.tokenizer,) if isinstance(known.tokenizer, str) else known.tokenizer
    return kinds, _tokenizer_options(known, ModelContext(full, folder=folder, table=known.name)), full


def matcher_of(checkpoint: Checkpoint, target: Mapping[str, Any] | None = None, mtp: str = "keep") -> Matcher:
    """What matches the tensors of a checkpoint with its architecture's; raises as ``resolve``."""
    if checkpoint.config is None:
        raise InputError("has no config.json", file=checkpoint.folder.location)
    known = find_table(checkpoint.config, checkpoint.folder)
    config = configs.complete(checkpoint.config, known)
    if isinstance(known.mtp, dict):
        known, mtp = _table_of_layers(known, known.mtp, ModelContext(config, table=known.name), mtp)
    names = canonical_names(checkpoint.lazy, config, known)
    left_out: list[tuple[str, str]] = []
    first = 0
    if mtp != "keep":
        chosen = select(names, config, known, mtp, checkpoint.folder.location)
        names, config, first, left_out = chosen.names, chosen.config, chosen.first, chosen.left_out
    model = context(
        checkpoint, known, config, names, target={**(target or {}), **(configs.text_config(target or {}) or {})}
    )
    return Matcher(model, known, names, checkpoint.lazy, checkpoint.absent, first, left_out)


def _table_of_layers(known: Table, others: Mapping[str, When], model: ModelContext, mtp: str) -> tuple[Table, str]:
    """Where layers for further tokens are of another architecture: its table for ``only`` these, and what is left of
    ``mtp`` for it.  The model itself has none of them.
    """
    if mtp != "only":
        return known, "keep"
    other = table(next(name for name, when in others.items() if evaluate.holds(model, when)))
    return other, "only" if other.mtp else "keep"


def find_table(config: Mapping[str, Any], folder: Folder | None = None) -> Table:
    """The table of a config's model class, or the one it becomes with this config.

    UnsupportedError: naming the nearest known classes, or why a class is not converted.
    """
    location = None if folder is None else folder.location
    model_class = (folder and told_by_files(folder)) or configs.model_class(config)
    if model_class is None:
        raise UnsupportedError(
            "config.json names no model class ('architectures')",
            file=location,
            hint="take config.json from the original model; alone, the weights convert under their own names",
        )
    if (reason := not_converted().get(model_class)) is not None:
        raise UnsupportedError(
            f"architecture {model_class} is not converted: {reason}",
            file=location,
            hint="`qconv architectures --all` lists others; from GGUF to GGUF every architecture works",
        )
    name = table_of(model_class)
    if name is None:
        near = nearest(model_class, classes(), most=3, least_alike=0.5)
        like = f"nearest known: {', '.join(near)}; " if near else ""
        raise UnsupportedError(
            f"architecture {model_class} is not known",
            file=location,
            hint=f"{like}`qconv architectures` lists all; from GGUF to GGUF every architecture works",
        )
    known = table(name)
    if not known.redirect:
        return known
    model = ModelContext(configs.complete(config, known), folder=folder, table=known.name)
    return next((table(name) for name, when in known.redirect.items() if evaluate.holds(model, when)), known)


def resolve_plain(checkpoint: Checkpoint, arch: str = "unknown") -> Resolved:
    """Every tensor under its own name, for weights without a config."""
    model = ModelContext({}, checkpoint.tensors)
    outputs = [MappedTensor(name, carried(tensor)) for name, tensor in checkpoint.lazy.items()]
    return Resolved(arch, {"general.file_type": Value.uint32(file_type(model))}, outputs)


def resolve_gguf(checkpoint: Checkpoint) -> Resolved:
    """A GGUF file's tensors and metadata as they are, in its order, tokenizer keys included."""
    metadata = checkpoint.metadata or {}
    name = metadata.get("general.architecture")
    tables = ("I32", "I64")  # of places, which a runtime reads as they are stored
    outputs = [MappedTensor(n, t if t.dtype in tables else carried(t)) for n, t in checkpoint.lazy.items()]
    return Resolved(str(name.data) if name is not None else "unknown", dict(metadata), outputs)
