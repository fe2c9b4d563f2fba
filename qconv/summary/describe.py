"""What a model file is: counts and sizes by block type, and what its metadata or configuration says."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from qconv import formats
from qconv.checkpoints import Checkpoint
from qconv.errors import QconvError
from qconv.metadata import is_projector
from qconv.summary.keys import Keys
from qconv.summary.memory import Memory, memory
from qconv.tensors import size
from qconv.types import Metadata, TensorInfo

DEFAULT_CONTEXT = 4096
"""Tokens the cache is counted for, where nothing else is asked and the model knows as many."""


@dataclass(frozen=True, slots=True)
class TypeRow:
    """All tensors of one storage type."""

    name: str
    tensors: int
    weights: int
    size: int


@dataclass(frozen=True, slots=True)
class Summary:
    """A model file in numbers; ``None`` where nothing says."""

    location: str
    kind: str
    files: int
    size: int
    """Bytes of all files."""
    name: str | None
    architecture: str | None
    projector: str | None
    """Of a projector's file, what kind it is, and what it takes in."""
    layers: int | None
    context: int | None
    """Tokens the model was made for."""
    vocabulary: int | None
    file_type: str | None
    quantized_by: str | None
    size_method: str | None
    """How types were chosen, where that was for a size."""
    predicted: float | None
    """KL divergence from the unquantized model that was predicted, in nats a token."""
    types: tuple[TypeRow, ...]
    memory: Memory | None
    note: str | None
    """Why something is missing."""

    @property
    def tensors(self) -> int:
        return sum(row.tensors for row in self.types)

    @property
    def weights(self) -> int:
        return sum(row.weights for row in self.types)

    @property
    def bits_per_weight(self) -> float:
        return sum(row.size for row in self.types) * 8 / max(1, self.weights)


def describe(checkpoint: Checkpoint, context: int | None = None) -> Summary:
    """Describes an open checkpoint; ``context``: tokens to count the cache for."""
    architecture, metadata, note = _metadata(checkpoint)
    config = checkpoint.config or {}
    text = config.get("text_config") if isinstance(config.get("text_config"), dict) else config
    keys = Keys(metadata, architecture or "")
    types = _types(tensor.location.info for tensor in checkpoint.stored.values())
    trained = keys.number("context_length") or _number(text, "max_position_embeddings")
    wanted = context or min(DEFAULT_CONTEXT, trained or DEFAULT_CONTEXT)
    weights = sum(row.size for row in types)
    return Summary(
        location=checkpoint.location,
        kind=checkpoint.kind,
        files=len(checkpoint.files),
        size=sum(file.size for file in checkpoint.files),
        name=_text(metadata, "general.name") or _name_of(checkpoint),
        architecture=architecture or _class_name(config),
        projector=_projector(keys) if is_projector(metadata) else None,
        layers=_layers(keys) or _number(text, "num_hidden_layers"),
        context=trained,
        vocabulary=_vocabulary(metadata, keys) or _number(text, "vocab_size"),
        file_type=_file_type(metadata) if checkpoint.kind == "gguf" else None,
        quantized_by=_text(metadata, "general.quantized_by"),
        size_method=_text(metadata, "qconv.size.method"),
        predicted=_float(metadata, "qconv.size.predicted_kl_divergence"),
        types=types,
        memory=memory(metadata, architecture, weights, wanted) if architecture else None,
        note=note,
    )


def _name_of(checkpoint: Checkpoint) -> str:
    """A directory's whole name, of which a dot may be part; a file's without its suffix."""
    if checkpoint.name is not None:
        return PurePosixPath(checkpoint.name).stem
    return checkpoint.folder.name if checkpoint.directory is None else checkpoint.directory.resolve().name


def _metadata(checkpoint: Checkpoint) -> tuple[str | None, Metadata, str | None]:
    """Architecture and GGUF keys, of a file or as a conversion would write them; why there are none."""
    if checkpoint.metadata is not None:
        return _text(checkpoint.metadata, "general.architecture"), checkpoint.metadata, None
    if checkpoint.config is None:
        return None, {}, "no config.json beside it, only the tensors are known"
    if checkpoint.kind == "adapter":
        base = (checkpoint.config or {}).get("base_model_name_or_path")
        return None, {}, f"an adapter: what changes in {base if isinstance(base, str) and base else 'a model'}"
    from qconv import architectures

    try:
        resolved = architectures.resolve(checkpoint)
    except QconvError as e:
        return None, {}, str(e)
    return resolved.architecture, resolved.metadata, None


_TOWERS = {"vision": "images", "audio": "sounds"}
"""Kinds of towers, and what they take in."""


def _projector(keys: Keys) -> str:
    """The types of its projectors, and what goes into them."""
    types = dict.fromkeys(filter(None, map(keys.text, ("projector_type", *(f"{t}.projector_type" for t in _TOWERS)))))
    taken = [what for tower, what in _TOWERS.items() if keys.has(f"has_{tower}_encoder")]
    return f"{' and '.join(types) or 'unknown'}, for {' and '.join(taken) or 'nothing known'}"


def _layers(keys: Keys) -> int:
    """Layers of the model, or of a projector's towers."""
    return keys.number("block_count") or sum(keys.number(f"{tower}.block_count") for tower in _TOWERS)


def _types(tensors: Iterable[TensorInfo]) -> tuple[TypeRow, ...]:
    """Rows by storage type, most bytes first."""
    rows: dict[str, TypeRow] = {}
    for tensor in tensors:
        row = rows.get(tensor.dtype, TypeRow(tensor.dtype, 0, 0, 0))
        rows[tensor.dtype] = TypeRow(row.name, row.tensors + 1, row.weights + tensor.weights, row.size + size(tensor))
    return tuple(sorted(rows.values(), key=lambda row: (-row.size, row.name)))


def _text(metadata: Metadata, key: str) -> str | None:
    value = metadata.get(key)
    return value.data if value is not None and isinstance(value.data, str) and value.data else None


def _number(config: Mapping[str, Any] | None, key: str) -> int | None:
    value = config.get(key) if config else None
    return value if isinstance(value, int) else None


def _class_name(config: Mapping[str, Any]) -> str | None:
    names = config.get("architectures")
    return str(names[0]) if isinstance(names, list) and names else None


def _vocabulary(metadata: Metadata, keys: Keys) -> int:
    tokens = metadata.get("tokenizer.ggml.tokens")
    return len(tokens.data) if tokens is not None and tokens.element is not None else keys.number("vocab_size")


def _file_type(metadata: Metadata) -> str | None:
    """The name of ``general.file_type``."""
    value = metadata.get("general.file_type")
    if value is None or not isinstance(value.data, int):
        return None
    number = value.data
    return next((name for name, known in formats.file_types().items() if known == number), f"number {number}")


def _float(metadata: Metadata, key: str) -> float | None:
    value = metadata.get(key)
    return value.data if value is not None and isinstance(value.data, float) and math.isfinite(value.data) else None
