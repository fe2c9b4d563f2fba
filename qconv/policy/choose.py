"""Which block type each tensor gets, as llama-quantize decides it, and why.

Source of every rule: llama.cpp's ``llama-quant.cpp``.  The mix's table holds what differs between types; here is what
holds for all: what is never quantized, the user's overrides, the counters, and rows that fit no block.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from qconv import formats
from qconv.errors import PlanError, UsageError
from qconv.policy import roles
from qconv.policy.conditions import CONDITIONS, Situation
from qconv.policy.facts import Facts
from qconv.policy.mixes import Mix, words
from qconv.policy.options import Options
from qconv.types import TensorInfo

_FLOATS = ("F32", "F16", "BF16")
_MXFP4_MOE = 38
"""The file type of a float file whose experts are MXFP4."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A tensor's block type.  ``wanted`` is the type its rows did not fit, ``None`` when they fit."""

    name: str
    shape: tuple[int, ...]
    stored: str
    type: str
    reason: str
    wanted: str | None = None

    @property
    def weights(self) -> int:
        return math.prod(self.shape)

    @property
    def encodes(self) -> bool:
        """Whether the tensor is encoded anew; otherwise its bytes are copied."""
        return self.type != self.stored


@dataclass(frozen=True, slots=True)
class Choice:
    """The decisions in the order of the output file, its ``general.file_type``, and what the user should know."""

    decisions: tuple[Decision, ...]
    file_type: int
    notes: tuple[str, ...] = ()

    @property
    def fallbacks(self) -> tuple[Decision, ...]:
        return tuple(d for d in self.decisions if d.wanted is not None)


def choose(
    tensors: Sequence[TensorInfo],
    facts: Facts,
    mix: Mix,
    options: Options | None = None,
    *,
    fixed: Collection[str] | None = None,
    imatrix: Collection[str] | None = None,
) -> Choice:
    """A block type for every tensor.

    ``tensors``: GGUF names, row-major shapes, and the type each is stored in: for a GGUF what its header says, for a
    checkpoint what llama.cpp's converter would write.  ``fixed``: for a checkpoint the names whose type the converter
    does not take from the asked one (``None`` for a GGUF); they keep it in F32, F16 and BF16 files.  ``imatrix``: names
    of tensors an importance matrix covers; ``None`` when none is given, and none at all is the same.

    Raises UsageError when the mix needs an importance matrix that is missing, PlanError when a GGUF's tensors are
    quantized already and requantizing is not allowed.
    """
    options = options or Options()
    asked = _Choosing(tensors, facts, mix, options, fixed, imatrix or None)
    converter = fixed is not None and mix.is_float
    order = [t.name for t in tensors] if converter else roles.in_order(t.name for t in tensors)
    by_name = {t.name: t for t in tensors}
    decisions = tuple(asked.decide(by_name[name]) for name in order)
    asked.check_requantizing(decisions)
    asked.check_imatrix(decisions)
    carried = converter and any(d.type == "MXFP4" for d in decisions)
    file_type = _MXFP4_MOE if carried else mix.file_type
    assert file_type is not None  # checked when the mix was loaded
    return Choice(decisions, file_type, tuple(asked.notes(decisions)))


class _Choosing:
    """One run over a model's tensors; the running counts make the order of calls matter."""

    def __init__(
        self,
        tensors: Sequence[TensorInfo],
        facts: Facts,
        mix: Mix,
        options: Options,
        fixed: Collection[str] | None,
        imatrix: Collection[str] | None,
    ) -> None:
        self.facts, self.mix, self.options, self.fixed, self.imatrix = facts, mix, options, fixed, imatrix
        self.types = formats.block_types()
        named = [roles.role(t.name) for t in tensors]
        self.tied = "output" not in named
        values = roles.members()["attn_values"]
        self.values, self.n_values = values, sum(r in values for r in named)
        self.seen: Counter[str] = Counter()
        self.matched: set[int] = set()

    def decide(self, tensor: TensorInfo) -> Decision:
        role = roles.role(tensor.name)
        kept = self._kept(tensor, role)
        if kept is not None:
            return Decision(tensor.name, tensor.shape, tensor.dtype, tensor.dtype, kept)
        wanted, reason = self._wanted(tensor, role)
        used = self._fitting(tensor, wanted)
        return Decision(tensor.name, tensor.shape, tensor.dtype, used, reason, None if used == wanted else wanted)

    def _kept(self, tensor: TensorInfo, role: str) -> str | None:
        """Why the tensor keeps the type it is stored in."""
        block = self.types.get(tensor.dtype)
        if block is None or (block.weights == 1 and tensor.dtype not in _FLOATS):
            return "not a float"
        if self.fixed is not None and block.weights > 1 and not self.options.allow_requantize:
            return "blocks of the checkpoint, carried over"
        if self.fixed is not None and self.mix.is_float:
            return "always stored so" if tensor.name in self.fixed else None
        if self.options.leave_output_tensor and tensor.name == "output.weight":
            return "output tensor left as it is"
        return roles.why_kept(tensor.name, tensor.shape, self.facts.architecture)

    def _wanted(self, tensor: TensorInfo, role: str) -> tuple[str, str]:
        """The type before the row length is looked at, and the reason."""
        options = self.options
        manual = next((i for i, t in enumerate(options.tensor_types) if t.match(tensor.name)), None)
        if manual is not None:
            self.matched.add(manual)
        # the second embedding table may be large, and may be named on its own
        named = manual is not None and tensor.name == "per_layer_token_embd.weight"
        if options.token_embedding_type and role == "token_embd" and not named:
            return options.token_embedding_type, "token embedding type given"
        if options.output_tensor_type and role == "output":
            return options.output_tensor_type, "output tensor type given"
        if self.mix.is_float:
            return self.mix.type, "default"
        if manual is not None:
            return options.tensor_types[manual].type, "tensor type given"
        if options.pure:
            return self.mix.type, "pure"
        return self._by_mix(tensor, role)

    def _by_mix(self, tensor: TensorInfo, role: str) -> tuple[str, str]:
        for floor in roles.table().floors:
            if floor.architecture == self.facts.architecture and floor.match(tensor.name):
                return floor.type, f"at least {floor.type}"
        is_output = role == "output" or (self.tied and role == "token_embd")
        situation = self._situation(tensor, role)
        if is_output and self.options.output_tensor_type:
            return self.options.output_tensor_type, "output tensor type given"
        for rule in self.mix.rules:
            if ("output" if is_output else role) in rule.roles and _applies(rule.when, rule.unless, situation):
                return rule.use, f"{rule.reason} (tied)" if is_output and role != "output" else rule.reason
        return self.mix.type, "default"

    def _situation(self, tensor: TensorInfo, role: str) -> Situation:
        """The tensor's place among its kind; counts it."""
        layer = roles.layer(tensor.name)
        kind = "attn_values" if role in self.values else role
        index, count = self.seen[kind], self.facts.n_layer
        self.seen[kind] += 1
        if role in self.values:
            count = self.n_values
        elif layer is not None and (self.facts.n_expert > 1 or not role.startswith("ffn_")):
            # several tensors a layer share the role: only the name says which layer this is
            index = layer
        return Situation(
            facts=self.facts,
            shape=tensor.shape,
            default_weights=self.types[self.mix.type].weights,
            index=index,
            count=count,
            has_imatrix=self.imatrix is not None,
        )

    def _fitting(self, tensor: TensorInfo, wanted: str) -> str:
        """``wanted``, or what stands in for it when the rows are no whole number of its blocks."""
        for name in (wanted, self.types[wanted].fallback):
            if tensor.columns % self.types[name].weights == 0:
                return name
        return "F16"

    def check_requantizing(self, decisions: Sequence[Decision]) -> None:
        again = [d for d in decisions if d.encodes and self.types[d.stored].weights > 1]
        if again and not self.options.allow_requantize:
            first = again[0]
            raise PlanError(
                f"is {first.stored} already and would become {first.type}, losing precision a second time"
                + (f"; {len(again) - 1} more tensors likewise" if len(again) > 1 else ""),
                tensor=first.name,
                hint="convert from the original weights, or accept the loss with --allow-requantize",
            )

    def check_imatrix(self, decisions: Sequence[Decision]) -> None:
        for d in decisions:
            role = roles.role(d.name)
            if not d.encodes or d.type not in self.mix.needs_imatrix or role in ("output", "token_embd"):
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
        found = []
        again = Counter(d.stored for d in decisions if d.encodes and self.types[d.stored].weights > 1)
        for stored, count in again.items():
            found.append(f"{count} tensors are requantized from {stored}: the loss of both adds up")
        for i, given in enumerate(self.options.tensor_types):
            if i not in self.matched:
                found.append(f"no tensor matches --tensor-type {given.pattern.pattern}")
            elif self.mix.is_float:
                found.append(f"--tensor-type {given.pattern.pattern} has no effect on {self.mix.name.lower()}")
        if self.imatrix is not None:
            quantized = [d.name for d in decisions if d.encodes and self.types[d.type].weights > 1]
            missing = [name for name in quantized if name not in self.imatrix]
            found += [f"the importance matrix has no entry for {name}" for name in missing]
        return found


def _applies(when: str | tuple[str, ...], unless: str | tuple[str, ...], situation: Situation) -> bool:
    return all(CONDITIONS[word][0](situation) for word in words(when)) and not any(
        CONDITIONS[word][0](situation) for word in words(unless)
    )
