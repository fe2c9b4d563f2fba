"""Source tensor names as tables write them: without the wrappers repositories put around them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from qconv.architectures import evaluate, registry
from qconv.architectures.model import ModelContext
from qconv.architectures.schema import Drop, Entry, Table
from qconv.architectures.table import common
from qconv.errors import PlanError
from qconv.types import ModelPart


def canonical(name: str, part: ModelPart = "text", more: tuple[str, ...] = ()) -> str:
    """``name`` without wrapper prefixes and old endings: ``model.language_model.norm.gamma`` is ``norm.weight``.

    ``more``: a table's own wrappers.
    """
    rules = common(part)
    wrappers = rules.wrappers + more
    for inside in rules.inside:
        name = name.replace(inside, "")
    while wrapper := next((w for w in wrappers if name.startswith(w)), None):
        name = name[len(wrapper) :]
    for old, new in rules.endings.items():
        if name.endswith(old):
            name = name[: -len(old)] + new
    return name


def canonical_names(sources: Iterable[str], config: Mapping[str, Any], table: Table) -> dict[str, str]:
    """Source names by the name tables use: those of the table's part, where it says how they begin.

    Besides the usual wrappers those are taken off that all sources have and the table does not know, such as PEFT's
    ``base_model.`` and torch's ``module.``.

    PlanError: two sources have the same name once their wrappers are off.
    """
    model = ModelContext(config, table=table.name)
    renames = [registry.lookup("rename", name) for name in table.renames]
    names: dict[str, str] = {}
    known = _first_parts(table)
    unwrap = partial(canonical, part=table.part, more=table.wrappers)
    unwrapped = {source: unwrap(source) for source in sources}
    while (shared := _shared(unwrapped.values())) and shared not in known:
        unwrapped = {source: unwrap(name[len(shared) + 1 :]) for source, name in unwrapped.items()}
    for source, name in unwrapped.items():
        for rename in renames:
            name = evaluate.renamed(model, name, rename)
        if table.within and not name.startswith(table.within):
            continue
        if name in names:
            raise PlanError(
                f"{names[name]} and {source} are both '{name}' to architecture {table.name}",
                hint="remove one of the two from the checkpoint",
            )
        names[name] = source
    return names


def _shared(names: Iterable[str]) -> str | None:
    """The part before the first dot, when all of several names have the same."""
    firsts = {name.partition(".")[0] if "." in name else None for name in names}
    return firsts.pop() if len(firsts) == 1 else None


def _first_parts(table: Table) -> set[str]:
    """The parts before the first dot of all names the table speaks of."""
    dropped = (start for drop in table.drop for start in (*drop.names, *drop.starts))
    return {source.partition(".")[0] for source in (*table.within, *dropped, *entry_sources(table))}


def entry_sources(table: Table) -> list[str]:
    """All source names of the table's entries, with their placeholders."""
    variants = [variant for group in table.alternatives.values() for variant in group.values()]
    variants += table.towers.values()
    entries = [*table.modules.values(), *table.tensors.values()]
    for variant in variants:
        entries += [*variant.modules.values(), *variant.tensors.values()]
    sources: list[str] = []
    for entry in entries:
        given = entry if isinstance(entry, Entry) else Entry(from_=entry)
        for spelling in (given.from_ or (), *given.or_):
            sources += [spelling] if isinstance(spelling, str) else spelling
    return sources


def reason_to_drop(name: str, source: str, model: ModelContext, drops: Iterable[Drop]) -> str | None:
    """Why a tensor no output uses may be left out, or None when no rule names it."""
    for drop in drops:
        if _matches(name, source, drop, model) and evaluate.holds(model, drop.when):
            return drop.reason
    return None


def _matches(name: str, source: str, drop: Drop, model: ModelContext) -> bool:
    layers = () if drop.layers is None else evaluate.layers(model, drop.layers)
    starts = [start.replace("{layer}", str(layer)) for start in drop.starts for layer in layers] or drop.starts
    return (
        any(fits(pattern, name) for pattern in drop.names)
        or name.startswith(tuple(starts))
        or name.endswith(drop.ends)
        or any(part in source for part in drop.contains)
    )


def fits(pattern: str, name: str) -> bool:
    """Whether ``name`` is ``pattern`` with numbers for {layer} and {expert}."""
    wanted, given = pattern.split("."), name.split(".")
    return len(wanted) == len(given) and all(
        have.isdecimal() if want in ("{layer}", "{expert}") else want == have
        for want, have in zip(wanted, given, strict=True)
    )
