"""Checkpoints that are quantized already: by which method, and the tensors theirs stand for.

The config says the method where there is one.  Tensors have the last word: where they are of another method, or plain,
the config is another model's or was left over, as training on a quantized model does.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from qconv import formats
from qconv.checkpoints import methods
from qconv.checkpoints.checkpoint import Checkpoint
from qconv.checkpoints.methods import METHODS, Config, Tensors
from qconv.errors import FormatError, QconvError, UnsupportedError
from qconv.files import read_object
from qconv.storage import Folder
from qconv.tensors import FLOATS, FLOATS8, LazyTensor, Widened

_BASE = "convert the model it was made from: look for 'base_model' on its model card"
_AS_BITS = (
    "BF16 that a tool without that type wrote as bits? In Python: tensor.view(torch.bfloat16), and save it again; or "
    "convert the original"
)
_LARGEST_CONFIG = 16 << 20
_INTEGERS = ("I8", "U8", "I16", "U16", "I32", "U32")
_FILES = {"hf_quant_config.json": "modelopt", "quantize_config.json": "gptq", "quant_config.json": "awq"}
"""Files beside ``config.json`` that tools keep their settings in, and the method that a file without one means."""


_WORDS = re.compile(r"[^a-z0-9]+")
_TELLING = {"2bit", "3bit", "4bit", "6bit", "8bit", "int4", "int8", "fp4", "fp8", "w4a16", "w8a8", "w8a16"}
_TELLING |= {"bnb", "gptq", "awq", "mlx", "hqq", "nvfp4", "mxfp4", "exl2", "exl3", "gguf"}
"""Words in names of models that are quantized."""


class Method(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A way of being quantized, as ``formats/quantizations.toml`` describes it."""

    about: str
    methods: tuple[str, ...]
    source: str = ""
    marks: tuple[dict[str, tuple[str, ...]], ...] = ()
    packed: Literal["inputs", "outputs"] | None = None
    refused: str | None = None
    advice: str = _BASE


@functools.cache
def table() -> dict[str, Method]:
    """All methods by name, those that recognize most first."""
    return formats.load(formats.ROOT / "quantizations.toml", dict[str, Method])


def undo(checkpoint: Checkpoint) -> None:
    """Makes ``checkpoint`` hand out the tensors its quantized ones stand for; what is odd about them goes to its notes.

    Raises ``UnsupportedError`` naming the quantization when qconv cannot undo it, ``FormatError`` when its parts do not
    fit together.
    """
    if checkpoint.metadata is not None:
        return
    try:
        config = quantization_config(checkpoint.config or {}, checkpoint.folder)
        name = _method(checkpoint, config or {})
        if name is None:
            checkpoint.lazy = _plain(checkpoint)
            return
        method = table()[name]
        if method.refused is not None:
            message = f"is quantized by '{name}', and qconv does not undo {method.refused.rstrip(',')}"
            raise UnsupportedError(message, hint=method.advice)
        try:
            before = checkpoint.lazy
            checkpoint.lazy = methods.undo(name, before, config or {})
            checkpoint.quantized_by = None if checkpoint.lazy is before else name
        except UnsupportedError as e:
            e.hint = e.hint or method.advice
            raise
    except QconvError as e:
        e.file = e.file or checkpoint.location
        raise


def quantization_config(config: Config, folder: Folder | None = None) -> Config | None:
    """What is said about quantization, with ``quant_method`` where it is told in another way; None when nothing is.

    ``config``: the ``config.json``, whose own or whose text model's counts.  ``folder``: where other files lie.
    """
    text = config.get("text_config")
    for holder in (config, text if isinstance(text, dict) else {}):
        for key in ("quantization_config", "compression_config", "quantization"):
            settings = holder.get(key)
            if isinstance(settings, dict) and settings:
                return _named(settings, "compressed-tensors" if key == "compression_config" else None)
    for name, method in _FILES.items():
        if folder is not None and folder.has(name):
            settings = read_object(folder, name, _LARGEST_CONFIG)
            inner = settings.get("quantization")
            return _named(inner if isinstance(inner, dict) else settings, method)
    return None


def names_quantization(name: str) -> bool:
    """Whether a model's name says that it is quantized: ``Qwen3-8B-AWQ``, ``...-bnb-4bit``."""
    return not _TELLING.isdisjoint(_WORDS.split(name.lower()))


def _named(settings: Mapping[str, Any], method: str | None) -> Config:
    """The settings with the method that their other keys mean, where they do not name one."""
    if settings.get("quant_method") is not None:
        return settings
    if settings.get("load_in_4bit") or settings.get("load_in_8bit"):
        method = "bitsandbytes"
    elif settings.get("quant_algo") is not None:
        method = "modelopt"
    elif method is None and "group_size" in settings and "bits" in settings:
        method = "mlx"
    return settings if method is None else {**settings, "quant_method": method}


def _method(checkpoint: Checkpoint, config: Config) -> str | None:
    """The method of the checkpoint's tensors by the table's name; None when they are plain."""
    said, tensors = config.get("quant_method"), checkpoint.lazy
    plain = _all_floats(tensors)
    meant = [name for name, method in table().items() if said in method.methods]
    marked = [name for name, method in table().items() if has_marks(tensors, method)]
    exact = [name for name in marked if table()[name].packed]
    sure = next((name for name in meant if name in marked or not (table()[name].marks or plain)), None)
    if sure is not None:
        return sure
    partly = None if exact else next((name for name in meant if _has_parts(tensors, table()[name])), None)
    if partly is None and marked:
        if said is not None:
            checkpoint.notes += (f"the config says '{said}', but the weights are quantized by '{marked[0]}'",)
        return marked[0]
    if said is None or partly is not None:
        return partly
    if plain:
        checkpoint.notes += (
            f"the config says '{said}', but the weights are not quantized: they are taken as they are",
        )
        return None
    if not meant:
        known = ", ".join(METHODS)
        raise UnsupportedError(f"is quantized by '{said}'; qconv reads {known}", hint=_BASE)
    return meant[0]


def _has_parts(tensors: Tensors, method: Method) -> bool:
    """Whether some of a weight's tensors are there, so that the method will name what is missing."""
    ends = tuple(end for mark in method.marks for end in mark if end not in ("", ".weight"))
    return any(name.endswith(ends) for name in tensors)


def has_marks(tensors: Tensors, method: Method) -> bool:
    """Whether some weight's tensors are as a mark of ``method`` says."""
    for mark in method.marks:
        first, *others = mark.items()
        for name, tensor in tensors.items():
            if not name.endswith(first[0]) or (first[1] and tensor.dtype not in first[1]):
                continue
            stem = name.removesuffix(first[0])
            there = ((tensors.get(stem + end), types) for end, types in others)
            whole = all(part is not None and (not types or part.dtype in types) for part, types in there)
            if whole and (method.packed is None or _is_packed_so(tensors, stem, method.packed)):
                return True
    return False


def _is_packed_so(tensors: Tensors, stem: str, packed: str) -> bool:
    """Whether 4-bit numbers of ``.qweight`` are packed along the inputs, or along the outputs."""
    weight, scale = tensors[f"{stem}.qweight"], tensors[f"{stem}.scales"]
    if len(weight.shape) != 2 or len(scale.shape) != 2:
        return False
    if packed == "inputs":
        return weight.shape[1] == scale.shape[1]
    if weight.dtype == "I16":
        return 4 * weight.shape[0] == scale.shape[1]
    return 8 * weight.shape[1] == scale.shape[1] or weight.shape[0] == scale.shape[0]


def _all_floats(tensors: Tensors) -> bool:
    """Whether every matrix is of a type that is not a quantization's."""
    return all(len(tensor.shape) < 2 or tensor.dtype in (*FLOATS, "F64", "I64", "BOOL") for tensor in tensors.values())


def _plain(checkpoint: Checkpoint) -> Tensors:
    """The tensors of a checkpoint that is of no method: 8-bit floats without scales are numbers, integers are not."""
    for name, tensor in checkpoint.lazy.items():
        if _is_integer_weight(name, tensor):
            message = (
                f"is {tensor.dtype}: integers are weights only with their scales, and none that qconv knows is there"
            )
            raise FormatError(message, tensor=name, hint=_AS_BITS if tensor.dtype == "U16" else _BASE)
    return {name: Widened(tensor) if tensor.dtype in FLOATS8 else tensor for name, tensor in checkpoint.lazy.items()}


def _is_integer_weight(name: str, tensor: LazyTensor) -> bool:
    return name.endswith(".weight") and len(tensor.shape) >= 2 and tensor.dtype in _INTEGERS
