"""Small models, and the noise whose embeddings transformers computed with them: ``features.json``.

A case is a model as golden files hold one, and the shape of what it is shown: height and width of an image in pixels,
or a sound's mel bands and frames.  Noise stands for what preparing an image or a sound gives, so nothing is prepared.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.projectors import llava
from tests.projectors.tiny import GOLDENS

RECORDED = Path(__file__).with_name("features.json")


@dataclass(frozen=True)
class Case:
    model: dict[str, Any]
    shape: tuple[int, int]

    @property
    def sounds(self) -> bool:
        """Whether it hears rather than sees."""
        return "audio_config" in self.model["config"]

    @property
    def noise(self) -> NDArray[np.float32]:
        """Pixels of three channels, or mel bands of frames."""
        shape = self.shape if self.sounds else (*self.shape, 3)
        return np.random.default_rng(7).standard_normal(shape).astype(np.float32)


def _golden(name: str, change: Callable[[dict[str, Any]], object] = lambda _: None) -> dict[str, Any]:
    model: dict[str, Any] = json.loads(GOLDENS[0].with_name(f"{name}.json").read_text("utf-8"))
    change(model)
    return model


def _few_tokens(model: dict[str, Any]) -> None:
    for file in ("preprocessor_config.json", "processor_config.json"):
        model[file]["image_seq_length"] = 4


def _windows_of_llama_cpp(model: dict[str, Any]) -> None:
    model["config"]["vision_config"]["window_size"] = 112


def _biases_of_projector(model: dict[str, Any]) -> None:
    model["config"]["multimodal_projector_bias"] = True


def _short_sounds(model: dict[str, Any]) -> None:
    model["config"]["audio_config"]["max_source_positions"] = 16
    model["tensors"]["audio_tower.embed_positions.weight"][1][0] = 16


def as_transformers_has_it(model: dict[str, Any]) -> None:
    """Qwen3-ASR: what its thinker has is at the top, and the projector is a module of its own."""
    config = model["config"]
    config |= config.pop("thinker_config") | {"model_type": "qwen3_asr"}
    config["audio_config"]["model_type"] = "qwen3_asr_encoder"
    config["text_config"]["model_type"] = "qwen3"
    parts = {
        "thinker.audio_tower.proj": "model.multi_modal_projector.linear_",
        "thinker.audio_tower.": "model.audio_tower.",
        "thinker.model.": "model.language_model.",
        "thinker.lm_head.": "lm_head.",
    }
    for name in list(model["tensors"]):
        start = next(part for part in parts if name.startswith(part))
        model["tensors"][parts[start] + name.removeprefix(start)] = model["tensors"].pop(name)


_LAYERS_OF_GRANITE = {"vision_feature_layer": [-4, -3, -2, -1]}

CASES = {
    "llava-1.5": Case(llava.model({}), (56, 56)),
    "llava-1.5-siglip": Case(llava.model({}, siglip=True), (56, 56)),
    "llava-1.6": Case(llava.model(llava.TILES, newline=True), (56, 56)),
    "llava-onevision": Case(llava.model(llava.ONE_VISION, siglip=True, newline=True), (56, 56)),
    "granite-vision-3": Case(
        llava.model(llava.TILES | _LAYERS_OF_GRANITE, siglip=True, newline=True, layers_joined=4), (56, 56)
    ),
    "qwen2-vl": Case(_golden("qwen2-vl"), (112, 56)),
    "qwen2.5-vl": Case(_golden("qwen2.5-vl", _windows_of_llama_cpp), (140, 168)),
    "qwen3-vl": Case(_golden("qwen3-vl"), (64, 96)),
    "qwen3.5": Case(_golden("qwen3.5"), (64, 96)),
    "gemma3": Case(_golden("gemma3", _few_tokens), (56, 56)),
    "idefics3": Case(_golden("idefics3"), (56, 56)),
    "pixtral": Case(_golden("pixtral", _biases_of_projector), (56, 84)),
    "mistral3": Case(_golden("mistral3"), (56, 84)),
    "internvl": Case(_golden("internvl3-hf"), (56, 56)),
    "cohere2-vision": Case(_golden("cohere2-vision"), (56, 56)),
    "glm4v": Case(_golden("glm4v"), (56, 84)),
    "lfm2-vl": Case(_golden("lfm2-vl"), (64, 64)),
    "qwen2-audio": Case(_golden("qwen2-audio", _short_sounds), (128, 32)),
    "qwen3-asr": Case(_golden("qwen3-asr", as_transformers_has_it), (128, 100)),
    "audio-flamingo3": Case(_golden("audio-flamingo3", _short_sounds), (128, 32)),
}
