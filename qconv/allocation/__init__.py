"""Types for a size: what rounding each tensor costs the model, and the least of that a number of bytes allows.

A file's KL divergence from the unquantized model is the sum over its tensors of sensitivity times rounding error; see
``losses``.  ``make`` is ``plan.make`` for options with sizes.
"""

from qconv.allocation.allocator import Allocator, Point
from qconv.allocation.errors import ErrorTable, rounding_errors, samples
from qconv.allocation.gains import first_tile, rounding
from qconv.allocation.losses import Losses
from qconv.allocation.make import make
from qconv.allocation.table import disturbance_type, menu, table

__all__ = [
    "Allocator",
    "ErrorTable",
    "Losses",
    "Point",
    "disturbance_type",
    "first_tile",
    "make",
    "menu",
    "rounding",
    "rounding_errors",
    "samples",
    "table",
]
