"""The plan: everything decided before a weight is read.

``types`` says what a plan is, ``source_model`` what a source holds, ``make`` puts that and the options together.
"""

from qconv.plan.make import Planner, dequantized, directory, make, refuse_same_names
from qconv.plan.source_model import SourceModel, open_source, read_model
from qconv.plan.types import NonFinite, OutputFile, Plan, Sized, TensorPlan

__all__ = [
    "NonFinite",
    "OutputFile",
    "Plan",
    "Planner",
    "Sized",
    "SourceModel",
    "TensorPlan",
    "dequantized",
    "directory",
    "make",
    "open_source",
    "read_model",
    "refuse_same_names",
]
