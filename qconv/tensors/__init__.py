"""Lazy tensors: each states its shape and type from headers alone and reads any range of its rows.

What checkpoints hold, what undoing their quantization gives, and what an architecture's operations make of that are all
the same kind of thing; see ``base.LazyTensor``.  Operations that tables name register themselves: ``operations`` are
applied to one tensor, ``combinations`` to several together.
"""

import functools
import importlib
import pkgutil
from collections.abc import Callable

from qconv.tensors import registry
from qconv.tensors.affine import affine
from qconv.tensors.awq import awq_gemm, awq_gemv
from qconv.tensors.base import LazyTensor, bytes_of_rows, columns, memory_of_rows, n_rows, read_whole, refuse
from qconv.tensors.blockwise import Scales, blockwise
from qconv.tensors.codes import Codes
from qconv.tensors.combine import join as join_along
from qconv.tensors.dequantized import Dequantized
from qconv.tensors.dtypes import FLOATS, FLOATS8, PLAIN, is_blocks, row_bytes, size
from qconv.tensors.floats import are_finite, as_float32, convert, from_float32, rounds
from qconv.tensors.gptq import gptq
from qconv.tensors.grid import OnGrid, is_on_grid, may_be_on_grid
from qconv.tensors.integers import as_int32
from qconv.tensors.lossless import Lossless, lossless
from qconv.tensors.low_rank import Factor, FactorTensor, LowRank, Magnitude, ReplacedRows, Sum
from qconv.tensors.nvfp4 import divided, fp4_weight, packed_fp4
from qconv.tensors.packed import SUFFIXES as PACKED_SUFFIXES
from qconv.tensors.packed import packed
from qconv.tensors.retyped import retyped
from qconv.tensors.rows import member
from qconv.tensors.scaled import Scaled, Widened, scaled
from qconv.tensors.shapes import reshape
from qconv.tensors.stacked import RepeatedRow, StackedCodes, bitnet_codes
from qconv.tensors.stored import Constant, StoredTensor, TensorLocation
from qconv.tensors.stored_ranges import stored_files, stored_ranges

__all__ = [
    "FLOATS",
    "FLOATS8",
    "PACKED_SUFFIXES",
    "PLAIN",
    "Codes",
    "Constant",
    "Dequantized",
    "Factor",
    "FactorTensor",
    "LazyTensor",
    "Lossless",
    "LowRank",
    "Magnitude",
    "OnGrid",
    "RepeatedRow",
    "ReplacedRows",
    "Scaled",
    "Scales",
    "StackedCodes",
    "StoredTensor",
    "Sum",
    "TensorLocation",
    "Widened",
    "affine",
    "are_finite",
    "as_float32",
    "as_int32",
    "awq_gemm",
    "awq_gemv",
    "bitnet_codes",
    "blockwise",
    "bytes_of_rows",
    "columns",
    "combinations",
    "convert",
    "divided",
    "fp4_weight",
    "from_float32",
    "gptq",
    "is_blocks",
    "is_on_grid",
    "join_along",
    "lossless",
    "may_be_on_grid",
    "member",
    "memory_of_rows",
    "n_rows",
    "operations",
    "packed",
    "packed_fp4",
    "read_whole",
    "refuse",
    "reshape",
    "retyped",
    "rounds",
    "row_bytes",
    "scaled",
    "size",
    "stored_files",
    "stored_ranges",
]


@functools.cache
def _load_operations() -> None:
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")


def operations() -> dict[str, Callable[..., LazyTensor]]:
    """``function(tensor, *arguments) -> LazyTensor`` by the name tables use."""
    _load_operations()
    return registry.operations


def combinations() -> dict[str, Callable[..., LazyTensor]]:
    """``function(tensors, *arguments) -> LazyTensor`` by the name tables use."""
    _load_operations()
    return registry.combinations
