"""Files that are something else than their name says, told apart by their first bytes; none is opened further."""

from __future__ import annotations

from pathlib import PurePath

from qconv.errors import FormatError, InputError, UnsupportedError
from qconv.files import refuse_disguise

GGUF_MAGIC = b"GGUF"

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
"""Suffixes of PyTorch's pickled weights, which can run code when they are loaded."""

OTHER_WEIGHTS = {
    ".h5": "Keras or TensorFlow weights",
    ".msgpack": "Flax weights",
    ".onnx": "an ONNX model",
    ".npz": "numpy arrays",
    ".tflite": "a TensorFlow Lite model",
    ".ggml": "a GGML file from before GGUF",
}

CONVERT_PICKLE = (
    "in an environment you trust: torch.load(FILE, weights_only=True), then safetensors.torch.save_file; "
    "or look for a safetensors revision of the model"
)


def refuse_pickle(location: str) -> UnsupportedError:
    """The error for PyTorch pickles."""
    return UnsupportedError(
        "holds pickled PyTorch weights, which qconv never opens", file=location, hint=CONVERT_PICKLE
    )


def refuse_lookalike(location: str, first: bytes) -> None:
    """Raises for a file whose ``first`` bytes (a hundred are enough) show that it holds no safetensors weights."""
    if not first:
        raise FormatError("is empty", file=location, hint="download or copy it again")
    refuse_disguise(location, first)
    if first.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")) and first[8:9] != b"{":
        raise refuse_pickle(location)


def explain(location: str, first: bytes) -> InputError:
    """Why that file is not a kind of input; raised by the caller."""
    suffix = PurePath(location).suffix.lower()
    try:
        refuse_lookalike(location, first)
    except InputError as e:
        return e
    if suffix in PICKLES:
        return refuse_pickle(location)
    if suffix in OTHER_WEIGHTS:
        return UnsupportedError(f"is {OTHER_WEIGHTS[suffix]}, which qconv does not read", file=location, hint=_KINDS)
    return UnsupportedError("is of no kind qconv reads", file=location, hint=_KINDS)


_KINDS = "give a .safetensors file, a model.safetensors.index.json, a checkpoint's folder, or a .gguf file"
