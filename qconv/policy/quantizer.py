"""llama.cpp's second stage: which block type its quantizer gives each tensor, and why.

Source of every rule: llama.cpp's ``llama-quant.cpp``.  The mix's table holds what differs between types; here is what
holds for all: what is never quantized, the user's overrides, the counters, and rows that fit no block.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

from qconv import formats
from qconv.errors import PlanError, UsageError, and_more
from qconv.policy import roles
from qconv.policy.conditions import CONDITIONS, Situation
from qconv.policy.decision import Choice, Decision
from qconv.policy.fitting import fitting
from qconv.policy.hparams import HParams
from qconv.policy.mixes import Mix, words
from qconv.policy.overrides import TypeOverrides
from qconv.tensors import FLOATS
from qconv.types import TensorInfo

_UNMEASURED = ("output", "token_embd")
"""Roles that llama-imatrix measures no importance of, unless it is asked to."""


def choose(
    tensors: Sequence[TensorInfo],
    hparams: HParams,
    mix: Mix,
    overrides: TypeOverrides | None = None,
    *,
    carry_blocks: bool = False,
    imatrix: Collection[str] | None = None,
) -> Choice:
    """A block type for every tensor.

    ``tensors``: GGUF names, row-major shapes, and the type each has when quantizing begins: for a GGUF what its header
    says, for a checkpoint what llama.cpp's converter would write.  ``carry_blocks``: tensors that are blocks already
    stay what they are, as a checkpoint's; a GGUF's are quantized again or refused.  ``imatrix``: names of tensors an
    importance matrix covers; ``None`` when none is given, and none at all is the same.

    Raises UsageError when the mix needs an importance matrix that is missing, PlanError when a GGUF's tensors are
    quantized already and requantizing is not allowed.
    """
    run = _Quantizer(tensors, hparams, mix, overrides or TypeOverrides(), carry_blocks, imatrix or None)
    by_name = {t.name: t for t in tensors}
    decisions = tuple(run.decide(by_name[name]) for name in roles.in_order(t.name for t in tensors))
    run.check_requantizing(decisions)
    run.check_imatrix(decisions)
    assert mix.file_type is not None  # checked when the mix was loaded
    return Choice(decisions, mix.file_type, tuple(run.notes(decisions)))


class _Quantizer:
    """One run over a model's tensors; the running counts make the order of calls matter."""

    def __init__(
        self,
        tensors: Sequence[TensorInfo],
        hparams: HParams,
        mix: Mix,
        overrides: TypeOverrides,
        carry_blocks: bool,
        imatrix: Collection[str] | None,
    ) -> None:
        self.hparams, self.mix, self.overrides, self.imatrix = hparams, mix, overrides, imatrix
        self.carry_blocks = carry_blocks and not overrides.allow_requantize
        self.types = formats.block_types()
        named = [roles.role(t.name) for t in tensors]
        self.tied = "output" not in named
        values = roles.members()["attn_values"]
        self.values, self.n_values = values, sum(r in values for r in named)
        self.seen: Counter[str] = Counter()
        self.asked: list[str] = []

    def decide(self, tensor: TensorInfo) -> Decision:
        kept = self._kept(tensor)
        if kept is not None:
            return Decision(tensor.name, tensor.shape, tensor.dtype, tensor.dtype, kept)
        self.asked.append(tensor.name)
        wanted, reason, free = self._wanted(tensor, roles.role(tensor.name))
        used = fitting(tensor, wanted)
        fallen = None if used == wanted else wanted
        return Decision(tensor.name, tensor.shape, tensor.dtype, used, reason, fallen, free)

    def _kept(self, tensor: TensorInfo) -> str | None:
        """Why the tensor keeps the type it has."""
        block = self.types.get(tensor.dtype)
        if block is None or (block.weights == 1 and tensor.dtype not in FLOATS):
            return "not a float"
        if self.carry_blocks and block.weights > 1:
            return "blocks of the checkpoint, carried over"
        if self.overrides.leave_output_tensor and tensor.name == "output.weight":
            return "output tensor left as it is"
        return roles.why_kept(tensor.name, tensor.shape, self.hparams.architecture)

    def _wanted(self, tensor: TensorInfo, role: str) -> tuple[str, str, bool]:
        """The type before the row length is looked at, the reason, and whether it is the mix's alone."""
        if given := self.overrides.of_role(tensor):
            return *given, False
        if self.mix.is_float:
            return self.mix.type, "default", False
        if manual := self.overrides.tensor_type(tensor.name):
            return manual.type, "tensor type given", False
        if tensor.name in self.mix.tensors:
            return self.mix.tensors[tensor.name], "named by the mix", False
        if self.overrides.pure:
            return self.mix.type, "pure", False
        return self._by_mix(tensor, role)

    def _by_mix(self, tensor: TensorInfo, role: str) -> tuple[str, str, bool]:
        for floor in roles.table().floors:
            if floor.architecture == self.hparams.architecture and floor.match(tensor.name):
                return floor.type, f"at least {floor.type}", False
        is_output = role == "output" or (self.tied and role == "token_embd")
        situation = self._situation(tensor, role)
        if is_output and self.overrides.output_tensor_type:
            return self.overrides.output_tensor_type, "output tensor type given", False
        for rule in self.mix.rules:
            if ("output" if is_output else role) in rule.roles and _applies(rule.when, rule.unless, situation):
                return rule.use, f"{rule.reason} (tied)" if is_output and role != "output" else rule.reason, True
        return self.mix.type, "default", True

    def _situation(self, tensor: TensorInfo, role: str) -> Situation:
        """The tensor's place among its kind; counts it."""
        layer = roles.layer(tensor.name)
        kind = "attn_values" if role in self.values else role
        index, count = self.seen[kind], self.hparams.n_layer
        self.seen[kind] += 1
        if role in self.values:
            count = self.n_values
        elif layer is not None and (self.hparams.n_expert > 1 or not role.startswith("ffn_")):
            # several tensors a layer share the role: only the name says which layer this is
            index = layer
        return Situation(
            hparams=self.hparams,
            shape=tensor.shape,
            default_weights=self.types[self.mix.type].weights,
            index=index,
            count=count,
            has_imatrix=self.imatrix is not None,
        )

    def check_requantizing(self, decisions: Sequence[Decision]) -> None:
        again = [d for d in decisions if d.encodes and self.types[d.intermediate_type].weights > 1]
        if again and not self.overrides.allow_requantize:
            first = again[0]
            raise PlanError(
                f"is {first.intermediate_type} already and would become {first.type}, losing precision a second time"
                + (f"; {len(again) - 1} more tensors likewise" if len(again) > 1 else ""),
                tensor=first.name,
                hint="convert from the original weights, or accept the loss with --allow-requantize",
            )

    def check_imatrix(self, decisions: Sequence[Decision]) -> None:
        for d in decisions:
            role = roles.role(d.name)
            if not d.encodes or d.type not in self.mix.needs_imatrix or role in _UNMEASURED:
                continue
            if self.imatrix is None or d.name not in self.imatrix:
                raise UsageError(
                    f"{self.mix.name.lower()} needs an importance matrix for {d.type}"
                    + ("" if self.imatrix is None else ", and the one given has no entry for it"),
                    tensor=d.name,
                    hint="give one with --imatrix FILE, or choose another type",
                )

    def notes(self, decisions: Sequence[Decision]) -> list[str]:
        """What the user should know: requantized tensors, options without effect, gaps of the importance matrix."""
        notes = []
        again = Counter(
            d.intermediate_type for d in decisions if d.encodes and self.types[d.intermediate_type].weights > 1
        )
        for dtype, count in again.items():
            notes.append(f"{count} tensors are requantized from {dtype}: the loss of both adds up")
        notes += self.overrides.without_effect(self.asked, self.mix.name, self.mix.is_float)
        if self.imatrix is not None:
            quantized = [d.name for d in decisions if d.encodes and self.types[d.type].weights > 1]
            missing = [name for name in quantized if name not in self.imatrix and roles.role(name) not in _UNMEASURED]
            if missing:
                notes.append(f"the importance matrix has no entry for {and_more(missing, 3)}")
        return notes


def _applies(when: str | tuple[str, ...], unless: str | tuple[str, ...], situation: Situation) -> bool:
    return all(CONDITIONS[word][0](situation) for word in words(when)) and not any(
        CONDITIONS[word][0](situation) for word in words(unless)
    )
