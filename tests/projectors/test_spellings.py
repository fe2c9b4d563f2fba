"""Names of the same tensors in checkpoints of other ages, and broken configs of projectors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from gguf import GGUFReader

from qconv.api import convert
from qconv.architectures import evaluate
from qconv.architectures.model import ModelContext
from qconv.errors import InputError, PlanError, QconvError, UnsupportedError
from tests.projectors.features import as_transformers_has_it
from tests.projectors.tiny import GOLDENS, write


def golden(name: str) -> dict[str, Any]:
    (path,) = (path for path in GOLDENS if path.stem == name)
    read: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return read


def names(folder: Path, model: dict[str, Any]) -> set[str]:
    write(folder, model)
    (file,) = convert(folder, mmproj="f16", output=folder.with_suffix(".gguf"))
    return {tensor.name for tensor in GGUFReader(file).tensors}


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("gemma3", "vision_model.", ""),  # transformers 5
        ("cohere2-vision", "vision_model.", ""),
        ("gemma3", "vision_tower.", "model.vision_tower."),
        ("qwen3-vl", "model.visual.", "visual."),
        ("qwen2-vl", "visual.", "model.visual."),
        ("mistral3", "language_model.", "model.language_model."),
        ("internvl3", "vision_model.", "_orig_mod.vision_model."),
    ],
)
def test_other_spellings(name: str, old: str, new: str, tmp_path: Path) -> None:
    model = golden(name)
    model["tensors"] = {source.replace(old, new): about for source, about in model["tensors"].items()}
    assert names(tmp_path / name, model) == {row[0] for row in model["expected"]["tensors"]}


def test_qwen3_asr_as_transformers_has_it(tmp_path: Path) -> None:
    model = golden("qwen3-asr")
    as_transformers_has_it(model)
    assert names(tmp_path / "model", model) == {row[0] for row in model["expected"]["tensors"]}
    made = {key: field.contents() for key, field in GGUFReader(tmp_path / "model.gguf").fields.items()}
    assert {key: made[key] for key in model["expected"]["metadata"] if key.startswith("clip.")} == {
        key: pytest.approx(value)
        for key, (_, value) in model["expected"]["metadata"].items()
        if key.startswith("clip.")
    }


@pytest.mark.parametrize(
    ("model_class", "says"),
    [
        ("GlmAsrForConditionalGeneration", "learned positions and embeddings around sounds"),
        ("LlavaLlamaForCausalLM", "its encoder of images is not among its files"),
    ],
)
def test_projectors_that_are_not_made_have_reasons(model_class: str, says: str, tmp_path: Path) -> None:
    model = golden("glm-asr")
    model["config"] = {"architectures": [model_class], "hidden_size": 64}
    with pytest.raises(UnsupportedError, match=f"the projector of {model_class} is not made: .*{says}"):
        names(tmp_path / "model", model)


def test_a_tensor_of_a_tower_that_has_no_place(tmp_path: Path) -> None:
    model = golden("qwen3-vl")
    model["tensors"]["model.visual.extra.weight"] = ("BF16", [4, 4])
    with pytest.raises(PlanError, match=r"qwen3vl has no use for model.visual.extra.weight"):
        names(tmp_path / "model", model)


def test_a_tensor_that_is_missing(tmp_path: Path) -> None:
    model = golden("qwen3-vl")
    del model["tensors"]["model.visual.merger.linear_fc1.weight"]
    with pytest.raises(PlanError, match=r"qwen3vl needs visual.merger.linear_fc1.weight, which the checkpoint lacks"):
        names(tmp_path / "model", model)


def test_how_images_are_prepared_is_needed(tmp_path: Path) -> None:
    model = golden("qwen3-vl")
    del model["preprocessor_config.json"]
    with pytest.raises(PlanError, match=r"has no preprocessor_config\.json, where qwen3vl looks for 'image_mean'"):
        names(tmp_path / "model", model)


def test_a_processor_config_counts_over_a_preprocessors(tmp_path: Path) -> None:
    model = golden("qwen3-vl") | {"processor_config.json": {"image_processor": {"image_mean": [0.25, 0.5, 0.75]}}}
    write(tmp_path / "model", model)
    (file,) = convert(tmp_path / "model", mmproj="f16", output=tmp_path / "made.gguf")
    assert GGUFReader(file).fields["clip.vision.image_mean"].contents() == [0.25, 0.5, 0.75]


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"vision_config": None}, "has no projector: there is no 'vision_config' in its config"),
        ({"vision_config": [1]}, r"has \[1\] for 'vision_config'"),
        ({"vision_config": {"depth": 1 << 40}}, "for 'vision_config.depth'"),
        ({"vision_config": {"depth": 4, "deepstack_visual_indexes": [7]}}, "layers from 0 to 3"),
        ({"architectures": None}, "names no model class"),
    ],
)
def test_broken_configs(config: dict[str, Any], says: str, tmp_path: Path) -> None:
    model = golden("qwen3-vl")
    inner = config.get("vision_config")
    if isinstance(inner, dict):
        config = {"vision_config": model["config"]["vision_config"] | inner}
    model["config"] |= config
    with pytest.raises(QconvError, match=says):
        names(tmp_path / "model", model)


def test_a_file_that_is_no_object(tmp_path: Path) -> None:
    write(tmp_path / "model", golden("qwen3-vl"))
    (tmp_path / "model" / "processor_config.json").write_text("[]", "utf-8")
    with pytest.raises(InputError, match=r"processor_config.json"):
        convert(tmp_path / "model", mmproj="f16")


def test_a_config_that_a_rename_trips_over() -> None:
    def places(name: str, config: Mapping[str, Any]) -> str:
        return name + str(config["projectors"][0])

    with pytest.raises(PlanError, match=r"config.json does not fit granite4-vision: places: 'projectors'"):
        evaluate.renamed(ModelContext({}, table="granite4-vision"), "query", places)
