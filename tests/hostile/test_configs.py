"""Configs with values of a wrong kind, in every recorded model: each is planned, or refused in one line."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fuzzing import seeds, targets

from qconv.errors import PlanError

WRONG: list[Any] = [
    None,
    "",
    "x",
    "../x",
    True,
    -1,
    0,
    1 << 40,
    1 << 70,
    -0.5,
    1e308,
    float("nan"),
    float("inf"),
    [],
    {},
    [None],
]
MODELS = {
    "text": seeds.recorded,
    "projectors": seeds.projectors,
}


def places(value: Any, within: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The keys of nested objects, each with those that lead to it."""
    for key, inner in value.items() if isinstance(value, dict) else ():
        yield (*within, key)
        yield from places(inner, (*within, key))


@pytest.mark.parametrize("kind", MODELS)
def test_a_wrong_value_is_read_or_refused(kind: str, tmp_path: Path) -> None:
    models = MODELS[kind]()
    assert len(models) > 50
    for number, model in enumerate(models):
        random = Random(number)
        *inner, key = random.choice(list(places(model["files"]["config.json"])))
        wrong = copy.copy(model) | {"files": copy.deepcopy(model["files"])}
        part = wrong["files"]["config.json"]
        for name in inner:
            part = part[name]
        part[key] = random.choice(WRONG)
        targets.run("plan", json.dumps(wrong).encode(), tmp_path)


@pytest.mark.parametrize(
    ("kind", "file", "key", "value", "told"),
    [
        (
            "text",
            "config.json",
            "hidden_size",
            "wide",
            "config.json has 'wide' for 'hidden_size', but .* needs a whole",
        ),
        (
            "text",
            "config.json",
            "rms_norm_eps",
            [1, "a"],
            r"config.json has \[1, 'a'\] for 'rms_norm_eps'.*all of one kind",
        ),
        (
            "projectors",
            "preprocessor_config.json",
            "image_mean",
            0.5,
            "preprocessor_config.json has 0.5 for 'image_mean'",
        ),
    ],
)
def test_what_is_wrong_is_told_by_the_config_s_own_key(
    kind: str, file: str, key: str, value: Any, told: str, tmp_path: Path
) -> None:
    model = next(m for m in MODELS[kind]() if key in m["files"].get(file, {}))
    model["files"][file][key] = value
    with pytest.raises(PlanError, match=told):
        targets.model_folder(json.dumps(model).encode(), tmp_path)
