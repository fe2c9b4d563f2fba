"""Plans of weights that are alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from qconv import checkpoints, plan
from qconv.errors import PlanError
from qconv.options import ConvertOptions
from tests.checkpoints import packing


def planned(folder: Path, *shape: int) -> plan.Plan:
    path = packing.save(folder / "w.safetensors", {"a": np.zeros(shape, np.float32)})
    with checkpoints.open(path) as opened:
        (made,) = plan.make(opened, ConvertOptions(types=("q8_0",)))
    return made


@pytest.mark.parametrize("shape", [(), (0, 32), (2, 0), (2, 2, 2, 32)])
def test_scalars_and_empty_tensors_have_a_place(tmp_path: Path, shape: tuple[int, ...]) -> None:
    (tensor,) = planned(tmp_path, *shape).tensors
    assert tensor.name == "a"
    assert (tensor.size == 0) == (0 in shape)


def test_more_dimensions_than_a_gguf_holds_are_refused(tmp_path: Path) -> None:
    said = r"w\.safetensors, tensor 'a': has 5 dimensions, 2 x 1 x 2 x 2 x 32; a GGUF file holds at most 4 \(leave"
    with pytest.raises(PlanError, match=said):
        planned(tmp_path, 2, 1, 2, 2, 32)
