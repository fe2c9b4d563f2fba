"""Adapters and bases written by hand, of whole numbers that float32 adds without rounding."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.checkpoints import packing

PEFT = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "base_model_name_or_path": "their/base"}
Numbers = np.ndarray[Any, np.dtype[np.float32]]


def whole(*shape: int, seed: int = 0) -> Numbers:
    """Whole numbers from -4 to 4."""
    return np.random.default_rng(seed).integers(-4, 5, shape).astype(np.float32)


def save(folder: Path, tensors: Mapping[str, Any], name: str = "adapter_model", /, **config: Any) -> Path:
    """An adapter's folder; PEFT's configuration with ``config`` put over it."""
    packing.save(folder / f"{name}.safetensors", tensors)
    (folder / "adapter_config.json").write_text(json.dumps({**PEFT, **config}))
    return folder


def save_mlx(folder: Path, tensors: Mapping[str, Any], scale: float, kind: str = "lora") -> Path:
    packing.save(folder / "adapters.safetensors", tensors)
    config = {"fine_tune_type": kind, "lora_parameters": {"rank": 2, "scale": scale}}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder
