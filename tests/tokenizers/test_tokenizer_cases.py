"""Tiny tokenizers of every kind: all keys as llama.cpp's converter wrote them (scripts/record_tokenizers.py)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from qconv import tokenizers
from qconv.storage import LocalFolder
from tests.tokenizers.recordings import load, same_form

CASES = sorted(path.parent for path in Path(__file__).parent.glob("cases/*/case.json"))


@pytest.mark.parametrize("folder", CASES, ids=lambda path: path.name)
def test_keys_are_the_converters(folder: Path) -> None:
    case = json.loads((folder / "case.json").read_text())
    config = json.loads((folder / "config.json").read_text())
    made = same_form(tokenizers.metadata(LocalFolder(folder), config, kind=case["kind"], options=case["options"]))
    expected = load(folder / "expected.json")
    assert made == expected
    assert list(made) == list(expected)


def test_there_are_cases_for_every_kind() -> None:
    kinds = {json.loads((folder / "case.json").read_text())["kind"] for folder in CASES}
    reached = {a.kind for kind in kinds for a in tokenizers._attempts([kind])}
    assert set(tokenizers.KINDS) - reached == {"none", "mistral"}, "cases of the latter are models, in tests/mistral"
