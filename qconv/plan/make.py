"""Makes plans: a source and options become, for each type asked for, everything a conversion needs to know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np
from numpy.typing import NDArray

from qconv import checkpoints, gguf, metadata, policy
from qconv.errors import OutputError, PlanError, UsageError
from qconv.options import ConvertOptions
from qconv.plan.layout import check_dimensions, lay_out, refuse_same_names
from qconv.plan.projector import naming_option, read_projector, told_once
from qconv.plan.source_model import SourceModel, read_model
from qconv.plan.types import Plan, Sized, TensorPlan
from qconv.tensors import FLOATS, Dequantized, LazyTensor, is_blocks
from qconv.types import Metadata, ModelPart, TensorInfo, Value, ValueType, without_leading_ones

if TYPE_CHECKING:
    from qconv.calibration import Imatrix, TensorHessian
    from qconv.plan.hessians import TensorHessians
    from qconv.plan.keep import KeptModel


def make(checkpoint: checkpoints.Checkpoint, options: ConvertOptions) -> tuple[Plan, ...]:
    """A plan for every type that ``options`` ask of an open checkpoint, of its projector too.

    Reads no weights but samples for a grid.  Raises UsageError, InputError (and its kin) and PlanError.
    """
    text: tuple[Plan, ...] = ()
    if options.of_text:
        planner = Planner(checkpoint, options)
        text = tuple(planner.plan(mix) for mix in planner.mixes())
    return with_projectors(text, checkpoint, options)


def with_projectors(
    text: tuple[Plan, ...], checkpoint: checkpoints.Checkpoint, options: ConvertOptions
) -> tuple[Plan, ...]:
    """Plans of a text model, and those that ``options`` ask for of its projector; raises as ``make``."""
    if options.mmproj:
        planner = Planner(checkpoint, options, "projector")
        plans = told_once((*text, *(planner.plan(mix) for mix in planner.mixes())))
    else:
        plans = tuple(naming_option(plan, checkpoint) for plan in text)
    refuse_same_names(plans)
    return plans


class Planner:
    """Plans of one part of a checkpoint with one set of options, which differ in the mix alone.

    Raises UsageError, InputError (and its kin) and PlanError.
    """

    def __init__(self, checkpoint: checkpoints.Checkpoint, options: ConvertOptions, part: ModelPart = "text") -> None:
        self.options = options = options if part == "text" else options.for_projector
        self.importance: Imatrix | None = None
        if options.imatrix is not None:
            from qconv.calibration import read_imatrix

            read = read_imatrix(options.imatrix, options.include_weights, options.exclude_weights)
            self.importance = replace(read, file=options.imatrix_name or read.file)
        self._hessians: TensorHessians | None = None
        if options.hessians is not None:
            from qconv.plan.hessians import TensorHessians

            self._hessians = TensorHessians(options.hessians)
        if part == "projector":
            model = read_projector(checkpoint)
        else:
            model = read_model(
                checkpoint,
                arch=options.arch,
                pre=options.pre,
                base=options.base,
                target=options.target,
                mtp=options.mtp,
            )
        self.model = replace(model, metadata=gguf.packed(model.metadata))  # once for all types
        self._location = checkpoint.location
        self._sources = tuple(file.identity() for file in checkpoint.files)
        check_dimensions(checkpoint.location, self.model.infos(self.model.float_type))

    def mixes(self) -> list[policy.Mix]:
        """Those the options name."""
        options = self.options
        if options.mix is not None:
            return [policy.load_mix(options.mix)]
        types = options.mmproj if self.model.part == "projector" else options.types
        return list({mix.name: mix for mix in map(policy.find_mix, types)}.values())

    @cached_property
    def _kept(self) -> KeptModel:
        from qconv.plan.keep import keep

        return keep(self.model, self.options.type_overrides)

    def choice(self, mix: policy.Mix) -> policy.Choice:
        """Types in llama.cpp's two stages; a float file of a checkpoint takes the first alone."""
        if not mix.keep:
            choice = self._choice(mix, self.model)
            return self._with_hint(choice) if mix.type == "Q4_0" else choice
        if mix.is_float:
            mix = msgspec.structs.replace(mix, type=self.model.float_type)
        return self._kept.choice(self._choice(mix, self._kept.model), mix)

    def _with_hint(self, choice: policy.Choice) -> policy.Choice:
        """``choice`` of Q4_0 with a note where the weights lie on that type's grid."""
        from qconv.plan.keep import lies_on_grid

        if not lies_on_grid(self.model):
            return choice
        note = "the weights were trained to lie on a grid of Q4_0: --type keep encodes them without loss"
        return replace(choice, notes=(*choice.notes, note))

    def _choice(self, mix: policy.Mix, model: SourceModel) -> policy.Choice:
        overrides = self.options.type_overrides
        if self._by_converter(mix):
            return policy.converter.choose(model.infos(mix.type), model.fixed, mix, overrides)
        return policy.quantizer.choose(
            model.infos(model.float_type),
            policy.hparams_from_metadata(model.architecture, model.metadata),
            mix,
            overrides,
            carry_blocks=not model.is_gguf,
            imatrix=None if self.importance is None else self.importance.entries,
        )

    def _by_converter(self, mix: policy.Mix) -> bool:
        return policy.converter.writes(mix, self.model.part) and not self.model.is_gguf

    def tensors(self) -> dict[str, LazyTensor]:
        """The model's tensors by their names in the output."""
        return {output.name: output.tensor for output in self.model.outputs}

    def importances(self, decisions: Sequence[policy.Decision]) -> Mapping[str, NDArray[np.float32]]:
        """Importance ``(matrices, columns)`` of the tensors that become blocks and have one."""
        return {} if self.importance is None else policy.select_importance(self.importance, decisions)

    def hessians(self, decisions: Sequence[policy.Decision]) -> Mapping[str, TensorHessian]:
        """Hessians of the tensors whose rounding goes by them, ``decisions`` being about all of the model's."""
        return {} if self._hessians is None else self._hessians.of(decisions, self.tensors())

    def plan(
        self,
        mix: policy.Mix,
        choice: policy.Choice | None = None,
        *,
        sized: Sized | None = None,
        losses: Mapping[str, float] | None = None,
    ) -> Plan:
        """The plan of ``mix``; ``choice``: other types than the mix's.

        ``sized``: how they were chosen.  ``losses``: predicted KL divergence by tensor.
        """
        options, model = self.options, self.model
        if model.is_adapter and not mix.is_float:
            raise UsageError("an adapter's file is made in f16, bf16 or f32", file=self._location, hint="--type f16")
        choice = choice or self.choice(mix)
        if options.strict and choice.fallbacks:
            _refuse_fallbacks(choice.fallbacks)
        importances = self.importances(choice.decisions)
        hessians = self.hessians(choice.decisions)
        unseen = () if self._hessians is None else self._hessians.notes(choice.decisions, hessians)
        by_converter = self._by_converter(mix)
        keys = self._metadata(choice, by_converter, sized, losses)
        shapes = {
            d.name: d.shape if by_converter or not d.shape else without_leading_ones(d.shape) for d in choice.decisions
        }
        infos = [TensorInfo(d.name, d.type, shapes[d.name]) for d in choice.decisions]
        files, places = lay_out(keys, infos, self._name(mix, keys, infos, sized), options.split_max_size)
        sources = {output.name: output.tensor for output in (self._kept.model if mix.keep else model).outputs}
        tensors = tuple(
            TensorPlan(
                name=d.name,
                shape=shapes[d.name],
                tensor=dequantized(sources[d.name], d.type),
                intermediate_type=_rounded_to(sources[d.name], d.intermediate_type),
                block_type=d.type,
                reason=_reason(d, d.name in hessians),
                wanted=d.wanted,
                file=places[d.name][0],
                offset=places[d.name][1].offset,
                size=places[d.name][1].size,
                importance=importances.get(d.name),
                hessian=hessians.get(d.name),
                loss=None if losses is None else losses.get(d.name),
            )
            for d in choice.decisions
        )
        return Plan(
            mix=mix.name,
            search=options.search,
            files=files,
            tensors=tensors,
            sources=self._sources,
            warnings=(*model.warnings, *choice.notes, *unseen),
            dropped=model.dropped,
            non_finite="refuse" if not mix.is_float else "keep" if options.allow_non_finite else "ask",
            sized=sized,
            part=model.part,
        )

    def _metadata(
        self, choice: policy.Choice, by_converter: bool, sized: Sized | None, losses: Mapping[str, float] | None
    ) -> Metadata:
        overrides = self.options.metadata_overrides
        if by_converter:
            return metadata.overridden(self.model.with_file_type(choice.file_type), overrides)
        keys = metadata.quantized(
            self.model.metadata,
            file_type=choice.file_type,
            overrides=overrides,
            imatrix=None if self.importance is None else self.importance.metadata(),
        )
        if sized is None or sized.by_mix:
            return keys
        return {**keys, **_sized_keys(sized, [(losses or {}).get(d.name, 0.0) for d in choice.decisions])}

    def _name(self, mix: policy.Mix, keys: Metadata, infos: Sequence[TensorInfo], sized: Sized | None) -> str:
        """The output's file name, the whole one's when it is split."""
        if self.options.output is not None and not Path(self.options.output).is_dir():
            return Path(self.options.output).name
        bits = None
        if sized is not None:
            bits = sum(map(gguf.tensor_bytes, infos)) * 8 / max(1, sum(info.weights for info in infos))
        projector = self.model.part == "projector" or metadata.is_projector(keys)
        prefix = "mmproj-" if projector else "mtp-" if self.options.mtp == "only" else ""
        if self.model.lone:
            keys = {}
        if prefix:  # llama.cpp's converter gives such files a name without a size
            keys = {key: value for key, value in keys.items() if key != "general.size_label"}
        name = metadata.file_name(keys, mix.name, self.model.stem, bits=bits)
        return prefix + name.removeprefix(prefix)


def _reason(d: policy.Decision, compensated: bool) -> str:
    reason = d.reason if d.wanted is None else f"{d.reason}; rows of {d.shape[-1]} do not fit {d.wanted}"
    return f"{reason}; GPTQ" if compensated else reason


def _sized_keys(sized: Sized, losses: Sequence[float]) -> Metadata:
    """What the file says of how its types were chosen; as long for every choice.

    ``losses``: predicted KL divergence of each tensor, in their order.
    """
    keys = {
        "qconv.size.limit": Value(ValueType.UINT64, sized.limit),
        "qconv.size.method": Value.string(sized.method),
    }
    if sized.predicted is not None:
        keys["qconv.size.calibration"] = Value.string(sized.calibration)
        keys["qconv.size.predicted_kl_divergence"] = Value.float32(sized.predicted)
        keys["qconv.size.predicted_by_tensor"] = Value.array(ValueType.FLOAT32, np.array(losses, np.float32))
    return keys


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


def dequantized(tensor: LazyTensor, block_type: str) -> LazyTensor:
    """``tensor``, its blocks decoded where they are to become another type."""
    return Dequantized(tensor) if is_blocks(tensor.dtype) and tensor.dtype != block_type else tensor


def _rounded_to(tensor: LazyTensor, intermediate_type: str) -> str:
    """``intermediate_type``, but F32 for floats that the converter itself would make blocks of."""
    made_blocks = tensor.dtype in FLOATS and is_blocks(intermediate_type)
    return "F32" if made_blocks else intermediate_type


def _refuse_fallbacks(fallbacks: Sequence[policy.Decision]) -> None:
    first = fallbacks[0]
    raise PlanError(
        f"rows of {first.shape[-1]} weights do not fit {first.wanted}; it would become {first.type}"
        + (f", and {len(fallbacks) - 1} more tensors likewise" if len(fallbacks) > 1 else ""),
        tensor=first.name,
        hint="leave --strict out to accept it, or choose a type with blocks of 32, such as q8_0",
    )
