"""What a source holds, before any type is chosen: output tensors with their recipes, and all metadata but the types'.

Made from headers, config and tokenizer files alone.  The tokenizer comes first, so that an unknown one costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from qconv import architectures, checkpoints, metadata, tokenizers
from qconv.errors import InputError, PlanError, UsageError
from qconv.plan import agreement
from qconv.policy.mixes import mixes
from qconv.types import Metadata, TensorInfo, Value

FILE_TYPES = {"F32": 0, "F16": 1, "BF16": 32}
"""llama.cpp's file type numbers of the float types its converter writes."""


@dataclass(frozen=True, slots=True)
class Model:
    """A source as the plan sees it.

    ``metadata``: for a GGUF its own keys; otherwise what the converter would write with ``float_type``.
    ``float_type``: the type llama.cpp's converter would give the matrices before they are quantized.
    ``is_gguf``: the tensors' types are the file's own, not the converter's.  ``lone``: weights without a config.
    """

    architecture: str
    outputs: tuple[architectures.MappedTensor, ...]
    metadata: Metadata
    float_type: str
    is_gguf: bool
    stem: str
    lone: bool = False
    dropped: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = field(default=())

    def stored(self, output: architectures.MappedTensor, float_type: str) -> str:
        """The type the tensor has when quantizing begins."""
        if self.is_gguf or output.recipe.dtype not in ("F32", "F16", "BF16"):
            return output.recipe.dtype
        return architectures.stored_type(output.name, output.recipe.shape, FILE_TYPES[float_type], output.store)

    def infos(self, float_type: str) -> list[TensorInfo]:
        return [TensorInfo(o.name, self.stored(o, float_type), o.recipe.shape) for o in self.outputs]

    def with_file_type(self, number: int) -> Metadata:
        """The metadata of a float file that the converter writes itself."""
        if metadata.FILE_TYPE not in self.metadata:  # some of llama.cpp's converters forget it
            return self.metadata
        return {**self.metadata, metadata.FILE_TYPE: Value.uint32(number)}


def read_model(checkpoint: checkpoints.Checkpoint, *, arch: str | None = None, pre: str | None = None) -> Model:
    """The model in an open checkpoint.

    ``arch``: ``general.architecture`` for safetensors without a config, which a directory or several files must have.
    ``pre``: the pre-tokenizer's name.

    Raises InputError, UnsupportedError, TokenizerError, PlanError, FormatError as the rooms it asks do.
    """
    if checkpoint.metadata is not None:
        return _from_gguf(checkpoint, arch, pre)
    if checkpoint.config is None:
        return _plain(checkpoint, arch, pre)
    if arch is not None:
        raise UsageError("--arch is for safetensors without a config.json", file=checkpoint.path)
    return _from_config(checkpoint, pre)


def _from_gguf(checkpoint: checkpoints.Checkpoint, arch: str | None, pre: str | None) -> Model:
    if arch is not None or pre is not None:
        raise UsageError("a GGUF file names its architecture and pre-tokenizer itself", file=checkpoint.path)
    resolved = architectures.resolve_gguf(checkpoint)
    return Model(
        architecture=resolved.architecture,
        outputs=tuple(resolved.tensors),
        metadata=resolved.metadata,
        float_type="F16",
        is_gguf=True,
        stem=metadata.stem_of(checkpoint.path.name, mixes()),
    )


def _plain(checkpoint: checkpoints.Checkpoint, arch: str | None, pre: str | None) -> Model:
    if pre is not None:
        raise UsageError("--pre needs a tokenizer, and without config.json none is read", file=checkpoint.path)
    if arch is None and (checkpoint.path.is_dir() or len(checkpoint.files) > 1):
        one = ", or convert the weights file alone" if len(checkpoint.files) == 1 else ""
        hint = f"get it from the model's repository{one}; --arch NAME makes a file that keeps the tensors' names"
        raise InputError(
            "holds no config.json, so no runtime would load the result", file=checkpoint.directory, hint=hint
        )
    resolved = architectures.resolve_plain(checkpoint, arch or "unknown")
    float_type = _float_type(checkpoint)
    stem = metadata.stem_of(checkpoint.path.name, mixes())
    general = metadata.lone(stem, metadata.count(checkpoint.tensors.values()))
    return Model(
        architecture=resolved.architecture,
        outputs=tuple(resolved.tensors),
        metadata=metadata.assemble(
            resolved.architecture, general.metadata(), resolved.metadata, {}, file_type=FILE_TYPES[float_type]
        ),
        float_type=float_type,
        is_gguf=False,
        stem=stem,
        lone=True,
        dropped=tuple(resolved.dropped),
        warnings=(
            "no config.json beside the weights: tensors keep their names and there is no tokenizer;"
            " llama.cpp and other runtimes will not load the file",
        ),
    )


def _from_config(checkpoint: checkpoints.Checkpoint, pre: str | None) -> Model:
    assert checkpoint.config is not None
    resolved = architectures.resolve(checkpoint)
    vocabulary = tokenizers.metadata(
        checkpoint.directory,
        resolved.config,
        kind=resolved.tokenizer,
        options=resolved.tokenizer_options,
        pre=pre,
    )
    outputs = tuple(resolved.tensors)
    doubts = agreement.check(checkpoint.directory, resolved)
    _check_vocabulary(checkpoint.directory, outputs, vocabulary)
    weights = metadata.count(TensorInfo(o.name, o.recipe.dtype, o.recipe.shape) for o in outputs)
    general = metadata.gather(checkpoint.directory, weights, checkpoint.config)
    float_type = _float_type(checkpoint)
    return Model(
        architecture=resolved.architecture,
        outputs=outputs,
        metadata=metadata.assemble(
            resolved.architecture, general.metadata(), resolved.metadata, vocabulary, file_type=FILE_TYPES[float_type]
        ),
        float_type=float_type,
        is_gguf=False,
        stem=metadata.stem_of(checkpoint.path.name, mixes()) if checkpoint.path.is_file() else "model",
        dropped=tuple(resolved.dropped),
        warnings=(*doubts, *general.notes),
    )


def _float_type(checkpoint: checkpoints.Checkpoint) -> str:
    """The 16-bit type of the first matrix that has one, as llama.cpp's ``--outtype auto`` finds it; else F32.

    (llama.cpp would round weights stored in F32 to F16 there; nothing is rounded on the way here.)
    """
    for info in checkpoint.stored.values():
        if len(info.shape) >= 2 and info.dtype in ("BF16", "F16"):
            return info.dtype
    return "F32"


def _check_vocabulary(directory: Path, outputs: tuple[architectures.MappedTensor, ...], vocabulary: Metadata) -> None:
    tokens = vocabulary.get("tokenizer.ggml.tokens")
    embedding = next((o.recipe.shape for o in outputs if o.name == "token_embd.weight"), None)
    if tokens is None or embedding is None or len(embedding) != 2 or len(tokens.data) == embedding[0]:
        return
    raise PlanError(
        f"the tokenizer has {len(tokens.data)} tokens, but the embedding {embedding[0]} rows",
        file=directory,
        hint="take tokenizer files, config.json and weights from the same model; vocab_size must be the embedding's",
    )
