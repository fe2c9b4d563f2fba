"""``formats/architectures/*.toml`` as frozen, checked types; ``formats/README.md`` explains the grammar to people."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec

from qconv.errors import TableError
from qconv.formats import ROOT, load

FOLDER = ROOT / "architectures"

Argument: TypeAlias = str | int | float
When: TypeAlias = str | dict[str, Any]
"""A condition's name, or config keys (dotted) with the value or the list of values each must have."""


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"from_": "from", "or_": "or"}):
    """Where one output tensor comes from; exactly one of ``from`` and ``make`` is set.

    ``or``: other spellings of ``from``, the first one that is there counts.  ``optional``: may be missing, always or
    when the named condition holds.  ``store``: the type llama.cpp's converter forces on it: a type, "file" for the
    file's own, or "source" for that of the checkpoint, Q8_0 where that is an 8-bit float.  ``count``: the derivation
    that says how many {expert} stands for here, where it is something else than the table's experts.
    """

    from_: str | tuple[str, ...] | None = None
    or_: tuple[str | tuple[str, ...], ...] = ()
    do: tuple[str | dict[str, Argument | tuple[Argument, ...]], ...] = ()
    make: str | None = None
    when: When | None = None
    optional: bool | str = False
    store: str | None = None
    count: str | None = None


class Key(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """Where one metadata value comes from; exactly one of ``from``, ``value`` and ``derive`` is set.

    ``from``: config keys, the first one present counts.  ``default``: the value when none is, or it is null.
    ``names``: what the config's words mean.  ``of``: config keys a derivation is about.
    """

    from_: str | tuple[str, ...] | None = None
    value: Any = None
    derive: str | None = None
    of: tuple[Argument, ...] = ()
    names: dict[str, int | str] | None = None
    default: Any = None
    optional: bool = False
    when: When | None = None


class Drop(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Source tensors left out on purpose: ``names`` may hold {layer} and {expert}, the others are parts of names."""

    reason: str
    names: tuple[str, ...] = ()
    starts: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()
    contains: tuple[str, ...] = ()
    when: When | None = None


Entries: TypeAlias = dict[str, str | tuple[str, ...] | Entry]
Keys: TypeAlias = dict[str, str | tuple[str, ...] | Key]


class Variant(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``modules`` are a weight and a bias if there is one; ``tensors`` are named in full.

    ``layers``: the derivation that counts this group's layers, where they are not the table's, as a decoder's.
    """

    modules: Entries = {}
    tensors: Entries = {}
    layers: str | None = None


class Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One architecture; see ``formats/README.md``.

    ``exclude``: what it does not inherit of the table it extends and of the keys all have.  ``redirect``: other
    tables, each with the condition on the config under which that one counts instead.  ``store``: of entries that have
    none of their own.
    """

    name: str = ""
    about: str = ""
    classes: tuple[str, ...] = ()
    extends: str | None = None
    exclude: tuple[str, ...] = ()
    architecture: str | None = None
    redirect: dict[str, When] = {}
    tokenizer: str | tuple[str, ...] = ""
    tokenizer_options: dict[str, Any] = {}
    common: bool = True
    layers: str = "n_layer"
    experts: str = "n_expert"
    renames: tuple[str, ...] = ()
    mtp: bool = False
    store: str | None = None
    defaults: dict[str, dict[str, Any]] = {}
    metadata: Keys = {}
    modules: Entries = {}
    tensors: Entries = {}
    alternatives: dict[str, dict[str, Variant]] = {}
    drop: tuple[Drop, ...] = ()

    @property
    def gguf_name(self) -> str:
        """The value of ``general.architecture``."""
        return self.architecture or self.name


class Common(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What holds for all architectures: wrapper prefixes, keys written from any config, parts always left out.

    ``multimodal``: classes known to be a text model, of a class by its ``model_type`` in ``text_models``, and more.
    """

    wrappers: tuple[str, ...]
    inside: tuple[str, ...]
    endings: dict[str, str]
    text_configs: tuple[str, ...]
    wrapper_classes: tuple[str, ...]
    multimodal: tuple[str, ...]
    text_models: dict[str, str]
    metadata: Keys
    drop: tuple[Drop, ...]


def multimodal() -> tuple[str, ...]:
    """Classes that have no table: of these the text part is converted, as what its ``model_type`` says."""
    return common().multimodal


_SCALARS = Literal["uint32", "int32", "float32", "bool", "string", "array", "uint64 array"]


@functools.cache
def common() -> Common:
    return load(FOLDER / "_common.toml", Common)


@functools.cache
def key_types() -> dict[str, str]:
    """Value types of metadata keys, ``{arch}.`` left off; lists are arrays whatever their key's type."""
    return dict(load(ROOT / "metadata.toml", dict[str, _SCALARS]))


@functools.cache
def names() -> tuple[str, ...]:
    """Names of all tables, sorted."""
    return tuple(sorted(p.stem for p in FOLDER.glob("*.toml") if not p.stem.startswith("_")))


@functools.cache
def table(name: str) -> Table:
    """The table ``name`` with what it extends merged in."""
    own = msgspec.structs.replace(load(FOLDER / f"{name}.toml", Table), name=name)
    if own.extends is None:
        return own
    base = load(FOLDER / f"{own.extends}.toml", Table)
    if base.extends is not None:
        raise TableError(f"extends {own.extends}, which extends {base.extends}: one deep at most", file=name + ".toml")
    return _merged(base, own)


def _merged(base: Table, own: Table) -> Table:
    def both(field: str) -> dict[str, Any]:
        inherited: Mapping[str, Any] = getattr(base, field)
        added: Mapping[str, Any] = getattr(own, field)
        return {k: v for k, v in inherited.items() if k not in own.exclude} | dict(added)

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
        metadata=both("metadata"),
        modules=both("modules"),
        tensors=both("tensors"),
        alternatives=alternatives,
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
def classes() -> dict[str, str]:
    """Model classes of ``config.json`` with the table of each."""
    files: dict[str, str] = {}
    for name in names():
        for cls in _classes_in(FOLDER / f"{name}.toml"):
            if cls in files:
                raise TableError(f"class {cls} is in {files[cls]}.toml too", file=f"{name}.toml")
            files[cls] = name
    return files


def table_of(cls: str) -> str | None:
    """The name of the table of a model class, None when there is none.

    A class without a head that no table names (``MistralModel``, ``Qwen3_5TextModel``) is that of the class with one.
    """
    name = _table_naming(cls)
    if name is None and cls.endswith("Model"):
        stem = cls.removesuffix("Model")
        heads = (base + head for base in dict.fromkeys((stem, stem.removesuffix("Text"))) for head in _HEADS)
        name = next(filter(None, map(_table_naming, heads)), None)
    return name


def _table_naming(cls: str) -> str | None:
    """The table that names a class; parses none without that word."""
    word = f'"{cls}"'.encode("utf-8", "replace")
    for name in names():
        path = FOLDER / f"{name}.toml"
        if word in path.read_bytes() and cls in _classes_in(path):
            return name
    return None
