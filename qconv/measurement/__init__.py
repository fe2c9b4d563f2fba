"""What ``qconv calibrate`` does: runs a model on text, in llama.cpp, to learn which of its weights matter.

``calibrate`` sums up the importance matrix, disturbs one tensor after the other to measure its sensitivity, and
compares two whole quantized files with what is predicted of them.
"""

from qconv.measurement.base import BaseModel, base_model, cache_directory, local
from qconv.measurement.calibrate import Calibrated, calibrate
from qconv.measurement.text import Text, first_of_each, read_text

__all__ = [
    "BaseModel",
    "Calibrated",
    "Text",
    "base_model",
    "cache_directory",
    "calibrate",
    "first_of_each",
    "local",
    "read_text",
]
