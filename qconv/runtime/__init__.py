"""llama.cpp out of an installed wheel (``pip install 'qconv[runtime]'``): what a model computes, and with what.

A ``Session`` runs a GGUF file of any architecture llama.cpp knows.  It gives the inputs of every weight matrix, summed
up over a text (``importance``, ``gram``); logits, hidden states and what they are worth (``likelihoods``,
``kl_divergence``); and it replaces weights in memory (``replaced``).  llama.cpp runs in a child process, so that what
ends it there is an error here.
"""

from qconv.runtime.collection import Collection
from qconv.runtime.importance import PEAK_COLUMNS
from qconv.runtime.layout import INSTALL
from qconv.runtime.library import available, library_path
from qconv.runtime.model import ModelInfo
from qconv.runtime.reference import KeptReference, Reference, Tokens
from qconv.runtime.results import (
    Divergence,
    Gram,
    Head,
    Importance,
    MatrixInput,
    Sums,
    WeightTensor,
    standard_error,
)
from qconv.runtime.session import Session

__all__ = [
    "INSTALL",
    "PEAK_COLUMNS",
    "Collection",
    "Divergence",
    "Gram",
    "Head",
    "Importance",
    "KeptReference",
    "MatrixInput",
    "ModelInfo",
    "Reference",
    "Session",
    "Sums",
    "Tokens",
    "WeightTensor",
    "available",
    "library_path",
    "standard_error",
]
