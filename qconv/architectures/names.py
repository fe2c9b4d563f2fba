"""Source tensor names as tables write them: without the wrappers repositories put around them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from qconv.architectures import evaluate, registry
from qconv.architectures.model import ModelContext
from qconv.architectures.table import Drop, Table, common
from qconv.errors import PlanError


def canonical(name: str) -> str:
    """``name`` without wrapper prefixes and old endings: ``model.language_model.norm.gamma`` is ``norm.weight``."""
    rules = common()
    for part in rules.inside:
        name = name.replace(part, "")
    while wrapper := next((w for w in rules.wrappers if name.startswith(w)), None):
        name = name[len(wrapper) :]
    for old, new in rules.endings.items():
        if name.endswith(old):
            name = name[: -len(old)] + new
    return name


def canonical_names(sources: Iterable[str], config: Mapping[str, Any], table: Table) -> dict[str, str]:
    """Source names by the name tables use.

    PlanError: two sources have the same name once their wrappers are off.
    """
    renames = [registry.lookup("rename", name) for name in table.renames]
    found: dict[str, str] = {}
    for source in sources:
        name = canonical(source)
        for rename in renames:
            name = str(rename(name, config))
        if name in found:
            raise PlanError(
                f"{found[name]} and {source} are both '{name}' to architecture {table.name}",
                hint="remove one of the two from the checkpoint",
            )
        found[name] = source
    return found


def reason_to_drop(name: str, source: str, model: ModelContext, drops: Iterable[Drop]) -> str | None:
    """Why a tensor no output uses may be left out, or None when no rule names it."""
    for drop in drops:
        if _matches(name, source, drop) and evaluate.holds(model, drop.when):
            return drop.reason
    return None


def _matches(name: str, source: str, drop: Drop) -> bool:
    return (
        any(fits(pattern, name) for pattern in drop.names)
        or name.startswith(drop.starts)
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
