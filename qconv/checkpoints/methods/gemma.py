"""Gemma's own quantization of 2026: integers of 2, 4 and 8 bits with a scale for each row, embeddings included.

2 and 4 bits are packed into bytes, the lowest first; a code is the number plus 2 or 8.  How wide a packed row is, other
tensors tell: patterns of the config, which say the bits of each module, are not needed.

Source: transformers, ``integrations/gemma_quant.py``.
"""

from __future__ import annotations

from qconv.checkpoints.methods.numbers import scaled_numbers
from qconv.checkpoints.methods.parts import Config, Tensors, replaced, stems
from qconv.errors import FormatError
from qconv.tensors import LazyTensor
from qconv.tensors.quantized import Codes, affine

_UNUSED = (".input_activation_scale", ".output_activation_scale")
_PAIRS = {".weight_scale": ".weight", ".embedding_scale": ".embedding_quantized"}


def undo(tensors: Tensors, config: Config) -> Tensors:
    """Raises ``FormatError`` for parts that do not fit together."""
    made: dict[str, LazyTensor] = {}
    parts: set[str] = {name for name in tensors if name.endswith(_UNUSED)}
    known = {size for tensor in tensors.values() if len(tensor.shape) == 1 for size in tensor.shape}
    known |= {tensor.shape[0] for tensor in tensors.values() if len(tensor.shape) == 2}
    for end, of_weight in _PAIRS.items():
        for module in stems(tensors, end):
            weight = tensors.get(module + of_weight)
            if weight is None:
                raise FormatError(f"is a scale, but there is no '{module}{of_weight}'", tensor=module + end)
            parts |= {module + end, module + of_weight}
            renamed = {"w": weight, "w_scale": tensors[module + end]}
            plain = scaled_numbers(renamed, "w", ()) if weight.dtype == "I8" else None
            made[f"{module}.weight"] = plain or _packed(weight, tensors[module + end], known, config)
    return replaced(tensors, made, parts)


def _packed(weight: LazyTensor, scale: LazyTensor, known: set[int], config: Config) -> LazyTensor:
    if weight.dtype != "U8" or len(weight.shape) != 2:
        message = f"is {weight.dtype} {list(weight.shape)}, not a matrix of bytes"
        raise FormatError(message, tensor=weight.sources[0])
    said = config.get("num_bits")
    widths = [(bits, weight.shape[1] * 8 // bits) for bits in ((4, 2) if said != 2 else (2, 4))]
    bits, columns = next((pair for pair in widths if pair[1] in known), widths[0])
    return affine(Codes(weight, bits, columns), scale, zero=1 << (bits - 1))
