"""What ``qconv evaluate`` does: runs quantized files on a text, and tells how far they are from the original."""

from qconv.evaluation.evaluate import evaluate
from qconv.evaluation.results import Evaluation, TensorShare

__all__ = ["Evaluation", "TensorShare", "evaluate"]
