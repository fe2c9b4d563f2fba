"""What checkpoints that are quantized already hold: codes, their scales and zero points, as the weights they stand for.

Imported for such checkpoints only, which keeps the start of others short.
"""

from qconv.tensors.quantized.affine import affine
from qconv.tensors.quantized.awq import awq_gemm, awq_gemv, awq_gemv_fast
from qconv.tensors.quantized.blockwise import Scales, blockwise
from qconv.tensors.quantized.codes import Codes, VerticalCodes
from qconv.tensors.quantized.gptq import gptq
from qconv.tensors.quantized.grid import OnGrid, is_on_grid, may_be_on_grid
from qconv.tensors.quantized.lossless import Lossless, lossless
from qconv.tensors.quantized.nvfp4 import divided, fp4_weight, packed_fp4
from qconv.tensors.quantized.packed import SUFFIXES as PACKED_SUFFIXES
from qconv.tensors.quantized.packed import packed
from qconv.tensors.quantized.retyped import retyped

__all__ = [
    "PACKED_SUFFIXES",
    "Codes",
    "Lossless",
    "OnGrid",
    "Scales",
    "VerticalCodes",
    "affine",
    "awq_gemm",
    "awq_gemv",
    "awq_gemv_fast",
    "blockwise",
    "divided",
    "fp4_weight",
    "gptq",
    "is_on_grid",
    "lossless",
    "may_be_on_grid",
    "packed",
    "packed_fp4",
    "retyped",
]
