"""Tables of ``formats/architectures/`` and ``formats/projectors/``: which there are, and each with what it extends."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from qconv.architectures.schema import Common, Table, Tower, Variant
from qconv.errors import TableError
from qconv.formats import ROOT, load
from qconv.types import ModelPart

FOLDERS: dict[ModelPart, Path] = {"text": ROOT / "architectures", "projector": ROOT / "projectors"}
PARTS = tuple(FOLDERS)


def multimodal() -> tuple[str, ...]:
    """Classes that have no table: of these the text part is converted, as what its ``model_type`` says."""
    return common().multimodal


_SCALARS = Literal["uint32", "int32", "float32", "bool", "string", "array", "uint64 array"]


@functools.cache
def common(part: ModelPart = "text") -> Common:
    return load(FOLDERS[part] / "_common.toml", Common)


@functools.cache
def key_types() -> dict[str, str]:
    """Value types of metadata keys, ``{arch}.`` left off; lists are arrays whatever their key's type."""
    return dict(load(ROOT / "metadata.toml", dict[str, _SCALARS]))


@functools.cache
def names(part: ModelPart = "text") -> tuple[str, ...]:
    """Names of all tables of a part, sorted."""
    return tuple(sorted(p.stem for p in FOLDERS[part].glob("*.toml") if not p.stem.startswith("_")))


@functools.cache
def table(name: str, part: ModelPart = "text") -> Table:
    """The table ``name`` of a part with what it extends merged in."""
    own = msgspec.structs.replace(load(FOLDERS[part] / f"{name}.toml", Table), name=name, part=part)
    if own.extends is None:
        return _with_towers(own)
    base = load(FOLDERS[part] / f"{own.extends}.toml", Table)
    if base.extends is not None:
        raise TableError(f"extends {own.extends}, which extends {base.extends}: one deep at most", file=name + ".toml")
    return _with_towers(_merged(base, own))


def _with_towers(table: Table) -> Table:
    """``table`` with what its towers leave out: where the config keeps their parts, and what counts their layers."""
    towers = {
        kind: msgspec.structs.replace(
            tower, config=tower.config or f"{kind}_config", layers=tower.layers or f"{kind}_layers"
        )
        for kind, tower in table.towers.items()
    }
    layers = next((tower.layers for tower in towers.values()), table.layers)
    return msgspec.structs.replace(table, **towers, layers=layers)


def _merged(base: Table, own: Table) -> Table:
    def both(inherited: Mapping[str, Any], added: Mapping[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in inherited.items() if k not in own.exclude} | dict(added)

    def tower(kind: str) -> Tower | None:
        inherited: Tower | None = None if kind in own.exclude else getattr(base, kind)
        added: Tower | None = getattr(own, kind)
        if inherited is None:
            return added
        added = added or Tower()
        return Tower(
            modules=both(inherited.modules, added.modules),
            tensors=both(inherited.tensors, added.tensors),
            layers=added.layers or inherited.layers,
            config=added.config or inherited.config,
            optional=added.optional or inherited.optional,
        )

    alternatives: dict[str, dict[str, Variant]] = {}
    for group in (*base.alternatives, *own.alternatives):
        inherited = {k: v for k, v in base.alternatives.get(group, {}).items() if f"{group}.{k}" not in own.exclude}
        if merged := inherited | own.alternatives.get(group, {}):
            alternatives[group] = merged
    return msgspec.structs.replace(
        own,
        exclude=base.exclude + own.exclude,
        tokenizer=own.tokenizer or base.tokenizer,
        tokenizer_options=own.tokenizer_options or base.tokenizer_options,
        common=own.common and base.common,
        layers=base.layers if own.layers == "n_layer" else own.layers,
        experts=base.experts if own.experts == "n_expert" else own.experts,
        renames=own.renames or base.renames,
        store=own.store or base.store,
        defaults=base.defaults | own.defaults,
        metadata=both(base.metadata, own.metadata),
        modules=both(base.modules, own.modules),
        tensors=both(base.tensors, own.tensors),
        alternatives=alternatives,
        wrappers=own.wrappers or base.wrappers,
        within=own.within or base.within,
        module_parts=own.module_parts or base.module_parts,
        vision=tower("vision"),
        audio=tower("audio"),
        drop=base.drop + own.drop,
    )


_HEADS = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
"""How transformers calls a model with the head for text, whose class without it ends in ``Model``."""


class _Head(msgspec.Struct, frozen=True):
    classes: tuple[str, ...] = ()


def _classes_in(path: Path) -> tuple[str, ...]:
    """The classes of the table at ``path``, of which nothing is parsed but what stands before its first section."""
    data = path.read_bytes()
    try:
        return msgspec.toml.decode(data.partition(b"\n[")[0], type=_Head).classes
    except (msgspec.DecodeError, UnicodeDecodeError):
        return load(path, Table).classes  # which says what is wrong with it


@functools.cache
def classes(part: ModelPart = "text") -> dict[str, str]:
    """Model classes of ``config.json`` with the table of each that a part has."""
    files: dict[str, str] = {}
    for name in names(part):
        for cls in _classes_in(FOLDERS[part] / f"{name}.toml"):
            if cls in files:
                raise TableError(f"class {cls} is in {files[cls]}.toml too", file=f"{name}.toml")
            files[cls] = name
    return files


def table_of(cls: str, part: ModelPart = "text") -> str | None:
    """The name of the table of a model class, None when there is none.

    Of text models a class without a head that no table names (``MistralModel``, ``Qwen3_5TextModel``) is that of the
    class with one.
    """
    name = _table_naming(cls, part)
    if name is None and part == "text" and cls.endswith("Model"):
        stem = cls.removesuffix("Model")
        heads = (base + head for base in dict.fromkeys((stem, stem.removesuffix("Text"))) for head in _HEADS)
        name = next(filter(None, (_table_naming(cls, part) for cls in heads)), None)
    return name


@functools.cache
def _table_naming(cls: str, part: ModelPart) -> str | None:
    """The table that names a class; parses none without that word."""
    word = f'"{cls}"'.encode("utf-8", "replace")
    for name in names(part):
        path = FOLDERS[part] / f"{name}.toml"
        if word in path.read_bytes() and cls in _classes_in(path):
            return name
    return None
