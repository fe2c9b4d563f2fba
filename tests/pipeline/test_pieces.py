"""The small pieces: row ranges, shares of the work, cores, rounding, the pool."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Iterator
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qconv import cores
from qconv.errors import PlanError
from qconv.pipeline import Cancellation, Ranges, run_workers, share, works_of
from qconv.tensors import from_float32
from tests.conversion.fakes import Copy, Sketch, plan

PAIRS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=12)


@given(PAIRS, st.integers(0, 60), st.integers(0, 60))
def test_ranges_are_sets_of_rows(pairs: list[tuple[int, int]], start: int, stop: int) -> None:
    ranges, rows = Ranges(), set()
    for a, b in pairs:
        ranges.add(a, b)
        rows |= set(range(a, b))
    kept = list(ranges)
    assert {r for a, b in kept for r in range(a, b)} == rows
    assert all(a < b for a, b in kept)
    assert all(b < c for (_, b), (c, _) in itertools.pairwise(kept))
    assert ranges.count == len(rows)
    missing = ranges.missing(start, stop)
    assert {r for a, b in missing for r in range(a, b)} == set(range(start, stop)) - rows


@given(
    st.lists(st.tuples(st.integers(0, 400), st.sampled_from([32, 64, 4096])), min_size=1, max_size=8),
    st.integers(1, 40),
)
def test_parts_cover_a_plan_once_in_equal_shares(shapes: list[tuple[int, int]], count: int) -> None:
    sketches = [Sketch(f"t{i}", Copy(f"t{i}", shape, "BF16"), "BF16") for i, shape in enumerate(shapes)]
    all_tensors = works_of([plan("x", sketches)])
    covered: dict[str, list[int]] = {t.name: [] for t in all_tensors}
    total = sum(rows * columns for rows, columns in shapes)
    for number in range(1, count + 1):
        weights = 0
        for tensor, start, stop in share(all_tensors, number, count):
            covered[tensor.name] += range(start, stop)
            weights += max(0, stop - start) * tensor.columns
        assert weights <= total / count + 4096 + 1
    assert covered == {t.name: list(range(t.rows)) for t in all_tensors}


def test_what_is_alike_in_several_plans_is_done_once() -> None:
    importance = np.ones((1, 32), np.float32)

    def one(name: str, kind: str, factor: float | None = None, weighed: bool = False) -> Sketch:
        dtype = "BF16" if factor is None else "F32"
        copy = Copy(name, (4, 32), dtype, factor)
        return Sketch(name, copy, kind, importance=importance.copy() if weighed else None)

    first = plan(
        "1", [one("same", "Q8_0"), one("type", "Q8_0"), one("other", "F32", 2.0), one("w", "Q8_0", weighed=True)]
    )
    second = plan("2", [one("same", "Q8_0"), one("type", "F32"), one("other", "F32", 3.0), one("w", "Q8_0")])
    third = plan("3", [one("w", "Q8_0", weighed=True), one("only", "F32")])
    works = works_of([first, second, third])
    said = [(t.name, [(e.block_type, e.targets) for e in t.encodings]) for t in works]
    assert said == [
        ("same", [("Q8_0", ((0, 0), (1, 0)))]),
        ("type", [("Q8_0", ((0, 1),)), ("F32", ((1, 1),))]),
        ("other", [("F32", ((0, 2),))]),
        ("w", [("Q8_0", ((0, 3), (2, 0))), ("Q8_0", ((1, 3),))]),
        ("other", [("F32", ((1, 2),))]),
        ("only", [("F32", ((2, 1),))]),
    ]


def test_a_plan_that_does_not_add_up_is_refused() -> None:
    from dataclasses import replace

    made = plan("x", [Sketch("t", Copy("t", (4, 32), "BF16"), "Q8_0")])
    wrong = replace(made, tensors=(replace(made.tensors[0], size=99),))
    with pytest.raises(PlanError, match="99 bytes are planned, 136 needed"):
        works_of([wrong])


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, math.inf),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "max 100000\n"}, math.inf),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/cpu.max": "150000 100000\n"}, 1.5),
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/cpu.max": "200000 100000\n"}, 2.0),
        ({"proc/self/cgroup": "0::/seen/by/host\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 0.5),
        (
            {
                "proc/self/cgroup": "4:memory:/x\n3:cpu,cpuacct:/x\n",
                "sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "300000",
                "sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000",
            },
            3.0,
        ),
        (
            {
                "proc/self/cgroup": "3:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            math.inf,
        ),
        ({"proc/self/cgroup": "nonsense\n0::/\n", "sys/fs/cgroup/cpu.max": "0 0"}, math.inf),
    ],
)
def test_quotas_of_control_groups(tmp_path: Path, files: dict[str, str], expected: float) -> None:
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert cores.quota(tmp_path) == expected


def test_cores_follow_affinity_and_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 7})
    assert cores.usable(tmp_path) == 3
    monkeypatch.setattr(cores, "quota", lambda _: 1.5)
    assert cores.usable(tmp_path) == 2
    monkeypatch.setattr(cores, "quota", lambda _: 0.1)
    assert cores.usable(tmp_path) == 1


def test_rounding_to_bf16_is_that_of_llama_cpp() -> None:
    bits = np.random.default_rng(3).integers(0, 1 << 32, 200_000, np.uint64).astype(np.uint32)
    rows = bits.view(np.float32).reshape(100, 2000)
    theirs = gguf.quants.quantize(rows, gguf.GGMLQuantizationType.BF16).view(np.uint16)
    assert np.array_equal(from_float32(rows, "BF16"), theirs)


def test_the_first_error_stops_all_workers() -> None:
    done: list[int] = []

    def work(task: int, space: None) -> None:
        if task == 5:
            raise ValueError("five")
        done.append(task)

    def tasks() -> Iterator[int]:
        yield from range(10_000_000)

    with pytest.raises(ValueError, match="five"):
        run_workers(tasks(), work, [None] * 4, Cancellation())
    assert len(done) < 1_000_000


def test_an_error_of_the_tasks_themselves_is_raised() -> None:
    def tasks() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        run_workers(tasks(), lambda task, _: None, [None] * 2, Cancellation())
