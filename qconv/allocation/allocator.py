"""The best file of a size: rounding errors once, then a choice of types for as many sizes as are asked for."""

from __future__ import annotations

import functools
from collections import Counter
from dataclasses import dataclass, replace

from qconv import calibration, gguf, policy
from qconv.allocation.errors import rounding_errors
from qconv.allocation.gains import gains
from qconv.allocation.losses import Losses
from qconv.allocation.table import menu, table
from qconv.calibration import Measurements
from qconv.errors import UsageError
from qconv.options import RunOptions
from qconv.pipeline import Progress
from qconv.plan import Plan, Planner, Sized
from qconv.policy import Choice, Decision, Mix
from qconv.policy.budget import Candidate, allocate, smallest
from qconv.sizes import Size
from qconv.types import TensorInfo, without_leading_ones

_TRIES = 4
"""A split file's headers grow with the number of shards, which follows from the choice."""


@dataclass(frozen=True, slots=True)
class Point:
    """A mix of llama.cpp's: its size in bytes, its predicted KL divergence with the same importance matrix, and bits
    per weight."""

    mix: str
    size: int
    predicted: float
    bits: float


class Allocator:
    """Chooses types for sizes; reads a sample of every tensor's rows when it is made.

    ``measurements``: what ``qconv calibrate`` measured, None for nothing.

    Raises UsageError for a mix or type that needs an importance matrix, and as ``pipeline.run`` does.
    """

    def __init__(
        self,
        planner: Planner,
        measurements: Measurements | None,
        run: RunOptions,
        progress: Progress | None = None,
    ) -> None:
        self._planner = planner
        self._headers: dict[bool, int] = {}
        self._measurements = measurements
        self._choices = self._ladder()
        base = self._choices[len(self._choices) // 2][1]
        self._free = [d for d in base.decisions if d.free]
        self._kept = [d for d in base.decisions if not d.free]
        narrowed = tuple(map(policy.block_type, planner.options.block_types))
        self._menus = {d.name: menu(_info(d), narrowed) for d in self._free}
        tried = {name: set(types) for name, types in self._menus.items()}
        for _, choice in self._choices:
            for d in choice.decisions:
                if d.name in tried:
                    tried[d.name].add(d.type)
        table_ = rounding_errors(
            self._free,
            {name: sorted(types) for name, types in tried.items()},
            planner.tensors(),
            planner.importances(self._free),
            search=planner.options.search,
            threads=run.threads,
            memory=run.memory,
            progress=progress,
        )
        roles = Counter(policy.role(d.name) for d in self._free)
        self._ordinary = self.losses = Losses(table_, measurements, roles)
        """With ordinary rounding, and as these options round."""
        hessians = planner.hessians(base.decisions)
        if hessians:
            menus = {name: sorted(types) for name, types in tried.items()}
            importances = planner.importances(self._free)
            left = gains(self._free, menus, planner.tensors(), hessians, importances, search=planner.options.search)
            smaller = {
                (name, type_): error * (left.get(type_, 1.0) if name in hessians else 1.0)
                for (name, type_), error in table_.errors.items()
            }
            self.losses = Losses(replace(table_, errors=smaller), measurements, roles)

    def points(self) -> list[Point]:
        """llama.cpp's mixes, by size."""
        points = [
            Point(
                mix.name,
                self._size(choice),
                self._ordinary.total((d.name, d.type) for d in choice.decisions),
                _bits(choice),
            )
            for mix, choice in self._choices
        ]
        return sorted(points, key=lambda p: p.size)

    def plan(self, size: Size) -> Plan:
        """The plan of the best file of at most ``size``.

        Raises UsageError for a size that cannot be met.
        """
        limit = self.limit(size)
        budget = limit
        measured = self._measurements if self.losses.measured else None
        for _ in range(_TRIES):
            choice, by_mix = self._best(size, budget)
            sized = Sized(
                size.text,
                limit,
                None if measured is None else self._total(choice),
                "" if measured is None else measured.job,
                by_mix,
            )
            losses = {d.name: self.losses.predicted(d.name, d.type) for d in choice.decisions}
            made = self._planner.plan(
                self._nearest(choice), choice, sized=sized, losses=None if measured is None else losses
            )
            if made.size <= limit:
                return replace(made, warnings=(*made.warnings, *self._warnings()))
            budget -= made.size - limit
        raise self._cannot(size, made.size)

    def limit(self, size: Size) -> int:
        """A size in bytes of all files."""
        if size.bytes is not None:
            return size.bytes
        if size.mix is not None:
            return self._planner.plan(policy.find_mix(size.mix)).size
        assert size.bits is not None
        weights = sum(d.weights for d in (*self._free, *self._kept))
        return int(size.bits * weights / 8) + self._header(True)

    def _best(self, size: Size, budget: int) -> tuple[Choice, bool]:
        """The types of least predicted loss within ``budget`` bytes, or a mix's where these are as good.

        The second value says whether they are a mix's.
        """
        left = budget - self._header(True) - sum(map(_bytes, self._kept))
        menus = [
            [Candidate(t, _bytes(d, t), self.losses.cautious(d.name, t)) for t in self._menus[d.name]]
            for d in self._free
        ]
        chosen = allocate(menus, left)
        if chosen is None:
            raise self._cannot(size, budget - left + smallest(menus))
        types = {d.name: candidate.type for d, candidate in zip(self._free, chosen, strict=True)}
        base = self._choices[len(self._choices) // 2][1]
        decisions = tuple(self._chosen(d, types.get(d.name)) for d in base.decisions)
        best = Choice(decisions, self._file_type(sum(map(_bytes, decisions))), base.notes)
        margin = table().measured_margin if self.losses.measured else table().typical_margin
        mixes = [] if self._planner.options.block_types else [choice for _, choice in self._choices]
        fitting = [choice for choice in mixes if self._size(choice) <= budget]
        rival = min(fitting, key=self._total, default=None)
        if rival is not None and self._total(best) > margin * self._total(rival):
            return rival, True
        return best, False

    def _chosen(self, d: Decision, block_type: str | None) -> Decision:
        if block_type is None:
            return d
        reason = "least loss for the size"
        return Decision(d.name, d.shape, d.intermediate_type, block_type, reason, None, True)

    def _ladder(self) -> list[tuple[Mix, Choice]]:
        """The mixes to compare with, and what they choose; those that the source does not admit are left out."""
        mixes = [policy.find_mix(name) for name in table().ladder]
        return [(mix, self._planner.choice(mix)) for mix in mixes]

    def _nearest(self, choice: Choice) -> Mix:
        size = self._size(choice)
        return min(self._choices, key=lambda pair: abs(self._size(pair[1]) - size))[0]

    def _file_type(self, tensors: int) -> int:
        """``general.file_type`` of the mix whose tensors take most nearly as many bytes."""
        sizes = {mix.name: sum(map(_bytes, choice.decisions)) for mix, choice in self._choices}
        mix = policy.find_mix(min(sizes, key=lambda name: abs(sizes[name] - tensors)))
        assert mix.file_type is not None
        return mix.file_type

    def _total(self, choice: Choice) -> float:
        return self.losses.total((d.name, d.type) for d in choice.decisions)

    def _size(self, choice: Choice) -> int:
        """Bytes of the file of a mix."""
        return self._header(False) + sum(map(_bytes, choice.decisions))

    def _header(self, sized: bool) -> int:
        """Bytes of a file that are no tensors', of one with ``qconv.size`` keys or without; no choice of types changes
        them, as long as the file is not split."""
        if sized not in self._headers:
            mix, choice = self._choices[0]
            job = self._measurements.job if self._measurements is not None and self.losses.measured else ""
            made = self._planner.plan(mix, choice, sized=Sized("", 0, 0.0 if job else None, job, not sized))
            self._headers[sized] = made.size - sum(map(_bytes, choice.decisions))
        return self._headers[sized]

    def _cannot(self, size: Size, least: int) -> UsageError:
        return UsageError(
            f"--size {size.text}: the smallest file that can be made has {least:,} bytes",
            hint=f"ask for --size {least / 1e6 + 0.01:.2f}MB or more, or add smaller types with --block-types",
        )

    def _warnings(self) -> list[str]:
        if not self.losses.measured:
            return [
                "no sensitivities were measured, so --size goes by those typical of a tensor's role;"
                " 'qconv calibrate' measures this model's"
            ]
        assert self._measurements is not None
        tensors = self._planner.tensors()
        decisions = [*self._free, *self._kept]
        own = calibration.fingerprint((d.name, tensors[d.name], d.intermediate_type) for d in decisions)
        if own == self._measurements.model:
            return []
        return ["the calibration was measured on other weights, so that its predictions are rough"]


def _info(d: Decision) -> TensorInfo:
    return TensorInfo(d.name, d.intermediate_type, d.shape)


def _bits(choice: Choice) -> float:
    """Bits per weight of a file's tensors, without padding."""
    size = sum(gguf.tensor_bytes(TensorInfo(d.name, d.type, d.shape)) for d in choice.decisions)
    return size * 8 / max(1, sum(d.weights for d in choice.decisions))


def _bytes(d: Decision, block_type: str | None = None) -> int:
    """Bytes a tensor takes in the file, with padding."""
    return _padded_bytes(d.shape, block_type or d.type)


@functools.lru_cache(maxsize=4096)
def _padded_bytes(shape: tuple[int, ...], block_type: str) -> int:
    shape = without_leading_ones(shape) if shape else shape
    return gguf.padded(gguf.tensor_bytes(TensorInfo("", block_type, shape)), 32)
