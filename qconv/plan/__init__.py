"""The plan: everything decided before a weight is read.

``types`` says what a plan is, ``source_model`` what a source holds, ``make`` puts that and the options together.
"""

from qconv.plan.make import directory, make
from qconv.plan.source_model import SourceModel, open_source, read_model
from qconv.plan.types import NonFinite, OutputFile, Plan, TensorPlan

__all__ = [
    "NonFinite",
    "OutputFile",
    "Plan",
    "SourceModel",
    "TensorPlan",
    "directory",
    "make",
    "open_source",
    "read_model",
]
