"""GPTQ, versions 1 and 2, and those of AutoRound's packings that are GPTQ's.

What a config's patterns override for some modules follows from these modules' shapes.  Source of AutoRound's:
auto-round, ``export/export_to_autoround``.
"""

from __future__ import annotations

import numpy as np

from qconv.checkpoints.methods.parts import Config, Tensors, replaced, stems
from qconv.errors import FormatError, UnsupportedError
from qconv.tensors import LazyTensor
from qconv.tensors.quantized import gptq

_PARTS = (".qweight", ".qzeros", ".scales", ".g_idx")
_VERSIONS = {
    "gptq": 1,
    "gptq_v2": 0,
    "gptq_p": 0,
    "auto_round:auto_gptq": 1,
    "auto_round:gptq": 1,
    "auto_gptq": 1,
    "auto_round": 0,
    "auto_round:gptqmodel": 0,
}
"""What is added to a stored zero point, by ``checkpoint_format`` or AutoRound's ``packing_format``."""


def undo(tensors: Tensors, config: Config) -> Tensors:
    """Raises ``UnsupportedError`` for layouts of one kernel, ``FormatError`` for parts that do not fit together."""
    form = config.get("packing_format") or config.get("checkpoint_format") or config.get("format")
    plus = _VERSIONS.get(str(form))
    if form is not None and plus is None:
        raise UnsupportedError(f"is quantized by GPTQ in the format '{form}'")
    bits, size = config.get("bits"), config.get("group_size")
    made: dict[str, LazyTensor] = {}
    parts: set[str] = set()
    for name in stems(tensors, ".qweight"):
        parts |= {name + end for end in _PARTS}
        for end in (".qzeros", ".scales"):
            if name + end not in tensors:
                raise FormatError(f"is packed, but there is no '{name}{end}'", tensor=f"{name}.qweight")
        zeros = tensors[f"{name}.qzeros"]
        if plus is None:
            plus = _version(zeros) if not config else 1
        made[f"{name}.weight"] = gptq(
            tensors[f"{name}.qweight"],
            zeros,
            tensors[f"{name}.scales"],
            tensors.get(f"{name}.g_idx"),
            plus=plus,
            width=bits if isinstance(bits, int) else None,
            groups=(size,) if isinstance(size, int) else (),
            packing="planar" if form == "gptq_p" else "dense",
        )
    return replaced(tensors, made, parts)


def _version(zeros: LazyTensor) -> int:
    """Which version a lost config said: symmetric weights have the middle for a zero point, or one less."""
    if zeros.dtype != "I32" or not all(zeros.shape):
        return 1
    row = zeros.read(0, 1).view(np.uint32)
    middle = [0x88888888, 0x80808080, 0xAAAAAAAA]  # 4, 8 and 2 bits
    return 0 if any((row == word).all() for word in middle) else 1
