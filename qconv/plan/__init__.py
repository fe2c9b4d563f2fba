"""The plan: everything decided before a weight is read (see ``types``)."""

from qconv.plan.request import Request
from qconv.plan.types import OutputFile, Plan, TensorPlan

__all__ = ["OutputFile", "Plan", "Request", "TensorPlan"]
