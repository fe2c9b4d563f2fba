"""Tiny multimodal checkpoints made from a golden file alone.

A golden file holds a ``config.json`` and the other configs beside it, the names, types and shapes of a checkpoint's
tensors, ``folders`` within the model's with a config and tensors of their own, and what ``convert_hf_to_gguf.py
--mmproj`` made of them in each of ``OUT_TYPES``: all metadata but ``general.file_type``, which differs, and ``[name,
shape, types, digest by type]`` of each tensor.  Of what torch computes, to bits that depend on the processor, it has a
sample of the values in place of a digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.architectures import tiny

_SAMPLES = 61

GOLDENS = sorted((Path(__file__).parent / "goldens").glob("*.json"))

EXTRA_CONFIGS = ("preprocessor_config.json", "processor_config.json", "tokenizer_config.json", "params.json")

OUT_TYPES = ("f16", "bf16", "f32", "q8_0")


def digest(data: bytes) -> str:
    """What golden files say of a tensor's bytes: enough of their SHA-256 that no two are alike."""
    return hashlib.sha256(data).hexdigest()[:16]


def sample(values: NDArray[np.float32]) -> list[float]:
    """Some of a tensor's values, from all of its parts."""
    return [float(value) for value in values.reshape(-1)[:: max(1, values.size // _SAMPLES)]]


def write(directory: Path, golden: Mapping[str, Any]) -> None:
    """The checkpoint of a golden file in ``directory``, whose name goes into ``general.name``."""
    tiny.write(directory, golden["config"], golden["tensors"])
    for name in EXTRA_CONFIGS:
        if name in golden:
            (directory / name).write_text(json.dumps(golden[name]), "utf-8")
    for name, nested in golden.get("folders", {}).items():
        tiny.write(directory / name, nested["config"], nested["tensors"])
