"""MappedTensor tensors of a model: the table's entries expanded over layers and experts and matched with the sources.

Total: every source is used at least once or dropped by a rule, every output the table requires is made.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from qconv.architectures import build, evaluate
from qconv.architectures.model import ModelContext, class_name
from qconv.architectures.names import canonical, entry_sources, reason_to_drop
from qconv.architectures.schema import Entry, Table, Variant
from qconv.architectures.table import common
from qconv.errors import PlanError, and_more, nearest
from qconv.tensors import FLOATS, Constant, LazyTensor

_SHOWN = 6
_REPACKED, _TO_BLOCKS, _PLAIN = 1, 2, 3
_RANKS = {"I32": 0, "I64": 4}
"""llama.cpp's converter writes tables of integers, then repacked blocks, then what it makes blocks of, then floats, and
long integers last."""
_UNUSED = 3
_OUTPUT = "output.weight"
_WEIGHT = ".weight"
_NO_LAYER = -1
_OF_DENSE = re.compile(r"\d+_Dense[^.]*\.")
"""What sentence-transformers calls the folders of its modules."""
_OF_ADAPTER = re.compile(r"\.(?:lora_(?:A|B|embedding_[AB]|magnitude_vector)|base_layer|modules_to_save)\.")
"""What PEFT calls the parts of a module it has wrapped."""
_NUMBER = re.compile(r"\d+")

Layer: TypeAlias = int | str
"""A layer's number, or what it is called where layers are numbered within stages."""


@dataclass(frozen=True, slots=True)
class MappedTensor:
    """A tensor of the GGUF file; ``store``: the type llama.cpp's converter forces on it, None when its rule decides."""

    name: str
    tensor: LazyTensor
    store: str | None = None


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
class Matcher:
    """Matches one model's tensors; ``names``: source names by the name tables use.

    ``absent``: source names that an index lists, and the file that does not have them.  ``first``: the layer to begin
    with.  ``left_out``: sources that are not wanted, each with the reason.  ``notes``: what a user should
    know of the outcome.
    """

    model: ModelContext
    table: Table
    names: Mapping[str, str]
    tensors: Mapping[str, LazyTensor]
    absent: Mapping[str, str] = field(default_factory=dict)
    first: int = 0
    left_out: Sequence[tuple[str, str]] = ()
    claimed: set[str] = field(default_factory=set)
    missing: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def outputs(self) -> tuple[list[MappedTensor], list[tuple[str, str]]]:
        """Outputs in the order llama.cpp's converter emits them, and dropped sources with reasons.

        PlanError: a required tensor is missing, or a source is neither used nor dropped.
        """
        wanted = self.entries()
        self._check_absent(wanted)
        made: list[tuple[tuple[int, int], MappedTensor]] = []
        places = self._places(wanted)
        for want in wanted:
            if want.there:
                sources = [[self.names[name] for name in names] for names in want.sources]
                store = want.entry.store or self.table.store
                tensor = build.lazy_tensor(self.model, want.entry, sources, self.tensors)
                rank = (_rank(want.entry, tensor), places[want.output])
                made.append((rank, MappedTensor(want.output, tensor, build.stored_type(store, tensor))))
                self.claimed.update(name for names in want.sources for name in names)
            elif want.required and want.output == _OUTPUT and want.entry.optional:
                self._tie(want.expected)
            elif want.required:
                self.missing.append(want.expected)
        dropped = self._dropped()
        ordered = [output for _, output in sorted(made, key=lambda pair: pair[0])]
        return [*self._made(), *ordered], dropped

    def entries(self) -> list[Wanted]:
        """The table's entries for every layer, those of the alternatives that are there."""
        own = self._expand(Variant(self.table.modules, self.table.tensors))
        towers = [want for tower in self.table.towers.values() for want in self._expand(tower)]
        return [*own, *towers, *self._chosen()]

    def _check_absent(self, wanted: Sequence[Wanted]) -> None:
        """PlanError for the first tensor that is in the index alone, and neither tied to another nor left out."""
        tied = {want.expected for want in wanted if not want.required and isinstance(want.entry.optional, str)}
        drops = (*self.table.drop, *common(self.table.part).drop)
        for source, file in self.absent.items():
            name = canonical(source, self.table.part, self.table.wrappers)
            if self.table.within and not name.startswith(self.table.within):
                continue
            if name not in tied and reason_to_drop(name, source, self.model, drops) is None:
                hint = "the shards may be from different revisions: download them again"
                raise PlanError(
                    f"is not in '{file}', as the index says", file=self.model.location, tensor=source, hint=hint
                )
        if self.absent:
            verb = "is" if len(self.absent) == 1 else "are"
            self.notes.append(f"{and_more(list(self.absent), 2)} {verb} in the index alone, and not needed")

    def _tie(self, expected: str) -> None:
        """Goes on without the output matrix: the runtime takes the embedding.  A note unless the model is for that."""
        folder = self.model.folder
        embeds = class_name(self.model).endswith("Model") or (folder is not None and folder.has("modules.json"))
        if not embeds:
            self.notes.append(
                f"there is no {expected}, though config.json says tie_word_embeddings: false; the embedding takes its"
                " place. A chat model that had an output of its own is incomplete: download or save it again"
            )

    def _places(self, wanted: Sequence[Wanted]) -> dict[str, int]:
        """Where each output stands in llama.cpp's order: at its last source; experts at their layer's last."""
        position = {name: i for i, name in enumerate(self.tensors)}
        places: dict[str, int] = {}
        last_expert: dict[Layer, int] = {}
        for want in wanted:
            if want.there:
                places[want.output] = max(position[self.names[n]] for names in want.sources for n in names)
                if _is_expert(want.entry):
                    last_expert[want.layer] = max(last_expert.get(want.layer, 0), places[want.output])
        for want in wanted:
            if want.there and _is_expert(want.entry):
                places[want.output] = last_expert[want.layer]
        return places

    def _made(self) -> Iterator[MappedTensor]:
        """Tensors that come from the config alone: first, as in llama.cpp."""
        for name, entry in self.table.tensors.items():
            if isinstance(entry, Entry) and entry.make is not None and evaluate.holds(self.model, entry.when):
                data = evaluate.make(self.model, entry.make)
                if data is not None:
                    yield MappedTensor(name, Constant(entry.make, data), entry.store)

    def _expand(self, part: Variant, layers: Iterable[Layer] | None = None) -> list[Wanted]:
        """All entries of ``part`` for all layers, or for ``layers`` those that have layers."""
        expanded = []
        further = [f".{name}" for name in self.table.module_parts]
        of_modules = (_WEIGHT, ".bias", *further)
        for entries, suffixes in ((part.modules, of_modules), (part.tensors, ("",))):
            for name, given in entries.items():
                entry = given if isinstance(given, Entry) else Entry(from_=given)
                if entry.make is not None or not evaluate.holds(self.model, entry.when):
                    continue
                optional = self._optional(entry)
                for index, layer in enumerate(self._numbers(name, entry, part, layers)):
                    for suffix in suffixes:
                        required = not optional and suffix in (_WEIGHT, "")
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
            first = next(iter(variants.values()))
            expected = next(want.expected for want in self._expand(first, (layer,)) if want.required)
            self.missing.append(f"{expected} or what else stands for it ({where} no {group})")
        return best[1]

    def _dropped(self) -> list[tuple[str, str]]:
        """Sources no output uses, each with its rule's reason; PlanError when one has none, or outputs are missing."""
        dropped, unknown = [*self.left_out], []
        for name, source in self.names.items():
            if name in self.claimed:
                continue
            reason = reason_to_drop(name, source, self.model, (*self.table.drop, *common(self.table.part).drop))
            if reason is None:
                unknown.append(name)
            else:
                dropped.append((source, reason))
        unused = [self.names[name] for name in unknown]
        if unused and (adapter := next(filter(_OF_ADAPTER.search, unused), None)):
            raise PlanError(
                f"holds adapters that are not merged into the weights, such as {adapter}",
                file=self.model.location,
                hint="in Python, with PEFT: model.merge_and_unload().save_pretrained(DIR)",
            )
        if self.missing:
            spare = f"; it has no use for {and_more(unused, _UNUSED)}" if unused else ""
            raise PlanError(
                f"{self.table.name} needs {and_more(self.missing, _SHOWN)}, which the checkpoint lacks{spare}",
                file=self.model.location,
                hint=_nearest(self.missing[0], unknown, self.names),
            )
        if unknown:
            raise PlanError(
                f"{self.table.name} has no use for {and_more(sorted(unused), _SHOWN)}",
                file=self.model.location,
                hint=self._why_unknown(unknown),
            )
        return dropped

    def _why_unknown(self, unknown: Sequence[str]) -> str:
        if all(map(_OF_DENSE.match, unknown)):
            return "llama.cpp has no place for them in this architecture: convert without the Dense modules"
        known = {_NUMBER.sub("0", name) for name in self.claimed}
        if all(_NUMBER.sub("0", name) in known for name in unknown):
            return "config.json counts fewer layers or experts than there are: take it from the same model"
        return "the checkpoint is of another architecture, or of a newer kind of this one"


def _rank(entry: Entry, tensor: LazyTensor) -> int:
    plain = _TO_BLOCKS if entry.store == "Q8_0" else _PLAIN
    return _RANKS.get(tensor.dtype, plain if tensor.dtype in FLOATS else _REPACKED)


def _is_expert(entry: Entry) -> bool:
    """Whether an entry stacks a layer's experts, which llama.cpp's converter merges together."""
    return entry.count is None and build.stacked(entry)


def _tuple(source: str | Sequence[str]) -> tuple[str, ...]:
    return (source,) if isinstance(source, str) else tuple(source)


def _nearest(name: str, unknown: Sequence[str], sources: Mapping[str, str]) -> str:
    near = nearest(name, unknown[:2000], most=1, least_alike=0.6)
    return (
        f"nearest there is: {sources[near[0]]}"
        if near
        else "is a file of the checkpoint missing, or config.json another model's?"
    )
