"""What a model file is, told from its headers alone: ``qconv info`` and ``qconv.open``."""

from qconv.summary.describe import Summary, TypeRow, describe
from qconv.summary.memory import Memory

__all__ = ["Memory", "Summary", "TypeRow", "describe"]
