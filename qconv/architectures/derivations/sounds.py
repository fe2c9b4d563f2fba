"""What tables of projectors for sounds derive; their config has the encoder's part at ``audio``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation, maker, rename
from qconv.tensors import exp


@derivation
def qformer_layers(model: ModelContext) -> list[int]:
    """Layers of what asks an encoder's outputs."""
    return list(range(model.count("projector_config.num_hidden_layers")))


@derivation
def feed_forward_granite_speech(model: ModelContext) -> int:
    """Width of the conformer's feed-forward parts."""
    return model.count("audio.hidden_dim") * model.count("audio.feedforward_mult")


_MOMENTS = 1500
"""Of which Whisper's encoder hears thirty seconds."""


@maker
def sinusoids(model: ModelContext) -> NDArray[np.float32]:
    """Positions of moments, (1500, ``d_model``): sines, then cosines, of frequencies from 1 down to 1/10000.

    Angles are float32 as torch computes them, their sines are rounded to nearest, which torch's differ from by one in
    the last place for every twentieth.
    """
    half = model.count("audio.d_model") // 2
    frequencies = exp(np.float32(-math.log(10000) / (half - 1)) * np.arange(half, dtype=np.float32))
    angles = np.arange(_MOMENTS, dtype=np.float32)[:, None] * frequencies
    wide = angles.astype(np.float64)
    return np.concatenate([np.sin(wide), np.cos(wide)], axis=1).astype(np.float32)


@rename
def d1_sounds(name: str, config: Mapping[str, Any]) -> str:
    """D1 Omni's encoder of sounds as a conformer's."""
    return name.replace("audio.encoder.", "conformer.", 1)
