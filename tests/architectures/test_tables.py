"""Every table of architectures and of projectors is valid, short, and names only what there is."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from qconv import formats
from qconv.architectures import registry
from qconv.architectures.schema import Entry, Key, Table, Variant, When
from qconv.architectures.table import FOLDERS, classes, common, key_types, names, table, table_of
from qconv.tokenizers import KINDS
from qconv.tokenizers.tables import tables as tokenizer_tables

LONGEST = 60
"""Lines of a table: what a person checks at a glance."""
PLACEHOLDER = re.compile(r"\{[^}]*\}")


TABLES = [table(name, part) for part in FOLDERS for name in names(part)]


@pytest.fixture(params=TABLES, ids=lambda one: one.name if one.part == "text" else f"{one.part}-{one.name}")
def one(request: pytest.FixtureRequest) -> Table:
    table: Table = request.param
    return table


def entries(table: Table) -> Iterator[tuple[str, Entry]]:
    parts = [Variant(table.modules, table.tensors), *table.towers.values()]
    parts += [variant for group in table.alternatives.values() for variant in group.values()]
    for part in parts:
        for name, given in (*part.modules.items(), *part.tensors.items()):
            yield name, given if isinstance(given, Entry) else Entry(from_=given)


def sources(entry: Entry) -> Iterator[str]:
    for spelling in (entry.from_ or (), *entry.or_):
        yield from (spelling,) if isinstance(spelling, str) else spelling


def test_there_are_tables() -> None:
    assert len(names()) > 20
    assert len(classes()) > 25
    assert len(names("projector")) >= 1


def test_a_class_is_found_without_reading_all_tables() -> None:
    assert {cls: table_of(cls) for cls in classes()} == classes()
    assert table_of("LlamaForCausal") is None
    assert table_of("norm") is None


def test_a_tables_beginning_has_all_its_classes() -> None:
    assert classes() == {cls: name for name in names() for cls in table(name).classes}


def test_is_short(one: Table) -> None:
    lines = (FOLDERS[one.part] / f"{one.name}.toml").read_text("utf-8").splitlines()
    assert len(lines) <= LONGEST


def stand_ins(one: Table) -> dict[str, When]:
    """Tables that count instead of it, each with its condition."""
    return one.redirect | (one.mtp if isinstance(one.mtp, dict) else {})


def test_says_what_it_is(one: Table) -> None:
    assert one.about
    assert one.classes or any(one.name in stand_ins(table(name, one.part)) for name in names(one.part))
    assert one.tokenizer if one.part == "text" else one.towers and one.within


def test_tokenizer_is_known(one: Table) -> None:
    known = {*KINDS, *tokenizer_tables().presets, "target"}  # the last: of the model a drafter is for
    wanted = (one.tokenizer,) if isinstance(one.tokenizer, str) else one.tokenizer
    assert set(wanted) <= known or one.part == "projector"


def test_placeholders_are_known(one: Table) -> None:
    for name, entry in entries(one):
        placeholders = {part for text in (name, *sources(entry)) for part in PLACEHOLDER.findall(text)}
        assert placeholders <= {"{layer}", "{expert}", *(["{index}"] if entry.layers else [])}, name
        assert not {"{expert}", "{index}"} & set(PLACEHOLDER.findall(name)), name
        assert all("{layer}" not in source for source in sources(entry)) or "{layer}" in name, name


def test_entries_have_one_origin(one: Table) -> None:
    for name, entry in entries(one):
        assert (entry.from_ is None) != (entry.make is None), name
        assert entry.store in (None, "file", "half") or entry.store in formats.block_types(), name


def test_operations_are_known(one: Table) -> None:
    for name, entry in entries(one):
        if entry.make is not None:
            registry.lookup("maker", entry.make)
        many = isinstance(entry.from_, tuple) and len(entry.from_) > 1
        combined = False
        for step in entry.do:
            operation = step if isinstance(step, str) else next(iter(step))
            if registry.is_known("combination", operation):
                combined = True
            else:
                registry.lookup("operation", operation)
        assert combined or not many, f"nothing combines the sources of {name}"


def test_metadata_keys_are_known(one: Table) -> None:
    for name, given in one.metadata.items():
        assert name in key_types(), name
        if isinstance(given, Key):
            assert sum(x is not None for x in (given.from_, given.value, given.derive)) == 1, name
            if given.derive is not None:
                registry.lookup("derivation", given.derive)


def test_conditions_and_derivations_are_known(one: Table) -> None:
    for when in [
        *(entry.when for _, entry in entries(one)),
        *(entry.optional for _, entry in entries(one)),
        *(given.when for given in one.metadata.values() if isinstance(given, Key)),
        *(drop.when for drop in one.drop),
        *stand_ins(one).values(),
    ]:
        if isinstance(when, str):
            registry.lookup("condition", when)
    for name in (one.layers, *(tower.layers for tower in one.towers.values()), one.experts):
        assert name is not None
        registry.lookup("derivation", name)
    for name in one.renames:
        registry.lookup("rename", name)
    for defaults in one.defaults.values():
        for value in defaults.values():
            if isinstance(value, dict) and "derive" in value:
                registry.lookup("derivation", value["derive"])


def test_exclude_removes_something(one: Table) -> None:
    shared = common(one.part)
    there = {*shared.metadata, *shared.vision, *shared.audio}
    if one.extends is None:
        assert set(one.exclude) <= there
        return
    base = table(one.extends, one.part)
    there |= {*base.metadata, *base.modules, *base.tensors, *base.towers}
    there |= {name for tower in base.towers.values() for name in (*tower.modules, *tower.tensors)}
    there |= {f"{group}.{variant}" for group, variants in base.alternatives.items() for variant in variants}
    assert set(one.exclude) <= there


def test_common_keys_are_known() -> None:
    for part in FOLDERS:
        shared = common(part)
        assert {*shared.metadata, *shared.vision, *shared.audio} <= set(key_types())


def test_drops_say_why(one: Table) -> None:
    for drop in one.drop:
        assert drop.reason
        assert drop.names or drop.starts or drop.ends or drop.contains


def used(kind: str) -> set[str]:
    derivations: set[str] = set()
    for one in TABLES:
        for _, entry in entries(one):
            if kind == "maker" and entry.make:
                derivations.add(entry.make)
            steps = {step if isinstance(step, str) else next(iter(step)) for step in entry.do}
            if kind in ("operation", "combination"):
                derivations |= steps
            if kind == "condition":
                derivations |= {when for when in (entry.when, entry.optional) if isinstance(when, str)}
        if kind == "rename":
            derivations |= set(one.renames)
        if kind == "condition":
            derivations |= {g.when for g in one.metadata.values() if isinstance(g, Key) and isinstance(g.when, str)}
            derivations |= {d.when for d in one.drop if isinstance(d.when, str)}
            derivations |= {when for when in stand_ins(one).values() if isinstance(when, str)}
    return derivations


BUILT_IN = {"widen", "stack", "first_columns", "flatten"}
"""Operations the engine itself applies, or what undoes a quantization."""


@pytest.mark.parametrize("kind", ["operation", "combination", "maker", "condition", "rename"])
def test_every_name_is_used(kind: str) -> None:
    assert set(registry.known(kind)) - used(kind) - BUILT_IN == set()


def test_every_derivation_is_used() -> None:
    named: set[str] = set()
    keys = [given for one in TABLES for given in one.metadata.values()]
    for part in FOLDERS:
        keys += [*common(part).metadata.values(), *common(part).vision.values(), *common(part).audio.values()]
    for given in keys:
        if isinstance(given, Key):
            named |= {given.derive or "", *map(str, given.of)}
    for one in TABLES:
        named |= {drop.layers or "" for drop in one.drop}
        named |= {one.layers, one.experts, *(tower.layers or "" for tower in one.towers.values())}
        named |= {variant.layers or "" for group in one.alternatives.values() for variant in group.values()}
        for default in (value for part in one.defaults.values() for value in part.values()):
            if isinstance(default, dict):
                named |= {str(default.get("derive")), *map(str, default.get("of", ()))}
        for _, entry in entries(one):
            named |= {entry.count or "", entry.layers or ""}
            for step in entry.do:
                given_arguments = [] if isinstance(step, str) else list(step.values())
                for argument in given_arguments:
                    named |= set(map(str, argument if isinstance(argument, tuple | list) else (argument,)))
    assert set(registry.known("derivation")) - named == set()
