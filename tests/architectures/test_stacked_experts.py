"""Experts in one tensor per layer, as transformers 5 holds them, convert as those that come one by one."""

from __future__ import annotations

import hashlib
import json
import math
import re
from pathlib import Path
from typing import TypeAlias

import pytest

from qconv import architectures, checkpoints
from tests.architectures.tiny import save, weights, write

GOLDENS = Path(__file__).parent / "goldens"
ONE = re.compile(r"(.*\.experts)\.\d+\.(\w+)\.weight")
PARTS = {"gate_proj": "gate", "up_proj": "up", "down_proj": "down", "w1": "gate", "w3": "up", "w2": "down"}

Tensor: TypeAlias = tuple[str, list[int], bytes]


def stacked(tensors: dict[str, tuple[str, list[int]]], ending: str) -> dict[str, Tensor]:
    """The tensors of a golden file with a layer's experts in two: each one's gate above its up, and down."""
    made: dict[str, Tensor] = {}
    experts: dict[str, dict[str, list[Tensor]]] = {}
    for name, (dtype, shape) in tensors.items():
        tensor = (dtype, shape, weights(name, dtype, tuple(shape)))
        if one := ONE.fullmatch(name):
            experts.setdefault(one[1], {}).setdefault(PARTS[one[2]], []).append(tensor)
        else:
            made[name] = tensor
    for place, parts in experts.items():
        dtype, (rows, columns), _ = parts["gate"][0]
        count = len(parts["gate"])
        both = b"".join(gate[2] + up[2] for gate, up in zip(parts["gate"], parts["up"], strict=True))
        made[f"{place}.gate_up_proj{ending}"] = (dtype, [count, 2 * rows, columns], both)
        below = b"".join(down[2] for down in parts["down"])
        made[f"{place}.down_proj{ending}"] = (dtype, [count, columns, rows], below)
    return made


@pytest.mark.parametrize("ending", ["", ".weight"])
@pytest.mark.parametrize(
    "name", ["afmoe", "deepseek3", "dots1", "ernie4_5-moe", "glm47flash", "glm4moe-new", "hunyuan-moe", "lfm2moe"]
)
def test_stacked_experts(name: str, ending: str, tmp_path: Path) -> None:
    recorded = json.loads((GOLDENS / f"{name}.json").read_text("utf-8"))
    write(tmp_path, recorded["config"], {})
    save(tmp_path, stacked(recorded["tensors"], ending))
    expected = recorded["expected"]["tensors"]
    with checkpoints.open(tmp_path) as checkpoint:
        outputs = architectures.resolve(checkpoint).tensors
        assert {output.name for output in outputs} == {name for name, *_ in expected}
        experts = [output for output in outputs if "_exps." in output.name]
        made = {}
        for output in experts:
            rows = output.tensor.read(0, math.prod(output.tensor.shape[:-1]))
            made[output.name] = [list(output.tensor.shape), hashlib.sha256(rows.tobytes()).hexdigest()]
    assert made == {name: [shape, digest] for name, _, shape, digest in expected if "_exps." in name}
