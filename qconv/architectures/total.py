"""A match is total: every required output is made, every source is used or dropped by a rule."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from qconv.architectures.expand import Wanted
from qconv.architectures.model import ModelContext
from qconv.architectures.names import canonical, reason_to_drop
from qconv.architectures.schema import Drop, Table
from qconv.architectures.table import common
from qconv.errors import PlanError, and_more, nearest

_SHOWN = 6
_UNUSED = 3
_NUMBER = re.compile(r"\d+")
_OF_DENSE = re.compile(r"\d+_Dense[^.]*\.")
"""What sentence-transformers calls the folders of its modules."""
_OF_ADAPTER = re.compile(r"\.(?:lora_(?:A|B|embedding_[AB]|magnitude_vector)|base_layer|modules_to_save)\.")
"""What PEFT calls the parts of a module it has wrapped."""


def dropped(
    model: ModelContext, table: Table, names: Mapping[str, str], used: Collection[str], missing: Sequence[str]
) -> list[tuple[str, str]]:
    """Sources that no output uses, each with its rule's reason; ``used`` and the keys of ``names``: as tables say them.

    PlanError: a source has no rule, or outputs are ``missing``.
    """
    made, unknown = [], []
    for name, source in names.items():
        if name in used:
            continue
        reason = reason_to_drop(name, source, model, _rules(table))
        if reason is None:
            unknown.append(name)
        else:
            made.append((source, reason))
    unused = [names[name] for name in unknown]
    if unused and (adapter := next(filter(_OF_ADAPTER.search, unused), None)):
        raise PlanError(
            f"holds adapters that are not merged into the weights, such as {adapter}",
            file=model.location,
            hint="in Python, with PEFT: model.merge_and_unload().save_pretrained(DIR)",
        )
    if missing:
        spare = f"; it has no use for {and_more(unused, _UNUSED)}" if unused else ""
        raise PlanError(
            f"{table.name} needs {and_more(missing, _SHOWN)}, which the checkpoint lacks{spare}",
            file=model.location,
            hint=_nearest(missing[0], unknown, names),
        )
    if unknown:
        raise PlanError(
            f"{table.name} has no use for {and_more(sorted(unused), _SHOWN)}",
            file=model.location,
            hint=_why_unknown(unknown, used),
        )
    return made


def check_absent(model: ModelContext, table: Table, absent: Mapping[str, str], wanted: Sequence[Wanted]) -> str | None:
    """A note on tensors that are in the index alone (``absent``: each with the file that does not have it).

    PlanError for the first that is neither tied to another nor left out.
    """
    if not absent:
        return None
    tied = {want.expected for want in wanted if not want.required and isinstance(want.entry.optional, str)}
    for source, file in absent.items():
        name = canonical(source, table.part, table.wrappers)
        if table.within and not name.startswith(table.within):
            continue
        if name not in tied and reason_to_drop(name, source, model, _rules(table)) is None:
            hint = "the shards may be from different revisions: download them again"
            raise PlanError(f"is not in '{file}', as the index says", file=model.location, tensor=source, hint=hint)
    verb = "is" if len(absent) == 1 else "are"
    return f"{and_more(list(absent), 2)} {verb} in the index alone, and not needed"


def _rules(table: Table) -> tuple[Drop, ...]:
    return (*table.drop, *common(table.part).drop)


def _why_unknown(unknown: Sequence[str], used: Collection[str]) -> str:
    if all(map(_OF_DENSE.match, unknown)):
        return "llama.cpp has no place for them in this architecture: convert without the Dense modules"
    known = {_NUMBER.sub("0", name) for name in used}
    if all(_NUMBER.sub("0", name) in known for name in unknown):
        return "config.json counts fewer layers or experts than there are: take it from the same model"
    return "the checkpoint is of another architecture, or of a newer kind of this one"


def _nearest(name: str, unknown: Sequence[str], sources: Mapping[str, str]) -> str:
    near = nearest(name, unknown[:2000], most=1, least_alike=0.6)
    if near:
        return f"nearest there is: {sources[near[0]]}"
    return "is a file of the checkpoint missing, or config.json another model's?"
