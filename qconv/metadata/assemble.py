"""All of a file's metadata, in the order llama.cpp writes it: its converter first, then its quantizer."""

from __future__ import annotations

from collections.abc import Iterable

from qconv.types import Metadata, Value

FILE_TYPE = "general.file_type"
GENERAL_TYPE = "general.type"
QUANTIZATION_VERSION = "general.quantization_version"
PROJECTOR = "mmproj"
"""What ``general.type`` is of a projector."""
_VERSION = 2
"""ggml's GGML_QNT_VERSION: the layouts of the block types."""
_OF_ONE_SPLIT = ("split.no", "split.count", "split.tensors.count")


def assemble(
    architecture: str,
    general: Metadata,
    model: Metadata,
    tokenizer: Metadata,
    *,
    file_type: int,
    model_type: str = "model",
) -> Metadata:
    """A converted checkpoint's metadata, as llama.cpp's converter writes it.

    ``general``: ``general.*`` of ``General.metadata()``.  ``model``: the architecture's keys.  The place of
    ``general.file_type`` among them is kept, because the converter writes it before the keys that only some
    architectures have; where it is not among them, there is none, as for architectures whose converter forgets it.
    Keys in front of a ``general.type`` there come before all of ``general``: the converter sets them early.
    """
    kind = {GENERAL_TYPE: Value.string(model_type)}
    early = list(model).index(GENERAL_TYPE) if GENERAL_TYPE in model else 0
    keys = {
        "general.architecture": Value.string(architecture),
        **dict(list(model.items())[:early]),
        **kind,
        **general,
        **model,
        **kind,
        QUANTIZATION_VERSION: Value.uint32(_VERSION),
        **tokenizer,
    }
    return keys | {FILE_TYPE: Value.uint32(file_type)} if FILE_TYPE in keys else keys


def quantized(
    metadata: Metadata, *, file_type: int, overrides: Iterable[tuple[str, Value]] = (), imatrix: Metadata | None = None
) -> Metadata:
    """The metadata of the same model after llama-quantize: what it sets goes to the end.

    ``overrides``: of ``--override-kv``.  ``imatrix``: ``quantize.imatrix.*``.
    """
    keys = {key: value for key, value in metadata.items() if key not in _OF_ONE_SPLIT}
    _set(keys, QUANTIZATION_VERSION, Value.uint32(_VERSION))
    _set(keys, FILE_TYPE, Value.uint32(file_type))
    return overridden(keys, (*overrides, *(imatrix or {}).items()))


def is_projector(metadata: Metadata) -> bool:
    """Whether a file of this metadata holds a projector."""
    value = metadata.get(GENERAL_TYPE)
    return value is not None and value.data == PROJECTOR


def overridden(metadata: Metadata, overrides: Iterable[tuple[str, Value]]) -> Metadata:
    """``metadata`` with keys set as ``--override-kv`` does: at the end, whether they were there or not."""
    keys = dict(metadata)
    for key, value in overrides:
        _set(keys, key, value)
    return keys


def _set(metadata: Metadata, key: str, value: Value) -> None:
    metadata.pop(key, None)
    metadata[key] = value
