"""The plan: everything decided before a weight is read.

``types`` says what a plan is, ``source_model`` what a source holds, ``make`` puts that and the options together.
"""

from qconv.plan.make import Planner, dequantized, directory, make, with_projectors
from qconv.plan.projector import read_projector
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
    "read_projector",
    "with_projectors",
]
