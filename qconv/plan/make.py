"""Makes plans: a source and options become, for each type asked for, everything a conversion needs to know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from qconv import checkpoints, gguf, metadata, policy
from qconv.calibration import Imatrix, read_imatrix
from qconv.errors import OutputError, PlanError, UsageError
from qconv.options import ConvertOptions
from qconv.plan.source_model import SourceModel, read_model
from qconv.plan.types import OutputFile, Plan, TensorPlan
from qconv.tensors import Dequantized, LazyTensor, is_blocks
from qconv.types import Metadata, TensorInfo, shape_text, without_leading_ones


def make(checkpoint: checkpoints.Checkpoint, options: ConvertOptions) -> tuple[Plan, ...]:
    """A plan for every output that ``options`` ask of an open checkpoint; reads no weight.

    Raises UsageError, InputError (and its kin) and PlanError.
    """
    if options.mix is not None:
        mixes = [policy.load_mix(options.mix)]
    else:
        mixes = list({mix.name: mix for mix in map(policy.find_mix, options.types)}.values())
    importance = None
    if options.imatrix is not None:
        importance = read_imatrix(options.imatrix, options.include_weights, options.exclude_weights)
        importance = replace(importance, file=options.imatrix_name or importance.file)
    model = read_model(checkpoint, arch=options.arch, pre=options.pre, base=options.base)
    if model.is_adapter and not all(mix.is_float for mix in mixes):
        raise UsageError("an adapter's file is made in f16, bf16 or f32", file=checkpoint.location, hint="--type f16")
    model = replace(model, metadata=gguf.packed(model.metadata))  # once for all types
    _check_dimensions(checkpoint.location, model.infos(model.float_type))
    plans = tuple(_plan(checkpoint, model, mix, options, importance) for mix in mixes)
    _refuse_same_names(plans)
    return plans


def directory(checkpoint: checkpoints.Checkpoint, options: ConvertOptions) -> Path:
    """Where the outputs go: the directory asked for, that of the file asked for, or the source's.

    The current directory, where the source is not on this machine.
    """
    if options.output is None:
        return checkpoint.directory or Path.cwd()
    output = Path(options.output)
    chosen = output if output.is_dir() else output.parent
    if not chosen.is_dir():
        raise OutputError("is not a directory", file=chosen, hint="make it first, with mkdir -p")
    return chosen


def _plan(
    checkpoint: checkpoints.Checkpoint,
    model: SourceModel,
    mix: policy.Mix,
    options: ConvertOptions,
    importance: Imatrix | None,
) -> Plan:
    by_converter = mix.is_float and not model.is_gguf
    choice = _choice(model, mix, options, importance)
    if options.strict and choice.fallbacks:
        _refuse_fallbacks(choice.fallbacks)
    selected = {} if importance is None else policy.select_importance(importance, choice.decisions)
    if by_converter:
        keys = metadata.overridden(model.with_file_type(choice.file_type), options.metadata_overrides)
    else:
        keys = metadata.quantized(
            model.metadata,
            file_type=choice.file_type,
            overrides=options.metadata_overrides,
            imatrix=None if importance is None else importance.metadata(),
        )
    name = _name(model, mix, keys, options)
    shapes = {
        d.name: d.shape if by_converter or not d.shape else without_leading_ones(d.shape) for d in choice.decisions
    }
    infos = [TensorInfo(d.name, d.type, shapes[d.name]) for d in choice.decisions]
    files, places = _lay_out(keys, infos, name, options.split_max_size)
    sources = {o.name: o.tensor for o in model.outputs}
    tensors = tuple(
        TensorPlan(
            name=d.name,
            shape=shapes[d.name],
            tensor=_dequantized(sources[d.name], d.type),
            intermediate_type=d.intermediate_type,
            block_type=d.type,
            reason=d.reason if d.wanted is None else f"{d.reason}; rows of {d.shape[-1]} do not fit {d.wanted}",
            wanted=d.wanted,
            file=places[d.name][0],
            offset=places[d.name][1].offset,
            size=places[d.name][1].size,
            importance=selected.get(d.name),
        )
        for d in choice.decisions
    )
    return Plan(
        mix=mix.name,
        search=options.search,
        files=files,
        tensors=tensors,
        sources=tuple(file.identity() for file in checkpoint.files),
        warnings=(*model.warnings, *choice.notes),
        dropped=model.dropped,
        non_finite="refuse" if not mix.is_float else "keep" if options.allow_non_finite else "ask",
    )


def _choice(model: SourceModel, mix: policy.Mix, options: ConvertOptions, importance: Imatrix | None) -> policy.Choice:
    """Types in llama.cpp's two stages; a float file of a checkpoint takes the first alone."""
    if mix.is_float and not model.is_gguf:
        return policy.converter.choose(model.infos(mix.type), model.fixed, mix, options.type_overrides)
    return policy.quantizer.choose(
        model.infos(model.float_type),
        policy.hparams_from_metadata(model.architecture, model.metadata),
        mix,
        options.type_overrides,
        carry_blocks=not model.is_gguf,
        imatrix=None if importance is None else importance.entries,
    )


def _dequantized(tensor: LazyTensor, block_type: str) -> LazyTensor:
    """``tensor``, its blocks decoded where they are to become another type."""
    return Dequantized(tensor) if is_blocks(tensor.dtype) and tensor.dtype != block_type else tensor


def _check_dimensions(location: str, infos: Sequence[TensorInfo]) -> None:
    for info in infos:
        if len(info.shape) > gguf.limits.DIMENSIONS:
            most = gguf.limits.DIMENSIONS
            raise PlanError(
                f"has {len(info.shape)} dimensions, {shape_text(info.shape)}; a GGUF file holds at most {most}",
                file=location,
                tensor=info.name,
                hint="leave the tensor out of the file, or fold two of its dimensions into one",
            )


def _refuse_fallbacks(fallbacks: Sequence[policy.Decision]) -> None:
    first = fallbacks[0]
    raise PlanError(
        f"rows of {first.shape[-1]} weights do not fit {first.wanted}; it would become {first.type}"
        + (f", and {len(fallbacks) - 1} more tensors likewise" if len(fallbacks) > 1 else ""),
        tensor=first.name,
        hint="leave --strict out to accept it, or choose a type with blocks of 32, such as q8_0",
    )


def _lay_out(
    keys: Metadata, infos: Sequence[TensorInfo], name: str, split_max_size: int | None
) -> tuple[tuple[OutputFile, ...], dict[str, tuple[int, gguf.Tensor]]]:
    """The output's files, and for every tensor its file's number and its place there."""
    if split_max_size is None:
        layouts = [(name, gguf.header(keys, infos))]
    else:
        shards = gguf.divide(infos, split_max_size)
        layouts = [
            (
                gguf.shard_path(Path(name), number, len(shards)).name,
                gguf.header(gguf.shard_metadata(keys, number, len(shards), len(infos)), shard),
            )
            for number, shard in enumerate(shards)
        ]
    files = tuple(OutputFile(file, layout.header, layout.size) for file, layout in layouts)
    places = {tensor: (at, t) for at, (_, layout) in enumerate(layouts) for tensor, t in layout.tensors.items()}
    return files, places


def _name(model: SourceModel, mix: policy.Mix, keys: Metadata, options: ConvertOptions) -> str:
    """The output's file name, the whole one's when it is split."""
    if options.output is None or Path(options.output).is_dir():
        return metadata.file_name({} if model.lone else keys, mix.name, model.stem)
    return Path(options.output).name


def _refuse_same_names(plans: Sequence[Plan]) -> None:
    seen: set[str] = set()
    for file in (file for plan in plans for file in plan.files):
        if file.name in seen:
            raise UsageError("two outputs would have this name", file=file.name)
        seen.add(file.name)
