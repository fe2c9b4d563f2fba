"""Memory, measured from outside the process, on sparse files far larger than it may grow."""

from __future__ import annotations

import json
import math
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qconv import platform
from qconv.blocks import TILE_ROWS
from qconv.calibration import TensorHessian
from qconv.errors import UsageError
from qconv.pipeline import TensorWork, works_of
from qconv.pipeline.memory import Gate
from qconv.pipeline.sizing import cost, enough, fit
from qconv.pipeline.workers import Stopped
from tests.cli.commands import peak
from tests.conversion.fakes import Copy, Sketch, plan

SHAPES = {
    "token_embd.weight": (128_000, 2048),
    "experts.weight": (64, 1024, 1024),
    "one.long.row": (1, 4_000_000),
    "one.long.norm": (3_000_000,),
}


@pytest.fixture(scope="module")
def sparse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A safetensors file of two thirds of a gigabyte that takes no room."""
    header, offset = {}, 0
    for name, shape in SHAPES.items():
        size = math.prod(shape) * 2
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    path = tmp_path_factory.mktemp("sparse") / "model.safetensors"
    with path.open("wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        f.truncate(8 + len(text) + offset)
    return path


@pytest.mark.parametrize("options", [[], ["--threads", "16"], ["--memory", "250MB"]])
def test_a_process_stays_within_its_bound(sparse: Path, tmp_path: Path, options: list[str]) -> None:
    code, most = peak("convert", str(sparse), "--type", "q8_0", "-o", str(tmp_path / "x.gguf"), "--quiet", *options)
    assert code == 0
    assert (tmp_path / "x.gguf").stat().st_size > 300_000_000
    assert most <= (250_000_000 if "--memory" in options else 400_000_000)
    (tmp_path / "x.gguf").unlink()


def tensor(
    shape: tuple[int, ...], *, row_group: int = 1, resident_bytes: int = 0, memory_of_a_row: int = 0
) -> TensorWork:
    copy = Copy("x", shape, "BF16", row_group=row_group, resident_bytes=resident_bytes, memory_of_a_row=memory_of_a_row)
    (work,) = works_of([plan("x", [Sketch("x", copy, "Q8_0")])])
    return work


@pytest.mark.parametrize("threads", [1, 2, 8, 64, 500])
@pytest.mark.parametrize("shape", [(256_000, 8192), (256 * 2048, 768), (3, 500_000), (5, 32)])
@pytest.mark.parametrize("budget", [10_000_000, 200_000_000])
def test_workers_fit_into_the_budget_together(threads: int, shape: tuple[int, ...], budget: int) -> None:
    sizes = fit([tensor(shape)], threads, budget)
    assert sizes.workers * sizes.common + sizes.gate <= budget
    rows = min(sizes.rows(tensor(shape)), shape[0])
    assert cost(tensor(shape), rows) <= max(sizes.common, sizes.gate)
    assert 1 <= sizes.workers <= threads


def test_a_transpose_reads_its_source_as_rarely_as_memory_allows() -> None:
    whole = tensor((4096, 4096), row_group=4096)
    assert fit([whole], 1, 10**9).rows(whole) == 4096
    sizes = fit([whole], 2, 100_000_000)
    rows = sizes.rows(whole)
    assert 128 < rows < 4096
    assert cost(whole, rows) <= sizes.gate // 2


def test_a_row_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match=r"one row needs [\d,]+ bytes at once.*raise --memory"):
        fit([tensor((1, 320_000_000))], 2, 200_000_000)


def test_what_a_tensor_declares_is_counted() -> None:
    plain, heavy = tensor((10_000, 4096)), tensor((10_000, 4096), memory_of_a_row=4096 * 20)
    assert cost(heavy, 256) - cost(plain, 256) == 256 * 4096 * 20
    assert fit([heavy], 4, 100_000_000).row_block < fit([plain], 4, 100_000_000).row_block


@pytest.mark.parametrize("threads", [1, 4, 64])
def test_what_tensors_hold_is_taken_off_first(threads: int) -> None:
    held = tensor((10_000, 4096), resident_bytes=30_000_000)
    sizes = fit([held], threads, 200_000_000)
    assert sizes.resident == 30_000_000
    assert sizes.resident + sizes.workers * sizes.common + sizes.gate <= 200_000_000


def test_tensors_hold_at_most_half_of_it_together() -> None:
    sizes = fit(
        [tensor((1000, 4096), resident_bytes=held) for held in (30_000_000, 40_000_000, 60_000_000)], 2, 200_000_000
    )
    assert sizes.resident == 100_000_000
    assert sizes.resident + sizes.workers * sizes.common + sizes.gate <= 200_000_000


def test_a_tensor_that_holds_too_much_is_refused() -> None:
    with pytest.raises(UsageError, match=r"tensor 'x': holds 150,000,000 bytes at once.*raise --memory.*by 101MB"):
        fit([tensor((10_000, 4096), resident_bytes=150_000_000)], 2, 200_000_000)


@pytest.mark.parametrize("columns", [256, 8192, 28_672, 1 << 18])
@pytest.mark.parametrize("threads", [1, 3, 64])
def test_what_is_enough_for_a_hessian_fits(columns: int, threads: int) -> None:
    hessian = TensorHessian(Path("h"), ("x",), columns, 1, 0, {}, "job")
    work = tensor((1024, columns))
    works = [tensor((128_000, 2048)), replace(work, encodings=(replace(work.encodings[0], hessian=hessian),))]
    sizes = fit(works, threads, enough(works))
    assert sizes.resident == hessian.resident_bytes
    assert sizes.rows(works[1]) % TILE_ROWS == 0


def test_the_gate_lets_in_what_fits() -> None:
    gate = Gate(10)
    with gate.hold(6), gate.hold(4):
        pass
    with gate.hold(25):  # larger than the gate: alone
        pass
    with gate.hold(10):
        pass


def test_first_come_first_served() -> None:
    gate, order = Gate(10), []

    def take(name: str, size: int, waits: threading.Event) -> None:
        gate.acquire(size, waits.set)
        order.append(name)
        gate.release(size)

    gate.acquire(6)
    threads = []
    for name, size in (("large", 10), ("small", 4)):
        waits = threading.Event()
        threads.append(threading.Thread(target=take, args=(name, size, waits)))
        threads[-1].start()
        assert waits.wait(60)
    gate.release(6)
    for thread in threads:
        thread.join()
    assert order == ["large", "small"]


def test_who_gives_up_waiting_is_forgotten() -> None:
    def give_up() -> None:
        raise Stopped

    gate = Gate(10)
    with gate.hold(6):
        with pytest.raises(Stopped):
            gate.acquire(5, give_up)
        with gate.hold(4):
            pass


def test_memory_is_counted_as_the_kernel_does() -> None:
    before = platform.resident_bytes()
    held = np.ones(50_000_000, np.uint8)
    assert 45_000_000 <= platform.resident_bytes() - before <= 70_000_000
    assert held[-1]
