"""Weights that a checkpoint has quantized already, kept in the block types that hold the same numbers.

Those of a plain checkpoint that were trained to lie on a block type's grid are such weights too; looking at a few rows
tells.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from qconv import formats, policy
from qconv.architectures import MappedTensor
from qconv.plan.source_model import SourceModel
from qconv.tensors import Constant, is_blocks
from qconv.tensors.quantized import Lossless, OnGrid, is_on_grid, lossless, may_be_on_grid


@dataclass(frozen=True, slots=True)
class KeptModel:
    """``model`` with the tensors that are kept in their block types.

    ``kept``: by name what keeps them; ``lost``: by name why a quantized tensor is not; ``stored``: by name the type of
    the others, which a float mix leaves as it is.
    """

    model: SourceModel
    kept: dict[str, Lossless] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)
    stored: dict[str, str] = field(default_factory=dict)

    def choice(self, choice: policy.Choice, mix: policy.Mix) -> policy.Choice:
        """``choice`` with the reasons for what is kept and what is not, and the file type that most weights have."""
        decisions = tuple(self._decision(decision, mix) for decision in choice.decisions)
        weights: Counter[str] = Counter()
        for decision in decisions:
            weights[decision.type] += decision.weights
        most = weights.most_common(1)[0][0] if weights else "F32"
        number = formats.file_types().get("MXFP4_MOE" if most == "MXFP4" else most, choice.file_type)
        return replace(choice, decisions=decisions, file_type=number, notes=(*choice.notes, *self._notes()))

    def _decision(self, decision: policy.Decision, mix: policy.Mix) -> policy.Decision:
        kept = self.kept.get(decision.name)
        if kept is not None:
            rounded = f", {kept.how}" if kept.how else ""
            reason = f"kept as it is quantized{rounded}"
            before = decision.type if is_blocks(kept.tensor.dtype) else "F32"
            return replace(decision, type=kept.block_type, intermediate_type=before, reason=reason, wanted=None)
        if decision.name in self.lost:
            return replace(decision, reason=f"{decision.reason}; not kept: {self.lost[decision.name]}")
        if mix.is_float and decision.reason == "default":
            stored = self.stored[decision.name]
            return replace(decision, type=stored, intermediate_type=stored, reason="as it is stored", wanted=None)
        return decision

    def _notes(self) -> Iterator[str]:
        for why, count in Counter(self.lost.values()).items():
            yield f"{count} quantized tensors are not kept: {why}"
        if not self.kept and not self.lost:
            yield "no weight of the checkpoint is quantized in a way that could be kept"


def keep(model: SourceModel, overrides: policy.TypeOverrides) -> KeptModel:
    """Reads scales and zero points, and no codes; of plain weights a few rows.

    What ``overrides`` give a type is not kept.  The second scale of NVFP4 becomes a tensor of its own, ``NAME.scale``,
    which llama.cpp multiplies with.
    """
    if model.is_gguf:
        return KeptModel(model)
    kept: dict[str, Lossless] = {}
    lost: dict[str, str] = {}
    stored: dict[str, str] = {}
    outputs: list[MappedTensor] = []
    given = {info.name for info in model.infos(model.float_type) if overrides.are_about(info)}
    on_grid = {output.name for output in _on_grid(model)} - given
    for output in model.outputs:
        result = None if output.name in given else lossless(output.tensor)
        if output.name in on_grid:
            result = Lossless(OnGrid(output.tensor), "Q4_0", f"by the grid its {output.tensor.dtype} weights lie on")
        if isinstance(result, Lossless):
            kept[output.name] = result
            outputs.append(replace(output, tensor=result.tensor))
            if result.scale:
                name = f"{output.name.removesuffix('.weight')}.scale"
                outputs.append(MappedTensor(name, Constant(name, np.array(result.scale, np.float32))))
                stored[name] = "F32"
            continue
        if isinstance(result, str):
            lost[output.name] = result
        else:
            stored[output.name] = output.tensor.dtype
        outputs.append(output)
    return KeptModel(replace(model, outputs=tuple(outputs)), kept, lost, stored)


def lies_on_grid(model: SourceModel) -> bool:
    """Whether the first and the last of the plain matrices that have the commonest shape lie on the grid of Q4_0."""
    if model.is_gguf:
        return False
    alike = max(_alike(model), key=len, default=[])
    return len(alike) > 0 and is_on_grid(alike[0].tensor) and is_on_grid(alike[-1].tensor)


def _on_grid(model: SourceModel) -> Iterator[MappedTensor]:
    """Plain weights on the grid of Q4_0: where neither the first nor the last of a shape is, none is looked for."""
    for alike in _alike(model):
        if is_on_grid(alike[0].tensor) or is_on_grid(alike[-1].tensor):
            yield from (output for output in alike if is_on_grid(output.tensor))


def _alike(model: SourceModel) -> Sequence[list[MappedTensor]]:
    """Plain matrices that may have any type, those of one shape together."""
    shapes: dict[tuple[int, ...], list[MappedTensor]] = {}
    fixed = model.fixed
    for output in model.outputs:
        if output.name not in fixed and may_be_on_grid(output.tensor):
            shapes.setdefault(output.tensor.shape, []).append(output)
    return tuple(shapes.values())
