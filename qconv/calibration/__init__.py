"""What was measured of a model on text, and is used when it is quantized: importance matrices."""

from qconv.calibration.imatrix import Imatrix, read_imatrix

__all__ = ["Imatrix", "read_imatrix"]
