"""Every tensor's type equals what llama.cpp's quantizer chose (``expected.json``, made by scripts/record_policy.py)."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from qconv.formats import block_types
from qconv.policy import HParams, TensorType, TypeOverrides, find_mix, hparams_from_metadata
from qconv.policy.quantizer import choose
from qconv.types import Metadata, TensorInfo, Value, ValueType

EXPECTED: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "expected.json").read_text())


def tensors(case: dict[str, Any]) -> list[TensorInfo]:
    split = [line.split("|") for line in case["tensors"]]
    return [TensorInfo(name, dtype, tuple(map(int, shape.split("x")))) for name, shape, dtype in split]


def hparams(case: dict[str, Any]) -> HParams:
    architecture, metadata = case["architecture"], Metadata()
    for key, value in case["metadata"].items():
        typed = Value.array(ValueType.INT32, value) if isinstance(value, list) else Value.uint32(value)
        metadata[f"{architecture}.{key}"] = typed
    return hparams_from_metadata(architecture, metadata)


@pytest.mark.parametrize("name", EXPECTED)
def test_types_are_those_of_llama_quantize(name: str) -> None:
    case = EXPECTED[name]
    infos = tensors(case)
    for run in case["runs"]:
        given = dict(run["options"])
        imatrix = {t.name for t in infos} if given.pop("imatrix", False) else None
        given["tensor_types"] = tuple(TensorType.of(*pair) for pair in given.get("tensor_types", ()))
        overrides = TypeOverrides(**given, allow_requantize=True)
        choice = choose(infos, hparams(case), find_mix(run["type"]), overrides, imatrix=imatrix)
        ours = {d.name: d.type for d in choice.decisions}
        theirs = {t.name: case["legend"][ord(letter) - ord("a")] for t, letter in zip(infos, run["types"], strict=True)}
        # a type given for the output is taken by llama-quantize even where no row fits it, and fails later
        possible = {t.name for t in infos if t.columns % block_types()[theirs[t.name]].weights == 0}
        wrong = {n: (ours[n], theirs[n]) for n in possible if ours[n] != theirs[n]}
        assert not wrong, (
            f"{run['type']} {run['options']}: {len(wrong)} differ, (ours, theirs): {dict(list(wrong.items())[:5])}"
        )


def test_the_record_covers_what_decides() -> None:
    runs = [run for case in EXPECTED.values() for run in case["runs"]]
    assert len({run["type"] for run in runs}) == 20
    assert {case["metadata"].get("expert_count", 0) for case in EXPECTED.values()} >= {0, 8, 16}
    assert {hparams(case).is_70b for case in EXPECTED.values()} == {True, False}
    odd = [t for case in EXPECTED.values() for t in tensors(case) if math.prod(t.shape[:-1]) > 1 and t.columns % 32]
    assert odd
