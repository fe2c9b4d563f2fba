"""The tensors of a model's GGUF file: its table's entries matched with the checkpoint's, in llama.cpp's order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from qconv.architectures import build, evaluate, total
from qconv.architectures.expand import Expansion, Layer, Wanted
from qconv.architectures.model import ModelContext, class_name
from qconv.architectures.schema import Entry, Table
from qconv.tensors import FLOATS, Constant, LazyTensor

_REPACKED, _TO_BLOCKS, _PLAIN = 1, 2, 3
_RANKS = {"I32": 0, "I64": 4}
"""llama.cpp's converter writes tables of integers, then repacked blocks, then what it makes blocks of, then floats, and
long integers last."""
_OUTPUT = "output.weight"


@dataclass(frozen=True, slots=True)
class MappedTensor:
    """A tensor of the GGUF file; ``store``: the type llama.cpp's converter forces on it, None when its rule decides."""

    name: str
    tensor: LazyTensor
    store: str | None = None


@dataclass(slots=True)
class Matcher:
    """Matches one model's tensors; ``names``: source names by the name tables use.

    ``absent``: source names that an index lists, and the file that does not have them.  ``first``: the layer to begin
    with.  ``left_out``: sources that are not wanted, each with the reason.  ``notes``: what a user should know of the
    outcome.
    """

    model: ModelContext
    table: Table
    names: Mapping[str, str]
    tensors: Mapping[str, LazyTensor]
    absent: Mapping[str, str] = field(default_factory=dict)
    first: int = 0
    left_out: Sequence[tuple[str, str]] = ()
    notes: list[str] = field(default_factory=list)

    def outputs(self) -> tuple[list[MappedTensor], list[tuple[str, str]]]:
        """Outputs in the order llama.cpp's converter emits them, and dropped sources with reasons.

        PlanError: a required tensor is missing, or a source is neither used nor dropped.
        """
        expansion = Expansion(self.model, self.table, self.names, self.first)
        wanted, missing = expansion.entries(), expansion.missing
        note = total.check_absent(self.model, self.table, self.absent, wanted)
        self.notes += [note] if note else []
        used: set[str] = set()
        made: list[tuple[tuple[int, int], MappedTensor]] = []
        places = self._places(wanted)
        for want in wanted:
            if want.there:
                sources = [[self.names[name] for name in names] for names in want.sources]
                store = want.entry.store or self.table.store
                tensor = build.lazy_tensor(self.model, want.entry, sources, self.tensors)
                rank = (_rank(want.entry, tensor), places[want.output])
                made.append((rank, MappedTensor(want.output, tensor, build.stored_type(store, tensor))))
                used.update(name for names in want.sources for name in names)
            elif want.required and want.output == _OUTPUT and want.entry.optional:
                self._tie(want.expected)
            elif want.required:
                missing.append(want.expected)
        dropped = total.dropped(self.model, self.table, self.names, used, missing)
        ordered = [output for _, output in sorted(made, key=lambda pair: pair[0])]
        return [*self._made(), *ordered], [*self.left_out, *dropped]

    def entries(self) -> list[Wanted]:
        """The table's entries for every layer, those of the alternatives that are there."""
        return Expansion(self.model, self.table, self.names, self.first).entries()

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


def _rank(entry: Entry, tensor: LazyTensor) -> int:
    plain = _TO_BLOCKS if entry.store == "Q8_0" else _PLAIN
    return _RANKS.get(tensor.dtype, plain if tensor.dtype in FLOATS else _REPACKED)


def _is_expert(entry: Entry) -> bool:
    """Whether an entry stacks a layer's experts, which llama.cpp's converter merges together."""
    return entry.count is None and build.stacked(entry)
