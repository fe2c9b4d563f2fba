"""Metadata of an architecture: keys of the table with values from the config, typed as GGUF holds them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from qconv.architectures import evaluate
from qconv.architectures.model import ModelContext
from qconv.architectures.schema import Key, Keys, Table
from qconv.architectures.table import common, key_types
from qconv.errors import PlanError, TableError
from qconv.types import Metadata, ModelPart, Value, ValueType

_ROOTED = ("general.", "xielu.", "tokenizer.", "diffusion.", "vision.pos_emb_")
"""Keys that are not under the architecture's name."""
_CONSTRUCTORS = {
    "uint32": ValueType.UINT32,
    "int32": ValueType.INT32,
    "float32": ValueType.FLOAT32,
    "bool": ValueType.BOOL,
    "string": ValueType.STRING,
}
_EARLY_END: dict[ModelPart, str] = {"text": "general.type", "projector": "general.file_type"}
"""The last key of a table that comes before the common ones."""
_LARGEST_FLOAT = 3.5e38
_RANGES = {
    ValueType.UINT32: (0, 2**32 - 1),
    ValueType.INT32: (-(2**31), 2**31 - 1),
    ValueType.UINT64: (0, 2**64 - 1),
}
_ARRAYS = ("array", "uint64 array")


class _Unfit(Exception):
    """A value that its key's type cannot hold; says what would fit."""


def metadata(model: ModelContext, table: Table) -> Metadata:
    """Keys in the order llama.cpp's converter writes them; a key set twice keeps its first place.

    The table's keys follow the common ones, but those up to ``_EARLY_END`` in the table, which come before them.
    A projector's common keys are those of its towers, and one its table has too is as the table says.
    PlanError: the config lacks what the table requires, or holds a value the key's type cannot.
    """
    early, late = _parted(table)
    if table.part == "projector":
        return _values(model, early | _of_towers(table) | late, table.gguf_name)
    shared = {name: key for name, key in common().metadata.items() if name not in table.exclude}
    entries: Metadata = {}
    for keys in (early, shared if table.common else {}, late):
        entries |= _values(model, keys, table.gguf_name)
    if next(iter(entries), None) == _EARLY_END["text"]:  # nothing came before it
        del entries[_EARLY_END["text"]]
    return entries


def _parted(table: Table) -> tuple[Keys, Keys]:
    """The table's keys that come before the common ones, and the others."""
    order = list(table.metadata)
    end = _EARLY_END[table.part]
    count = order.index(end) + 1 if end in table.metadata else 0
    return {name: table.metadata[name] for name in order[:count]}, {
        name: table.metadata[name] for name in order[count:]
    }


def _of_towers(table: Table) -> Keys:
    """The keys that all projectors with such towers have."""
    rules = common("projector")
    keys = dict(rules.metadata)
    for kind in table.towers:
        keys |= getattr(rules, kind)
    return {name: key for name, key in keys.items() if name not in table.exclude}


def _values(model: ModelContext, keys: Keys, architecture: str) -> Metadata:
    values: Metadata = {}
    for name, entry in keys.items():
        key = entry if isinstance(entry, Key) else Key(from_=entry)
        if not evaluate.holds(model, key.when):
            continue
        raw = _raw(model, key)
        if raw is None or (isinstance(raw, Sequence) and not isinstance(raw, str) and not len(raw)):
            continue
        full = name if name.startswith(_ROOTED) else f"{architecture}.{name}"
        try:
            values[full] = _typed(name, raw)
        except _Unfit as e:
            raise _refused(model, name, key, raw, str(e)) from None
    return values


def _raw(model: ModelContext, key: Key) -> Any:
    if key.value is not None:
        return key.value
    if key.derive is not None:
        return evaluate.derive(model, key.derive, key.of)
    if key.from_ is None:
        raise TableError(f"a metadata key of {model.table} has neither from, value nor derive")
    sources = (key.from_,) if isinstance(key.from_, str) else key.from_
    raw = model.find(*sources)
    if raw is None:
        raw = key.default
    if raw is None and not key.optional:
        raise model.lacks(sources)
    if key.names is None or raw is None:
        return raw
    if not isinstance(raw, str) or raw not in key.names:
        known = ", ".join(key.names)
        said = next((source for source in sources if model.has(source)), sources[0])
        raise PlanError(f"config.json has {raw!r} for '{said}', known are {known}", file=model.location)
    return key.names[raw]


def _refused(model: ModelContext, name: str, key: Key, raw: Any, wanted: str) -> PlanError:
    """Names the config's own key where one can be told."""
    sources = (key.from_,) if isinstance(key.from_, str) else key.from_ or tuple(str(each) for each in key.of)
    said = next((source for source in sources if model.has(source)), None)
    if said is not None:
        return model.lacks([said], model.find(said), wanted)
    return PlanError(f"config.json gives {raw!r} for {name!r}, which needs {wanted}", file=model.location)


def _typed(name: str, raw: Any) -> Value:
    if isinstance(raw, list | tuple):
        return _array(name, list(raw))
    kind = key_types().get(name)
    if kind is None:
        raise TableError(f"metadata.toml does not hold key {name!r}")
    if kind in _ARRAYS:
        raise _Unfit("a list")
    return Value(_CONSTRUCTORS[kind], _scalar(name, raw, _CONSTRUCTORS[kind]))


def _array(name: str, items: list[Any]) -> Value:
    if name not in key_types():
        raise TableError(f"metadata.toml does not hold key {name!r}")
    by_type: Mapping[type, ValueType] = {
        bool: ValueType.BOOL,
        int: ValueType.INT32,
        float: ValueType.FLOAT32,
        str: ValueType.STRING,
    }
    element = ValueType.UINT64 if key_types()[name] == "uint64 array" else by_type.get(type(items[0]))
    if element is None or any(type(item) is not type(items[0]) for item in items):
        raise _Unfit("numbers or texts, all of one kind,")
    return Value.array(element, [_scalar(name, item, element) for item in items])


def _scalar(name: str, raw: Any, kind: ValueType) -> Any:
    if kind == ValueType.STRING and isinstance(raw, str):
        return raw
    if kind == ValueType.BOOL and isinstance(raw, bool | int):
        return bool(raw)
    if (
        kind == ValueType.FLOAT32
        and isinstance(raw, int | float)
        and (abs(raw) < _LARGEST_FLOAT or abs(raw) == math.inf)
    ):
        return float(raw)
    if kind in _RANGES and (isinstance(raw, int) or (isinstance(raw, float) and raw.is_integer())):
        low, high = _RANGES[kind]
        if low <= int(raw) <= high:
            return int(raw)
    if kind in _RANGES:
        low, high = _RANGES[kind]
        raise _Unfit(f"a whole number from {low} to {high}")
    raise _Unfit({ValueType.FLOAT32: "a number", ValueType.BOOL: "true or false"}.get(kind, "a text"))
