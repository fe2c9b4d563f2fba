"""Makes plans: a source and a request become, for each type asked for, everything convert needs to know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from qconv import checkpoints, gguf, metadata, policy
from qconv.errors import OutputError, PlanError, UsageError
from qconv.formats import block_types
from qconv.plan.decoded import Decoded
from qconv.plan.model import Model, read_model
from qconv.plan.request import Request
from qconv.plan.types import OutputFile, Plan, TensorPlan
from qconv.policy.imatrix import Imatrix, read_imatrix
from qconv.types import Metadata, Recipe, TensorInfo, Value


def make(checkpoint: checkpoints.Checkpoint, request: Request) -> tuple[Plan, ...]:
    """A plan for every output that ``request`` asks of an open checkpoint; reads no weight.

    Raises UsageError, InputError (and its kin) and PlanError.
    """
    mixes = _mixes(request)
    options = policy.options(
        tensor_types=request.tensor_types,
        output_tensor_type=request.output_tensor_type,
        token_embedding_type=request.token_embedding_type,
        pure=request.pure,
        leave_output_tensor=request.leave_output_tensor,
        allow_requantize=request.allow_requantize,
    )
    overrides = [metadata.parse_override(text) for text in request.override_kv]
    importance = None
    if request.imatrix is not None:
        importance = read_imatrix(request.imatrix, request.include_weights, request.exclude_weights)
        importance = replace(importance, file=request.imatrix_name or importance.file)
    model = read_model(checkpoint, arch=request.arch, pre=request.pre)
    model = replace(model, metadata=gguf.packed(model.metadata))
    plans = tuple(_plan(checkpoint, model, mix, request, options, overrides, importance) for mix in mixes)
    _refuse_same_names(plans)
    return plans


def directory(checkpoint: checkpoints.Checkpoint, request: Request) -> Path:
    """Where the outputs go: the directory asked for, that of the file asked for, or the source's."""
    if request.output is None:
        return checkpoint.directory
    found = request.output if request.output.is_dir() else request.output.parent
    if not found.is_dir():
        raise OutputError("is no directory", file=found, hint="make it first, with mkdir -p")
    return found


def _mixes(request: Request) -> list[policy.Mix]:
    if request.mix is not None and request.types:
        raise UsageError("--mix and --type cannot be used together", hint="the mix file takes the type's place")
    if request.mix is not None:
        return [policy.load_mix(request.mix)]
    if not request.types:
        raise UsageError("no type asked for", hint="add --type q4_k_m; `qconv convert --help` lists the types")
    found = [policy.find_mix(name) for name in request.types]
    return list({mix.name: mix for mix in found}.values())


def _plan(
    checkpoint: checkpoints.Checkpoint,
    model: Model,
    mix: policy.Mix,
    request: Request,
    options: policy.Options,
    overrides: Sequence[tuple[str, Value]],
    importance: Imatrix | None,
) -> Plan:
    by_converter = mix.is_float and not model.is_gguf
    infos = model.infos(mix.type if by_converter else model.float_type)
    _check_dimensions(checkpoint.path, infos)
    fixed = None if model.is_gguf else _fixed(model)
    facts = policy.facts_from_metadata(model.architecture, model.metadata)
    entries = None if importance is None else importance.entries or None
    choice = policy.choose(infos, facts, mix, options, fixed=fixed, imatrix=entries)
    if request.strict and choice.fallbacks:
        _refuse_fallbacks(choice.fallbacks)
    selected = {} if importance is None else importance.select(choice.decisions)
    if by_converter:
        keys = metadata.overridden(model.with_file_type(choice.file_type), overrides)
    else:
        keys = metadata.quantized(
            model.metadata,
            file_type=choice.file_type,
            overrides=overrides,
            imatrix=None if importance is None else importance.metadata(),
        )
    name = _name(model, mix, keys, request)
    shapes = {d.name: d.shape if by_converter else _without_leading_ones(d.shape) for d in choice.decisions}
    infos = [TensorInfo(d.name, d.type, shapes[d.name]) for d in choice.decisions]
    files, places = _lay_out(keys, infos, name, request)
    recipes = {o.name: o.recipe for o in model.outputs}
    tensors = tuple(
        TensorPlan(
            name=d.name,
            shape=shapes[d.name],
            recipe=_decoded(recipes[d.name], d.type),
            stored=d.stored,
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
        search=request.search,
        files=files,
        tensors=tensors,
        sources=tuple(_stamp(path) for path in checkpoint.files),
        warnings=(*model.warnings, *choice.notes),
        dropped=model.dropped,
    )


def _decoded(recipe: Recipe, block_type: str) -> Recipe:
    """``recipe``, its blocks decoded where they are to become another type."""
    layout = block_types().get(recipe.dtype)
    carried_over = layout is None or layout.weights == 1 or recipe.dtype == block_type
    return recipe if carried_over else Decoded(recipe)


def _check_dimensions(path: Path, infos: Sequence[TensorInfo]) -> None:
    for info in infos:
        if len(info.shape) > gguf.limits.DIMENSIONS:
            shape = " x ".join(map(str, info.shape))
            raise PlanError(
                f"has {len(info.shape)} dimensions, {shape}; a GGUF file holds at most {gguf.limits.DIMENSIONS}",
                file=path,
                tensor=info.name,
                hint="leave the tensor out of the file, or fold two of its dimensions into one",
            )


def _without_leading_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """As ggml writes a tensor: it counts dimensions up to the last that is not 1."""
    first = next((i for i, n in enumerate(shape) if n != 1), max(0, len(shape) - 1))
    return shape[first:]


def _fixed(model: Model) -> frozenset[str]:
    """Tensors whose type the converter does not take from the type asked for."""
    return frozenset(o.name for o in model.outputs if model.stored(o, "F16") == model.stored(o, "BF16"))


def _refuse_fallbacks(fallbacks: Sequence[policy.Decision]) -> None:
    first = fallbacks[0]
    raise PlanError(
        f"rows of {first.shape[-1]} weights do not fit {first.wanted}; it would become {first.type}"
        + (f", and {len(fallbacks) - 1} more tensors likewise" if len(fallbacks) > 1 else ""),
        tensor=first.name,
        hint="leave --strict out to accept it, or choose a type with blocks of 32, such as q8_0",
    )


def _lay_out(
    keys: Metadata, infos: Sequence[TensorInfo], name: str, request: Request
) -> tuple[tuple[OutputFile, ...], dict[str, tuple[int, gguf.Tensor]]]:
    """The output's files, and for every tensor its file's number and its place there."""
    if request.split_max_size is None:
        layouts = [(name, gguf.header(keys, infos))]
    else:
        shards = gguf.divide(infos, request.split_max_size)
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


def _name(model: Model, mix: policy.Mix, keys: Metadata, request: Request) -> str:
    """The output's file name, the whole one's when it is split."""
    if request.output is None or request.output.is_dir():
        return metadata.file_name({} if model.lone else keys, mix.name, model.stem)
    if len(request.types) > 1:
        raise UsageError(f"several types cannot go to one file '{request.output}'", hint="give a directory that exists")
    if request.output.suffix.lower() != ".gguf":
        hint = "make the directory first, with mkdir -p, or end the file's name in .gguf"
        raise UsageError(
            "--output: is neither a directory nor the name of a .gguf file", file=request.output, hint=hint
        )
    return request.output.name


def _refuse_same_names(plans: Sequence[Plan]) -> None:
    seen: set[str] = set()
    for file in (file for plan in plans for file in plan.files):
        if file.name in seen:
            raise UsageError("two outputs would have this name", file=file.name)
        seen.add(file.name)


def _stamp(path: Path) -> tuple[str, int, int]:
    stat = path.stat()
    return (str(path.absolute()), stat.st_size, stat.st_mtime_ns)
