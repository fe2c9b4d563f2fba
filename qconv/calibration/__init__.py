"""What was measured of a model on text, and is used when it is quantized: importance matrices, sensitivities."""

from qconv.calibration.fingerprint import fingerprint
from qconv.calibration.hessians import (
    Hessians,
    HessiansInfo,
    TensorHessian,
    hessian_bytes,
    hessian_file,
    read_hessian_file,
    read_hessians,
    squared_error,
    write_hessians,
)
from qconv.calibration.imatrix import Imatrix, read_imatrix
from qconv.calibration.measurements import Measurements, Sensitivity, read_measurements
from qconv.calibration.sums import TensorSums, read_sums, write_calibration

__all__ = [
    "Hessians",
    "HessiansInfo",
    "Imatrix",
    "Measurements",
    "Sensitivity",
    "TensorHessian",
    "TensorSums",
    "fingerprint",
    "hessian_bytes",
    "hessian_file",
    "read_hessian_file",
    "read_hessians",
    "read_imatrix",
    "read_measurements",
    "read_sums",
    "squared_error",
    "write_calibration",
    "write_hessians",
]
