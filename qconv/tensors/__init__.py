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
from qconv.tensors.base import LazyTensor, bytes_of_rows, columns, memory_of_rows, n_rows, read_whole, refuse
from qconv.tensors.combine import join as join_along
from qconv.tensors.dequantized import Dequantized
from qconv.tensors.dtypes import FLOATS, FLOATS8, PLAIN, array_type, is_blocks, row_bytes, size
from qconv.tensors.exponential import exp
from qconv.tensors.floats import are_finite, as_float32, convert, from_float32, rounds
from qconv.tensors.integers import as_int32
from qconv.tensors.rows import member
from qconv.tensors.sample import Sample
from qconv.tensors.scaled import Scaled, Widened, scaled
from qconv.tensors.shapes import reshape, transpose
from qconv.tensors.stacked import RepeatedRow, StackedCodes, bitnet_codes
from qconv.tensors.stored import Constant, StoredTensor, TensorLocation
from qconv.tensors.stored_ranges import stored_files, stored_ranges

__all__ = [
    "FLOATS",
    "FLOATS8",
    "PLAIN",
    "Constant",
    "Dequantized",
    "LazyTensor",
    "RepeatedRow",
    "Sample",
    "Scaled",
    "StackedCodes",
    "StoredTensor",
    "TensorLocation",
    "Widened",
    "adapted",
    "are_finite",
    "array_type",
    "as_float32",
    "as_int32",
    "bitnet_codes",
    "bytes_of_rows",
    "columns",
    "combinations",
    "convert",
    "exp",
    "from_float32",
    "is_blocks",
    "join_along",
    "low_rank",
    "member",
    "memory_of_rows",
    "n_rows",
    "operations",
    "quantized",
    "read_whole",
    "refuse",
    "reshape",
    "rounds",
    "row_bytes",
    "scaled",
    "size",
    "stored_files",
    "stored_ranges",
    "transpose",
]

_WITHOUT = ("adapted", "low_rank", "quantized")
"""Modules that hold no operations, and are imported by those alone who need them."""


@functools.cache
def _load_operations() -> None:
    for module in pkgutil.iter_modules(__path__):
        if module.name not in _WITHOUT:
            importlib.import_module(f"{__name__}.{module.name}")


def operations() -> dict[str, Callable[..., LazyTensor]]:
    """``function(tensor, *arguments) -> LazyTensor`` by the name tables use."""
    _load_operations()
    return registry.operations


def combinations() -> dict[str, Callable[..., LazyTensor]]:
    """``function(tensors, *arguments) -> LazyTensor`` by the name tables use."""
    _load_operations()
    return registry.combinations
