"""qconv: Hugging Face checkpoints to quantized GGUF files in one pass.

``quantize`` and ``dequantize`` work on arrays, ``open`` reads checkpoints and GGUF files, ``convert`` makes GGUF files.
``calibrate`` measures which weights of a model matter, ``evaluate`` what quantizing cost.
Importing this package imports nothing else; each function brings what it needs when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qconv.api import calibrate, convert, dequantize, evaluate, open, quantize

__version__ = "0.1.0"
__all__ = ["__version__", "calibrate", "convert", "dequantize", "evaluate", "open", "quantize"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from qconv import api

        return getattr(api, name)
    raise AttributeError(f"module 'qconv' has no attribute '{name}'")
