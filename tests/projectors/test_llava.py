"""LLaVA with CLIP, of which llama.cpp's converter makes nothing: what its loader takes, and what its graph needs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFReader

from qconv.api import convert
from qconv.errors import PlanError
from tests.projectors import llava
from tests.projectors.tiny import write


def made(folder: Path, model: dict[str, Any]) -> Path:
    write(folder, model)
    (file,) = convert(folder, mmproj="f16", output=folder.with_suffix(".gguf"))
    return file


def loads(file: Path) -> bool:
    child = Path(__file__).with_name("loader.py")
    done = subprocess.run([sys.executable, child, file], capture_output=True, text=True, check=False)
    return done.stdout.strip().endswith(": vision")


def test_layers_up_to_the_one_looked_at(tmp_path: Path) -> None:
    read = GGUFReader(made(tmp_path / "llava", llava.model({})))
    names = {t.name for t in read.tensors}
    assert {name.split(".")[2] for name in names if name.startswith("v.blk.")} == {"0", "1"}
    assert not any(name.startswith("v.post_ln") for name in names)  # the graph would apply it to any layer
    assert {"v.class_embd", "v.pre_ln.weight", "mm.0.weight", "mm.2.bias"} < names
    assert read.fields["clip.vision.block_count"].contents() == 2
    assert read.fields["clip.vision.feature_layer"].contents() == [2]
    assert read.fields["clip.projector_type"].contents() == "mlp"
    assert read.fields["clip.vision.projection_dim"].contents() == llava.TEXT
    assert "clip.use_gelu" not in read.fields  # CLIP's is the quick one, which llama.cpp takes where nothing is said


@pytest.mark.parametrize(("layer", "looked_at"), [(-1, 3), (1, 1), (-3, 1)])
def test_which_layer_is_looked_at(layer: int, looked_at: int, tmp_path: Path) -> None:
    read = GGUFReader(made(tmp_path / "llava", llava.model({"vision_feature_layer": layer})))
    assert read.fields["clip.vision.block_count"].contents() == looked_at


@pytest.mark.parametrize("layer", [-5, 4, [-1, -2], [1, 1], [], ["1"]])
def test_layers_that_are_not_there(layer: object, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=f"has {re.escape(repr(layer))} for 'vision_feature_layer'"):
        made(tmp_path / "llava", llava.model({"vision_feature_layer": layer}))


def test_several_layers_are_looked_at(tmp_path: Path) -> None:
    layers = {"vision_feature_layer": [-4, -3, -1]}  # Granite Vision's kind of list; -4 is the embedding here
    read = GGUFReader(made(tmp_path / "granite", llava.model(llava.TILES | layers, newline=True, layers_joined=3)))
    assert read.fields["clip.vision.feature_layer"].contents() == [0, 1, 3]
    assert read.fields["clip.vision.block_count"].contents() == 3


def test_siglip_says_its_activation_where_the_config_does_not(tmp_path: Path) -> None:
    read = GGUFReader(made(tmp_path / "siglip", llava.model(llava.ONE_VISION, siglip=True, newline=True)))
    assert read.fields["clip.use_gelu"].contents() is True
    assert read.fields["clip.vision.feature_layer"].contents() == [3]
    assert "v.class_embd" not in {t.name for t in read.tensors}


def test_tiles_of_large_images(tmp_path: Path) -> None:
    read = GGUFReader(made(tmp_path / "next", llava.model(llava.TILES, newline=True)))
    assert read.fields["clip.vision.image_grid_pinpoints"].contents() == [112, 56, 56, 112]  # widths come first
    assert read.fields["clip.vision.mm_patch_merge_type"].contents() == "spatial_unpad"
    assert "v.image_newline" in {t.name for t in read.tensors}


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere C++ names are others")
def test_llama_cpp_loads_them(tmp_path: Path) -> None:
    assert loads(made(tmp_path / "llava", llava.model({})))
    assert loads(made(tmp_path / "next", llava.model(llava.TILES, newline=True)))
    assert loads(made(tmp_path / "one-vision", llava.model(llava.ONE_VISION, siglip=True, newline=True)))
