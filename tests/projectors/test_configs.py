"""Configs of projectors that do not fit their model are refused in one line, not with a traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qconv.api import convert
from qconv.errors import QconvError
from tests.projectors.tiny import GOLDENS, write

WRONG: dict[tuple[str, str], tuple[Any, str]] = {
    ("granite4-vision", "deepstack_layer_map"): ([1, 2], "pairs of layers"),
    ("granite4-vision", "spatial_target_layers"): ("1", "a list of layers"),
    ("granite4-vision", "downsample_rate"): ("half", "a ratio like 4/8"),
    ("dots3-note", "vision_config.pyramid_num_routed"): ([0, 0], "4 numbers of experts"),
    ("nemotron-nano-vl", "vision_config.patch_size"): (0, "does not fit"),
    ("deepseek-ocr", "vision_config.width"): (1024, "has no projector: there is no"),
    ("kimi-k2.5", "vision_config.merge_kernel_size"): (2, "merge_kernel_size"),
    ("phi4-vision", "vision_config.num_hidden_layers"): (2, "has no use for"),
    ("gemma4", "audio_config.num_hidden_layers"): (3, "which the checkpoint lacks"),
    ("mimo-v2", "audio_config.input_local_layers"): (10**9, "from 0 to"),
}


@pytest.mark.parametrize(("where", "wrong"), WRONG.items(), ids=lambda pair: " ".join(map(str, pair)))
def test_is_refused(where: tuple[str, str], wrong: tuple[Any, str], tmp_path: Path) -> None:
    golden = json.loads(GOLDENS[0].with_name(f"{where[0]}.json").read_text("utf-8"))
    *path, key = where[1].split(".")
    part = golden["config"]
    for name in path:
        part = part[name]
    part[key], message = wrong
    write(tmp_path / "model", golden)
    with pytest.raises(QconvError, match=message):
        convert(tmp_path / "model", mmproj="f16", output=tmp_path)
