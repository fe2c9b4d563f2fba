"""T5."""

from __future__ import annotations

from qconv.architectures.derivations.common import n_layer
from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation


@derivation
def n_layer_decoder(model: ModelContext) -> int:
    """Layers of the decoder; as many as the encoder's where the config says nothing."""
    return model.count("num_decoder_layers", default=n_layer(model))
