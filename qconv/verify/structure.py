"""Is the container sound?  What ``gguf.read`` does not already refuse."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from qconv.gguf import File, padded, whole_metadata
from qconv.types import ValueType
from qconv.verify.report import Problem

_PLAIN = ("F64", "F32", "F16", "BF16", "I8", "I16", "I32", "I64")


def problems(files: Sequence[File]) -> Iterator[Problem]:
    """Gaps between tensors, bytes after the last, and keys that llama.cpp needs; ``files`` are a model's shards."""
    for file in files:
        yield from _layout(file)
    yield from _keys(files)


def _layout(file: File) -> Iterator[Problem]:
    """llama.cpp takes tensors only one after another in the order of their records, without gaps."""
    end = file.data_offset
    for tensor in file.tensors.values():
        if tensor.offset != end:
            yield Problem(file.path, tensor.info.name, f"begins at byte {tensor.offset}, not {end}, where it has to")
        end = padded(tensor.offset + tensor.size - file.data_offset, file.alignment) + file.data_offset
        if 0 in tensor.info.shape:
            yield Problem(file.path, tensor.info.name, "has no weights")
    if file.size > end:
        yield Problem(file.path, None, f"has {file.size - end} bytes after the last tensor")


def _keys(files: Sequence[File]) -> Iterator[Problem]:
    metadata, path = whole_metadata(files), files[0].path
    architecture = metadata.get("general.architecture")
    if architecture is None or architecture.type is not ValueType.STRING:
        yield Problem(path, None, "has no key general.architecture, which llama.cpp needs")
    names = {t.info.dtype for file in files for t in file.tensors.values()}
    if not names <= set(_PLAIN) and "general.quantization_version" not in metadata:
        yield Problem(path, None, "has quantized tensors but no key general.quantization_version")
    tokens = metadata.get("tokenizer.ggml.tokens")
    for key in ("tokenizer.ggml.scores", "tokenizer.ggml.token_type"):
        value = metadata.get(key)
        if tokens is not None and value is not None and len(value.data) != len(tokens.data):
            yield Problem(path, None, f"has {len(value.data)} {key} for {len(tokens.data)} tokens")
