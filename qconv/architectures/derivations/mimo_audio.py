"""MiMo's projector: its audio tokenizer's quantizers and windows."""

from __future__ import annotations

from qconv.architectures.model import ModelContext
from qconv.architectures.registry import derivation

_CODEBOOK = "audio_tokenizer/encoder.quantizer.vq.layers.{}._codebook.embed"


@derivation
def mimo_codebook_sizes(model: ModelContext) -> list[int]:
    """How many vectors each quantizer chooses from, by the tensors that hold them."""
    sizes: list[int] = []
    while (codebook := model.tensors.get(_CODEBOOK.format(len(sizes)))) is not None:
        sizes.append(codebook.shape[0])
    return sizes


@derivation
def mimo_quantizers(model: ModelContext) -> int:
    """Quantizers one after another, each for what the last left over."""
    return len(mimo_codebook_sizes(model))


@derivation
def mimo_channels(model: ModelContext) -> int:
    """Codes of a moment that the text model takes in."""
    return model.count("audio_config.audio_channels")


@derivation
def mimo_local_layers(model: ModelContext) -> int:
    """Layers of the transformer over the codes of a few moments."""
    return model.count("audio_config.input_local_layers")


@derivation
def mimo_audio_windows(model: ModelContext) -> list[int]:
    """Of each layer of the tokenizer's encoder 0 if it attends within windows, -1 if to everything."""
    layers, period = model.count("audio.encoder_layers"), model.count("audio.swa_per_block", default=1)
    windowed = bool(model.find("audio.hybrid_attention")) and period > 1
    return [0 if windowed and layer % period < period - 1 else -1 for layer in range(layers)]
