"""What a source holds, before any type is chosen: mapped tensors, and all metadata but the types'.

Made from headers, config and tokenizer files alone.  The tokenizer comes first, so that an unknown one costs nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from qconv import architectures, checkpoints, formats, metadata
from qconv.errors import InputError, UnsupportedError, UsageError
from qconv.files import read_object
from qconv.options import ConvertOptions
from qconv.plan import consistency
from qconv.plan.vocabulary import check_vocabulary, open_target, read_vocabulary
from qconv.policy import converter, mixes
from qconv.tensors import FLOATS
from qconv.types import Metadata, ModelPart, TensorInfo, Value


@dataclass(frozen=True, slots=True)
class SourceModel:
    """A source as the plan sees it.

    ``metadata``: for a GGUF its own keys; otherwise what the converter would write with ``float_type``.
    ``float_type``: the type llama.cpp's converter would give the matrices before they are quantized.
    ``is_gguf``: the tensors' types are the file's own, not the converter's.  ``lone``: weights without a config.
    ``is_adapter``: an adapter alone.  ``part``: of the model in the source.
    """

    architecture: str
    outputs: tuple[architectures.MappedTensor, ...]
    metadata: Metadata
    float_type: str
    is_gguf: bool
    stem: str
    lone: bool = False
    is_adapter: bool = False
    part: ModelPart = "text"
    dropped: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = field(default=())

    def infos(self, float_type: str) -> list[TensorInfo]:
        """The tensors with the types they have when quantizing begins, in an intermediate file of ``float_type``."""
        return [TensorInfo(o.name, self._intermediate_type(o, float_type), o.tensor.shape) for o in self.outputs]

    @property
    def fixed(self) -> frozenset[str]:
        """Tensors whose type the converter does not take from the type asked for."""
        one, other = self.infos("F16"), self.infos("BF16")
        return frozenset(a.name for a, b in zip(one, other, strict=True) if a.dtype == b.dtype)

    def _intermediate_type(self, output: architectures.MappedTensor, float_type: str) -> str:
        if self.is_gguf or output.tensor.dtype not in FLOATS:
            return output.tensor.dtype
        return converter.intermediate_type(output.name, output.tensor.shape, float_type, output.store)

    def with_file_type(self, number: int) -> Metadata:
        """The metadata of a float file that the converter writes itself."""
        if metadata.FILE_TYPE not in self.metadata:  # some of llama.cpp's converters forget it
            return self.metadata
        return {**self.metadata, metadata.FILE_TYPE: Value.uint32(number)}


def read_model(
    checkpoint: checkpoints.Checkpoint,
    *,
    arch: str | None = None,
    pre: str | None = None,
    base: str | None = None,
    target: str | None = None,
    mtp: str = "keep",
) -> SourceModel:
    """The model in an open checkpoint.

    ``arch``: ``general.architecture`` for safetensors without a config, which a directory or several files must have.
    ``pre``: the pre-tokenizer's name.  ``base``: the model that an adapter is for.  ``target``: that a drafter is for.
    ``mtp``: whether to ``keep`` layers that predict further tokens, to make a file of these ``only``, or of ``none``.

    Raises InputError, UnsupportedError, TokenizerError, PlanError, FormatError as the rooms it asks do.
    """
    if mtp != "keep" and (checkpoint.kind == "adapter" or checkpoint.config is None):
        raise UsageError(f"--mtp {mtp} is for a model with a config.json", file=checkpoint.location)
    if checkpoint.kind == "adapter":
        if base is None:
            raise _lone_adapter(checkpoint)
        return _from_adapter(checkpoint, base)
    if base is not None:
        raise UsageError("--base is for an adapter, and this is a model", file=checkpoint.location)
    if checkpoint.metadata is not None:
        return _from_gguf(checkpoint, arch, pre)
    if checkpoint.config is None:
        return _plain(checkpoint, arch, pre)
    if arch is not None:
        raise UsageError("--arch is for safetensors without a config.json", file=checkpoint.location)
    return _from_config(checkpoint, pre, target, mtp)


def open_source(
    source: str | os.PathLike[str], options: ConvertOptions, *, keep_download: bool = False
) -> checkpoints.Checkpoint:
    """The checkpoint at ``source``, with the adapters merged in that ``options`` name, and Dense modules if asked for.

    ``keep_download``: what is read of the Hugging Face Hub is kept in its cache.

    Raises as ``checkpoints.open``, ``adapters.merge`` and ``checkpoints.add_dense``.
    """
    opener = checkpoints.open if options.base is None else checkpoints.open_adapter
    checkpoint = opener(source, keep_download=keep_download)
    try:
        if options.adapters:
            from qconv import adapters

            adapters.merge(checkpoint, options.adapters, keep_download=keep_download)
        if options.sentence_transformers_dense_modules:
            checkpoints.add_dense(checkpoint)
    except BaseException:
        checkpoint.close()
        raise
    return checkpoint


def _lone_adapter(checkpoint: checkpoints.Checkpoint) -> UnsupportedError:
    """The error for an adapter without its base; what to type has the base's own name where the adapter tells it."""
    said = (checkpoint.config or {}).get("base_model_name_or_path")
    base = said if isinstance(said, str) and said and " " not in said else None
    adapter = checkpoint.folder.location
    return UnsupportedError(
        f"holds a LoRA adapter, not a model: what changes in {base or 'one'}",
        file=checkpoint.location,
        hint=f"merge it: qconv convert {base or 'BASE'} --adapter {adapter}; or make a file of it for --lora: "
        f"qconv convert {adapter} --base {base or 'BASE'}",
    )


def _from_adapter(checkpoint: checkpoints.Checkpoint, base: str) -> SourceModel:
    from qconv import adapters

    with checkpoints.open(base) as opened:
        model = adapters.export(checkpoint, opened)
    general = metadata.gather(checkpoint.folder, metadata.Weights(total=-model.weights))
    keys = metadata.assemble(
        model.architecture,
        {"adapter.type": Value.string("lora"), **general.metadata()},
        model.keys,
        {},
        file_type=0,
        model_type="adapter",
    )
    return SourceModel(
        architecture=model.architecture,
        outputs=model.outputs,
        metadata=keys,
        float_type=_float_type(checkpoint),
        is_gguf=False,
        stem=checkpoint.folder.name,
        is_adapter=True,
        warnings=tuple(general.notes),
    )


def _from_gguf(checkpoint: checkpoints.Checkpoint, arch: str | None, pre: str | None) -> SourceModel:
    if arch is not None or pre is not None:
        raise UsageError("a GGUF file names its architecture and pre-tokenizer itself", file=checkpoint.location)
    resolved = architectures.resolve_gguf(checkpoint)
    return SourceModel(
        architecture=resolved.architecture,
        outputs=tuple(resolved.tensors),
        metadata=resolved.metadata,
        float_type="F16",
        is_gguf=True,
        stem=metadata.stem_of(checkpoint.name or "", mixes()),
    )


def _plain(checkpoint: checkpoints.Checkpoint, arch: str | None, pre: str | None) -> SourceModel:
    if pre is not None:
        raise UsageError("--pre needs a tokenizer, and without config.json none is read", file=checkpoint.location)
    if arch is None and (checkpoint.name is None or len(checkpoint.files) > 1):
        one = ", or convert the weights file alone" if len(checkpoint.files) == 1 else ""
        hint = f"get it from the model's repository{one}; --arch NAME makes a file that keeps the tensors' names"
        raise InputError(
            "holds no config.json, so no runtime would load the result", file=checkpoint.folder.location, hint=hint
        )
    resolved = architectures.resolve_plain(checkpoint, arch or "unknown")
    float_type = _float_type(checkpoint)
    stem = metadata.stem_of(checkpoint.name or checkpoint.folder.name, mixes())
    general = metadata.lone(stem, metadata.count(checkpoint.tensors.values()))
    return SourceModel(
        architecture=resolved.architecture,
        outputs=tuple(resolved.tensors),
        metadata=metadata.assemble(
            resolved.architecture, general.metadata(), resolved.metadata, {}, file_type=formats.file_types()[float_type]
        ),
        float_type=float_type,
        is_gguf=False,
        stem=stem,
        lone=True,
        dropped=tuple(resolved.dropped),
        warnings=(
            *checkpoint.notes,
            "no config.json beside the weights: tensors keep their names and there is no tokenizer;"
            " llama.cpp and other runtimes will not load the file",
        ),
    )


def _from_config(checkpoint: checkpoints.Checkpoint, pre: str | None, target: str | None, mtp: str) -> SourceModel:
    assert checkpoint.config is not None
    aim = None if target is None else open_target(target)
    resolved = architectures.resolve(checkpoint, None if aim is None else read_object(aim, "config.json"), mtp)
    notes = [*checkpoint.notes, *resolved.notes]
    vocabulary = read_vocabulary(checkpoint, resolved, aim, pre, notes)
    notes += _modules_left_out(checkpoint, resolved)
    doubts = consistency.check(checkpoint.folder, resolved)
    check_vocabulary(checkpoint.folder, tuple(resolved.tensors), vocabulary)
    return of_checkpoint(checkpoint, resolved, vocabulary, [*notes, *doubts])


def of_checkpoint(
    checkpoint: checkpoints.Checkpoint,
    resolved: architectures.Resolved,
    vocabulary: Metadata,
    warnings: list[str],
    part: ModelPart = "text",
) -> SourceModel:
    """A resolved part of a checkpoint's model with what the files beside it say of the whole."""
    outputs = tuple(resolved.tensors)
    weights = metadata.count(TensorInfo(o.name, o.tensor.dtype, o.tensor.shape) for o in outputs)
    general = metadata.gather(checkpoint.folder, weights, checkpoint.config)
    float_type = _float_type(checkpoint)
    return SourceModel(
        architecture=resolved.architecture,
        outputs=outputs,
        metadata=metadata.assemble(
            resolved.architecture,
            general.metadata(),
            resolved.metadata,
            vocabulary,
            file_type=formats.file_types()[float_type],
            model_type=metadata.PROJECTOR if part == "projector" else "model",
        ),
        float_type=float_type,
        is_gguf=False,
        stem="model" if checkpoint.name is None else metadata.stem_of(checkpoint.name, mixes()),
        part=part,
        dropped=tuple(resolved.dropped),
        warnings=(*warnings, *general.notes, *_better_source(checkpoint, general)),
    )


def _better_source(checkpoint: checkpoints.Checkpoint, general: metadata.General) -> list[str]:
    """What the card of a quantized checkpoint names as its base, where that is not quantized itself."""
    bases = [base["repo_url"] for base in general.base_models or [] if base.get("repo_url")]
    plain = [url for url in bases if not checkpoints.names_quantization(url)]
    if checkpoint.quantized_by is None or len(bases) != 1 or not plain:
        return []
    return [
        f"the weights are quantized by '{checkpoint.quantized_by}'; if {plain[0]} is what was quantized, convert that"
    ]


def _modules_left_out(checkpoint: checkpoints.Checkpoint, resolved: architectures.Resolved) -> list[str]:
    """What to tell of modules behind an embedding model that the file will not have."""
    made = {source for output in resolved.tensors for source in output.tensor.sources}
    left = [
        (k, path) for k, path in checkpoints.further_modules(checkpoint.folder) if f"{path}.linear.weight" not in made
    ]
    if not left:
        return []
    named = ", ".join(path or kind for kind, path in left)
    known = resolved.table is not None and "dense_2.weight" in architectures.load_table(resolved.table).tensors
    possible = known and all(kind == "Dense" for kind, _ in left)
    way = "--sentence-transformers-dense-modules writes them" if possible else "llama.cpp has no place for them here"
    return [f"sentence-transformers' modules are left out, so embeddings will be others: {named} ({way})"]


def _float_type(checkpoint: checkpoints.Checkpoint) -> str:
    """The 16-bit type of the first matrix that has one, as llama.cpp's ``--outtype auto`` finds it; else F32.

    (llama.cpp would round weights stored in F32 to F16 there; nothing is rounded on the way here, nor is what an
    adapter adds, which may be less than 16 bits can tell.)
    """
    if checkpoint.adapters:
        return "F32"
    for info in checkpoint.stored.values():
        if len(info.shape) >= 2 and info.dtype in ("BF16", "F16"):
            return info.dtype
    return "F32"
