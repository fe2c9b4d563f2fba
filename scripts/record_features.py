#!/usr/bin/env python3
"""Records the embeddings that transformers computes of noise with small multimodal models, for tests/projectors/.

    PYTHON_WITH_TORCH scripts/record_features.py [NAME]...

Models and noise are those of ``tests/projectors/features.py``; with NAMEs, only these are made anew.  Computed in
float32 with transformers 5.23.0 and torch 2.13.0.

llama.cpp b11549 differs from the models themselves in one thing, which is imitated here: it puts the class token of
CLIP and InternViT behind the patches, and adds positions in that order.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers  # type: ignore[import-not-found]  # of the Python that runs this

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))
from tests.projectors.features import CASES, RECORDED, Case  # noqa: E402  # the path comes first
from tests.projectors.tiny import write  # noqa: E402  # likewise


def image(case: Case) -> torch.Tensor:
    """As ``(1, channel, row, column)``."""
    return torch.from_numpy(case.noise.transpose(2, 0, 1).copy())[None]


def plain(model: Any, case: Case) -> Any:
    return model.get_image_features(pixel_values=image(case))


def class_token_last(model: Any, case: Case) -> Any:
    tower = model.model.vision_tower
    embeddings = tower.embeddings if hasattr(tower, "embeddings") else tower.vision_model.embeddings

    def clip(pixel_values: torch.Tensor, **_: Any) -> torch.Tensor:
        patches = embeddings.patch_embedding(pixel_values).flatten(2).transpose(1, 2)
        token = embeddings.class_embedding.expand(len(patches), 1, -1)
        return torch.cat([patches, token], 1) + embeddings.position_embedding.weight[None]

    def intern(pixel_values: torch.Tensor, **_: Any) -> torch.Tensor:
        patches = embeddings.patch_embeddings(pixel_values)
        tokens = torch.cat([patches, embeddings.cls_token.expand(len(patches), -1, -1)], 1)
        tokens = tokens + embeddings.position_embeddings
        return torch.cat([tokens[:, -1:], tokens[:, :-1]], 1)  # the model takes the first one away

    embeddings.forward = clip if hasattr(embeddings, "class_embedding") else intern
    return tiles(model, case) if hasattr(model.model, "image_newline") else plain(model, case)


def tiles(model: Any, case: Case) -> Any:
    """The first of three tiles that are all the same image, without what is put at the ends of rows."""
    three = image(case)[None].repeat(1, 3, 1, 1, 1)
    made = model.get_image_features(pixel_values=three, image_sizes=torch.tensor([case.shape]))
    vision = model.config.vision_config
    return made.pooler_output[0][: (vision.image_size // vision.patch_size) ** 2]


def patches(model: Any, case: Case) -> Any:
    """Of Qwen's kind: patches of two frames, in the order in which they are merged; with what goes in deeper down."""
    vision = model.config.vision_config
    size, merged = vision.patch_size, vision.spatial_merge_size
    rows, columns = case.shape[0] // size, case.shape[1] // size
    grid = np.stack([case.noise.transpose(2, 0, 1)] * 2)
    grid = grid.reshape(2, 3, rows // merged, merged, size, columns // merged, merged, size)
    flat = grid.transpose(2, 5, 3, 6, 1, 0, 4, 7).reshape(rows * columns, -1)
    thw = torch.tensor([[1, rows, columns]])
    made = model.get_image_features(pixel_values=torch.from_numpy(flat.copy()), image_grid_thw=thw)
    deeper = [
        part[0] if isinstance(part, (tuple, list)) else part for part in getattr(made, "deepstack_features", None) or ()
    ]
    return torch.cat([made.pooler_output[0], *deeper], 1)


def rows(model: Any, case: Case) -> Any:
    """Of Pixtral's kind: with the embedding of [IMG_BREAK] after each row but the last."""
    made = model.get_image_features(pixel_values=image(case), image_sizes=torch.tensor([case.shape])).pooler_output[0]
    merged = getattr(model.config, "spatial_merge_size", 1) * model.config.vision_config.patch_size
    height, width = (side // merged for side in case.shape)
    token = next(
        int(n)
        for n, t in case.model["tokenizer_config.json"]["added_tokens_decoder"].items()
        if t["content"] == "[IMG_BREAK]"
    )
    end = model.get_input_embeddings().weight[token].expand(height, 1, -1)
    return torch.cat([made.reshape(height, width, -1), end], 1).flatten(0, 1)[:-1]


def list_of_images(model: Any, case: Case) -> Any:
    return model.get_image_features(pixel_values=image(case)[None])


def naflex(model: Any, case: Case) -> Any:
    """Of SigLIP 2: patches one after the other, channels last."""
    size = model.config.vision_config.patch_size
    height, width = (side // size for side in case.shape)
    flat = case.noise.reshape(height, size, width, size, 3).transpose(0, 2, 1, 3, 4).reshape(1, height * width, -1)
    shapes, mask = torch.tensor([[height, width]]), torch.ones(1, height * width, dtype=torch.int64)
    return model.get_image_features(
        pixel_values=torch.from_numpy(flat.copy()), spatial_shapes=shapes, pixel_attention_mask=mask
    )


def sounds(model: Any, case: Case) -> Any:
    mel = torch.from_numpy(case.noise)[None]
    return model.get_audio_features(mel, torch.ones(1, mel.shape[-1], dtype=torch.int64))


def qwen2_audio(model: Any, case: Case) -> Any:
    whole = model.model if hasattr(model.model, "audio_tower") else model
    return whole.multi_modal_projector(whole.audio_tower(torch.from_numpy(case.noise)[None]).last_hidden_state)


CALLS: dict[str, Callable[[Any, Case], Any]] = {
    "LlavaNextForConditionalGeneration": tiles,
    "LlavaOnevisionForConditionalGeneration": tiles,
    "Qwen2VLForConditionalGeneration": patches,
    "Qwen2_5_VLForConditionalGeneration": patches,
    "Qwen3VLForConditionalGeneration": patches,
    "Qwen3_5ForConditionalGeneration": patches,
    "Glm4vForConditionalGeneration": patches,
    "Idefics3ForConditionalGeneration": list_of_images,
    "Lfm2VlForConditionalGeneration": naflex,
    "Mistral3ForConditionalGeneration": rows,
    "Qwen2AudioForConditionalGeneration": qwen2_audio,
    "Qwen3ASRForConditionalGeneration": sounds,
    "AudioFlamingo3ForConditionalGeneration": sounds,
}


def features(case: Case) -> list[list[float]]:
    """A row for each token."""
    config = case.model["config"]
    name = config["architectures"][0]
    kind = config.get("vision_config", {}).get("model_type")
    call = {"clip_vision_model": class_token_last, "internvl_vision": class_token_last, "pixtral": rows}.get(
        kind, CALLS.get(name, plain)
    )
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        write(Path(folder), case.model)
        model = getattr(transformers, name).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
        made = call(model.eval(), case)
    made = getattr(made, "pooler_output", made)
    made = made if isinstance(made, torch.Tensor) else torch.cat([part.flatten(0, -2) for part in made])
    return [[float(f"{value:.5g}") for value in row] for row in made.flatten(0, -2).tolist()]


def main() -> None:
    recorded = json.loads(RECORDED.read_text("utf-8")) if RECORDED.exists() else {}
    chosen = sys.argv[1:] or list(CASES)
    made = {name: features(CASES[name]) if name in chosen else recorded[name] for name in CASES}
    text = json.dumps(made, separators=(",", ":")).replace("],[", "],\n[").replace("]],", "]],\n")
    RECORDED.write_text(text + "\n", "utf-8")
    for name in chosen:
        print(f"{name}: {len(made[name])} tokens of {len(made[name][0])}")


if __name__ == "__main__":
    main()
