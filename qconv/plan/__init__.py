"""The plan: everything decided before a weight is read.

``types`` says what a plan is, ``request`` what a user asks for, ``model`` what a source holds, ``make`` puts them
together.
"""

from qconv.plan.make import directory, make
from qconv.plan.model import Model, read_model
from qconv.plan.request import Request
from qconv.plan.types import OutputFile, Plan, TensorPlan

__all__ = ["Model", "OutputFile", "Plan", "Request", "TensorPlan", "directory", "make", "read_model"]
