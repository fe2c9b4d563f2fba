"""What differs between two models: metadata keys, tensors, and how far apart their weights are.

Either side is a GGUF file or a checkpoint; both are streamed row block by row block, in bounded memory.
"""

from qconv.compare.comparison import Comparison, Keys, TensorDifference, compare
from qconv.compare.error import Error
from qconv.compare.plot import draw
from qconv.compare.sides import Side, open_sides

__all__ = ["Comparison", "Error", "Keys", "Side", "TensorDifference", "compare", "draw", "open_sides"]
