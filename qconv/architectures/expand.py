"""A table's entries, one for each layer and expert of a model, with the sources they are made from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from qconv.architectures import evaluate
from qconv.architectures.model import ModelContext
from qconv.architectures.names import entry_sources
from qconv.architectures.schema import Entry, Table, Variant
from qconv.architectures.table import common
from qconv.errors import PlanError, TableError

WEIGHT = ".weight"
_NO_LAYER = -1

Layer: TypeAlias = int | str
"""A layer's number, or what it is called where layers are numbered within stages."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An entry for one layer: its output's name and, for each source, the names it stands for; empty: not there."""

    output: str
    layer: Layer
    entry: Entry
    sources: tuple[tuple[str, ...], ...]
    required: bool
    expected: str

    @property
    def there(self) -> bool:
        return bool(self.sources) and all(self.sources)


@dataclass(slots=True)
class Expansion:
    """Expands a table's entries for one model; ``names``: source names by the name tables use.

    ``first``: the layer to begin with.  ``missing``: what ``entries`` found no alternative of.
    """

    model: ModelContext
    table: Table
    names: Mapping[str, str]
    first: int = 0
    missing: list[str] = field(default_factory=list)

    def entries(self) -> list[Wanted]:
        """The table's entries for every layer, those of the alternatives that are there."""
        own = self._expand(Variant(self.table.modules, self.table.tensors))
        towers = [want for tower in self.table.towers.values() for want in self._expand(tower)]
        return [*own, *towers, *self._chosen()]

    def _expand(self, part: Variant, layers: Iterable[Layer] | None = None) -> list[Wanted]:
        """All entries of ``part`` for all layers, or for ``layers`` those that have layers."""
        expanded = []
        further = [f".{name}" for name in self.table.module_parts]
        of_modules = (WEIGHT, ".bias", *further)
        for entries, suffixes in ((part.modules, of_modules), (part.tensors, ("",))):
            for name, given in entries.items():
                entry = given if isinstance(given, Entry) else Entry(from_=given)
                if entry.make is not None or not evaluate.holds(self.model, entry.when):
                    continue
                optional = self._optional(entry)
                for index, layer in enumerate(self._numbers(name, entry, part, layers)):
                    for suffix in suffixes:
                        required = not optional and suffix in (WEIGHT, "")
                        whole = Entry(entry.from_, entry.or_, do=("flatten",)) if suffix in further else entry
                        expanded.append(self._wanted(name, whole, (layer, index), suffix, required))
        return expanded

    def _optional(self, entry: Entry) -> bool:
        return entry.optional if isinstance(entry.optional, bool) else evaluate.holds(self.model, entry.optional)

    def _numbers(self, name: str, entry: Entry, part: Variant, layers: Iterable[Layer] | None) -> Iterable[Layer]:
        """What {layer} stands for in an entry of ``part``."""
        if entry.layers is not None:
            return evaluate.numbers(self.model, entry.layers)
        return self._layers(name, layers, part.layers)

    def _layers(self, name: str, layers: Iterable[Layer] | None, counted: str | None = None) -> Iterable[Layer]:
        """``layers``, or all that ``counted`` counts, the table's derivation without one; -1 where none is named."""
        if "{layer}" not in name:
            return (_NO_LAYER,)
        if layers is not None:
            return [layer for layer in layers if isinstance(layer, str) or layer >= self.first]
        count = evaluate.count(self.model, counted or self.table.layers)
        if count > len(self.names):
            raise PlanError(
                f"config.json counts {count} layers, the checkpoint has {len(self.names)} tensors",
                file=self.model.location,
            )
        return range(self.first, count)

    def _wanted(self, name: str, entry: Entry, place: tuple[Layer, int], suffix: str, required: bool) -> Wanted:
        """``place``: the layer's number, and its index among those of the entry."""
        layer, index = place

        def spelled(text: str) -> str:
            return text.replace("{layer}", str(layer)).replace("{index}", str(index)) + suffix

        spellings = [_tuple(entry.from_ or ()), *(_tuple(other) for other in entry.or_)]
        for spelling in spellings:
            wanted = tuple(self._names(spelled(source), entry, layer) for source in spelling)
            if all(wanted):
                return Wanted(spelled(name), layer, entry, wanted, required, "")
            if len(spelling) == 1 and (held := self._stacked(spelled(spelling[0]), entry)) is not None:
                source, other = held
                return Wanted(spelled(name), layer, other, ((source,),), required, "")
        absent = next(
            (spelled(source) for source in spellings[0] if not self._names(spelled(source), entry, layer)), ""
        )
        return Wanted(spelled(name), layer, entry, (), required, absent)

    def _stacked(self, source: str, entry: Entry) -> tuple[str, Entry] | None:
        """Of experts that ``source`` names one by one: the tensor that holds them all, and how it becomes the stack.

        None where the table has a rule of its own for it.
        """
        for ending, held in common(self.table.part).stacked_experts.items():
            if source.endswith(ending) and not entry.do:
                endings = tuple(end for spelling in (held.from_ or (), *held.or_) for end in _tuple(spelling))
                name = next((n for e in endings if (n := source.removesuffix(ending) + e) in self.names), None)
                if name is not None and not any(own.endswith(endings) for own in entry_sources(self.table)):
                    return name, Entry(from_=name, do=held.do, store=entry.store)
        return None

    def _names(self, source: str, entry: Entry, layer: Layer) -> tuple[str, ...]:
        """The names a source stands for: itself, or one per expert of the layer; empty when one is missing."""
        if "{expert}" not in source:
            return (source,) if source in self.names else ()
        count = evaluate.count(self.model, entry.count or self.table.experts, layer)
        names = []
        for expert in range(count):
            name = source.replace("{expert}", str(expert))
            if name not in self.names:
                return ()
            names.append(name)
        return tuple(names)

    def _chosen(self) -> Iterator[Wanted]:
        """For each set of alternatives and each layer, the entries of the alternative that is there."""
        for group, variants in self.table.alternatives.items():
            layered = any("{layer}" in name for v in variants.values() for name in (*v.modules, *v.tensors))
            own = next((v.layers for v in variants.values() if v.layers is not None), None)
            listed = None if own is None else evaluate.layers(self.model, own)
            for layer in self._layers("{layer}" if layered else "", listed):
                yield from self._best(group, variants, layer)

    def _best(self, group: str, variants: Mapping[str, Variant], layer: Layer) -> list[Wanted]:
        """Of several that are complete the one with most tensors; an incomplete one is as good as it is full."""
        best: tuple[tuple[bool, int], list[Wanted]] = ((False, 0), [])
        for variant in variants.values():
            wanted = self._expand(variant, (layer,))
            there = sum(want.there for want in wanted)
            complete = there > 0 and all(want.there or not want.required for want in wanted)
            if (complete, there) > best[0]:
                best = ((complete, there), wanted)
        if not best[1]:
            where = "there is" if layer == _NO_LAYER else f"layer {layer} has"
            wanted = [want for variant in variants.values() for want in self._expand(variant, (layer,))]
            expected = next((want.expected for want in wanted if want.required), None)
            if expected is None:
                raise TableError(f"{self.model.table}: none of the alternatives of {group} requires anything")
            self.missing.append(f"{expected} or what else stands for it ({where} no {group})")
        return best[1]


def _tuple(source: str | Sequence[str]) -> tuple[str, ...]:
    return (source,) if isinstance(source, str) else tuple(source)
