"""How each way of being quantized is undone: one module for each, ``undo(tensors, config) -> tensors``.

``tensors``: a checkpoint's, by name.  ``config``: what its config says about quantization, ``{}`` when that is lost.
The result holds the tensors that the quantized ones stand for, under the names the plain checkpoint has.
"""

from __future__ import annotations

import importlib

from qconv.checkpoints.methods.parts import Config, Tensors

__all__ = ["METHODS", "Config", "Tensors", "undo"]

METHODS = {
    "fp8": "fp8",
    "compressed-tensors": "compressed_tensors",
    "bitsandbytes": "bitsandbytes",
    "gptq": "gptq",
    "awq": "awq",
    "mlx": "mlx",
    "modelopt": "modelopt",
    "quark": "quark",
    "fbgemm_fp8": "plain_scales",
    "mxfp8": "plain_scales",
    "mxfp4": "mxfp4",
    "bitnet": "bitnet",
    "hqq": "hqq",
    "gemma": "gemma",
    "torchao": "torchao",
}
"""The module of each method, by its name in ``formats/quantizations.toml``."""


def undo(method: str, tensors: Tensors, config: Config) -> Tensors:
    """The tensors that those of a checkpoint quantized by ``method`` stand for; its module is imported first."""
    undone: Tensors = importlib.import_module(f"{__name__}.{METHODS[method]}").undo(tensors, config)
    return undone
