"""Sizes of a small checkpoint: met, never exceeded, and as the options say; llama.cpp is not needed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

import qconv
from qconv import allocation, calibration, checkpoints, verify
from qconv.allocation import Allocator
from qconv.calibration import Measurements, Sensitivity, TensorSums
from qconv.errors import UsageError
from qconv.options import ConvertOptions
from qconv.plan import Plan, Planner
from qconv.sizes import Size
from tests.cli.commands import make_checkpoint

WIDE = ("--hidden", "256", "--heads", "4", "--kv-heads", "2", "--ffn", "512", "--layers", "2", "--vocab", "288")
MANY = ("--hidden", "256", "--heads", "4", "--kv-heads", "1", "--ffn", "256", "--layers", "24", "--vocab", "288")
NARROW = ("--hidden", "96", "--heads", "3", "--kv-heads", "3", "--ffn", "160", "--layers", "2", "--vocab", "288")


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("wide") / "Noise", *WIDE)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("many") / "Noise", *MANY)


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("narrow") / "Noise", *NARROW)


def calibrated(checkpoint: Path, path: Path, *, sensitivities: bool = True, model: str | None = None) -> Path:
    """A calibration of made-up numbers: sensitivities differ by a factor of a hundred, without rule."""
    with checkpoints.open(checkpoint) as opened:
        planner = Planner(opened, ConvertOptions(types=("q4_k_m",)))
        tensors = planner.tensors()
        decisions = planner.choice(planner.mixes()[0]).decisions
        own = calibration.fingerprint((d.name, tensors[d.name], d.intermediate_type) for d in decisions)
        matrices = [d for d in decisions if d.encodes]
    random = np.random.default_rng(1)
    sums = {}
    for d in matrices:
        if d.name.startswith("blk."):
            squares = np.exp(random.standard_normal((1, d.shape[-1]), np.float32)) * np.float32(512)
            sums[d.name] = TensorSums(squares, np.zeros_like(squares), np.array([512]), np.zeros(0))
    measured = Measurements(
        own if model is None else model,
        "text",
        512,
        512,
        "BF16",
        "the calibration",
        512,
        1.0,
        {d.name: Sensitivity(1e-3 * 10 ** float(random.uniform(-1, 1)), 1e-5, d.weights / 50.0) for d in matrices}
        if sensitivities
        else {},
    )
    calibration.write_calibration(path, sums, measured, ["text.txt"])
    return path


@contextmanager
def chosen(checkpoint: Path, *sizes: str, **options: Any) -> Iterator[tuple[list[Plan], Allocator]]:
    with checkpoints.open(checkpoint) as opened:
        plans, allocator = allocation.make(opened, ConvertOptions(sizes=sizes, **options))
        assert allocator is not None
        yield list(plans), allocator


def smallest_step(plan: Plan, menu: tuple[str, ...]) -> int:
    """Bytes that the next larger type costs, of the tensor where that is least."""
    steps = []
    for t in plan.tensors:
        if t.reason == "least loss for the size":
            sizes = sorted(gguf_bytes(t.shape, name) for name in menu)
            steps += [size - t.size for size in sizes if size > t.size][:1]
    return min(steps)


def gguf_bytes(shape: tuple[int, ...], block_type: str) -> int:
    """Bytes of a tensor, by the ``gguf`` package's table."""
    weights, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[block_type]]
    return -(-int(np.prod(shape)) // weights * size // 32) * 32


@pytest.mark.parametrize("measured", [True, False])
def test_sizes_are_met_and_never_exceeded(wide: Path, tmp_path: Path, measured: bool) -> None:
    imatrix = calibrated(wide, tmp_path / "c.gguf", sensitivities=measured)
    sizes = [f"{size}KB" for size in range(480, 1200, 90)]
    with chosen(wide, *sizes, imatrix=imatrix) as (plans, _):
        for plan, size in zip(plans, sizes, strict=True):
            limit = int(size.removesuffix("KB")) * 1000
            assert plan.size <= limit
            if plan.sized is not None and not plan.sized.by_mix:
                assert limit - plan.size < smallest_step(plan, allocation.table().menu)


def test_many_small_tensors_fill_a_size_to_a_thousandth(many: Path, tmp_path: Path) -> None:
    imatrix = calibrated(many, tmp_path / "c.gguf")
    with chosen(many, "4.2MB", "5MB", "4.5bpw", imatrix=imatrix) as (plans, _):
        for plan, limit in zip(plans, (4_200_000, 5_000_000, None), strict=True):
            assert plan.sized is not None
            assert limit in (None, plan.sized.limit)
            assert 0.999 * plan.sized.limit < plan.size <= plan.sized.limit
        assert 4.495 < plans[2].bits_per_weight <= 4.5


def test_rows_of_no_super_block_meet_a_size_too(narrow: Path, tmp_path: Path) -> None:
    with chosen(narrow, "5.5bpw", imatrix=calibrated(narrow, tmp_path / "c.gguf")) as ((plan,), _):
        assert plan.bits_per_weight <= 5.5
        assert {t.block_type for t in plan.tensors} <= {*allocation.table().narrow_menu, "F32"}
        assert not plan.fallbacks


def test_as_large_as_a_type(wide: Path, tmp_path: Path) -> None:
    imatrix = calibrated(wide, tmp_path / "c.gguf")
    (like,) = qconv.convert(wide, "q4_k_m", imatrix=imatrix, output=tmp_path / "like.gguf")
    (made,) = qconv.convert(wide, size="q4_k_m", imatrix=imatrix, output=tmp_path / "made.gguf")
    assert made.stat().st_size <= like.stat().st_size
    assert made.read_bytes() != like.read_bytes()


@pytest.mark.parametrize("measured", [True, False])
def test_no_mix_that_fits_is_predicted_to_be_better(wide: Path, tmp_path: Path, measured: bool) -> None:
    imatrix = calibrated(wide, tmp_path / "c.gguf", sensitivities=measured)
    sizes = [f"{size}KB" for size in range(480, 1200, 40)]
    with chosen(wide, *sizes, imatrix=imatrix) as (plans, allocator):
        points = allocator.points()
        assert [p.size for p in points] == sorted(p.size for p in points)
        for plan in plans:
            assert plan.sized is not None
            fitting = [p.predicted for p in points if p.size <= plan.sized.limit]
            total = allocator.losses.total((t.name, t.block_type) for t in plan.tensors)
            assert total <= min(fitting, default=float("inf"))
            if measured:
                assert plan.sized.predicted == pytest.approx(total)
                assert sum(t.loss or 0 for t in plan.tensors) == pytest.approx(total)


def test_points_are_llama_cpp_s_files(wide: Path, tmp_path: Path) -> None:
    imatrix = calibrated(wide, tmp_path / "c.gguf")
    (file,) = qconv.convert(wide, "q5_k_m", imatrix=imatrix, output=tmp_path)
    with chosen(wide, "600KB", imatrix=imatrix) as (_, allocator):
        points = {p.mix: p for p in allocator.points()}
    tensors = gguf.GGUFReader(file).tensors
    bits = sum(int(t.n_bytes) for t in tensors) * 8 / sum(int(np.prod(t.shape)) for t in tensors)
    assert points["Q5_K_M"].size == file.stat().st_size
    assert points["Q5_K_M"].bits == pytest.approx(bits)
    assert points["Q2_K"].predicted > points["Q4_K_M"].predicted > points["Q8_0"].predicted > 0


def test_pinned_types_are_kept(wide: Path, tmp_path: Path) -> None:
    imatrix = calibrated(wide, tmp_path / "c.gguf")
    pins = (("ffn_down", "q8_0"), (r"blk\.0\.attn_q", "q3_k"))
    with chosen(
        wide, "700KB", imatrix=imatrix, tensor_types=pins, token_embedding_type="q6_k", output_tensor_type="q6_k"
    ) as ((plan,), _):
        types = {t.name: t.block_type for t in plan.tensors}
    assert {types[f"blk.{n}.ffn_down.weight"] for n in range(2)} == {"Q8_0"}
    assert types["blk.0.attn_q.weight"] == "Q3_K"
    assert types["token_embd.weight"] == "Q6_K"
    assert plan.size <= 700_000


def test_an_untied_output_is_pinned_too(tmp_path: Path) -> None:
    untied = make_checkpoint(tmp_path / "Noise", *WIDE, "--untied")
    with chosen(untied, "700KB", output_tensor_type="q5_k") as ((plan,), _):
        assert {t.name: t.block_type for t in plan.tensors}["output.weight"] == "Q5_K"


def test_block_types_narrow_the_menu(wide: Path, tmp_path: Path) -> None:
    imatrix = calibrated(wide, tmp_path / "c.gguf")
    with chosen(wide, "800KB", imatrix=imatrix, block_types=("q4_k", "q6_k")) as ((plan,), _):
        assert {t.block_type for t in plan.tensors} == {"Q4_K", "Q6_K", "F32"}
        assert plan.size <= 800_000


def test_a_size_too_small_is_refused_with_the_smallest(wide: Path, tmp_path: Path) -> None:
    given: dict[str, Any] = {"imatrix": calibrated(wide, tmp_path / "c.gguf"), "output": tmp_path / "x.gguf"}
    with pytest.raises(UsageError) as caught:
        qconv.convert(wide, size="100KB", **given)
    match = re.fullmatch(r"--size 100KB: the smallest file that can be made has ([\d,]+) bytes", caught.value.message)
    hint = re.fullmatch(r"ask for --size (\S+) or more, or .*", caught.value.hint or "")
    assert match is not None
    assert hint is not None
    smallest = int(match[1].replace(",", ""))
    with pytest.raises(UsageError):
        qconv.convert(wide, size=str(smallest - 1), **given)
    assert not (tmp_path / "x.gguf").exists()
    (made,) = qconv.convert(wide, size=str(smallest), **given)
    assert made.stat().st_size == smallest
    assert len(qconv.convert(wide, size=hint[1], force=True, **given)) == 1
    with pytest.raises(UsageError, match=r"--size 0\.5bpw: the smallest file"):
        qconv.convert(wide, size="0.5bpw", **given)


def test_a_split_file_meets_its_size_with_all_headers(wide: Path, tmp_path: Path) -> None:
    imatrix = calibrated(wide, tmp_path / "c.gguf")
    files = qconv.convert(wide, size="700KB", imatrix=imatrix, split_max_size=150_000, output=tmp_path)
    assert len(files) > 3
    total = sum(file.stat().st_size for file in files)
    assert 0.95 * 700_000 < total <= 700_000
    assert verify.check(files[0]).ok


def test_more_than_the_best_there_is_costs_no_more(wide: Path) -> None:
    with chosen(wide, "100MB") as ((plan,), _):
        assert {t.block_type for t in plan.tensors} == {"Q8_0", "F32"}


def test_blocks_that_stay_as_they_are_lose_nothing_more(wide: Path, tmp_path: Path) -> None:
    (file,) = qconv.convert(wide, "q4_k_m", output=tmp_path)
    before = {t.name: (t.tensor_type, t.data.tobytes()) for t in gguf.GGUFReader(file).tensors}
    with chosen(file, "100MB", allow_requantize=True) as ((plan,), allocator):
        assert {t.name: t.block_type for t in plan.tensors} == {name: kind.name for name, (kind, _) in before.items()}
        assert allocator.losses.total((t.name, t.block_type) for t in plan.tensors) == 0
    with chosen(file, "600KB", allow_requantize=True) as ((plan,), allocator):
        assert allocator.losses.total((t.name, t.block_type) for t in plan.tensors) > 0
    (again,) = qconv.convert(file, size="600KB", allow_requantize=True, output=tmp_path / "again.gguf")
    after = {t.name: (t.tensor_type, t.data.tobytes()) for t in gguf.GGUFReader(again).tensors}
    assert again.stat().st_size <= 600_000
    assert {name for name in before if after[name][0] == before[name][0]} == {
        name for name in before if after[name] == before[name]
    }


def test_what_is_said_of_sensitivities(wide: Path, tmp_path: Path) -> None:
    unmeasured = (
        "no sensitivities were measured, so --size goes by those typical of a tensor's role;"
        " 'qconv calibrate' measures this model's"
    )
    with chosen(wide, "700KB") as ((plan,), _):
        assert plan.warnings == (unmeasured,)
        assert plan.sized is not None
        assert plan.sized.predicted is None
        assert {t.loss for t in plan.tensors} == {None}
    with chosen(wide, "700KB", imatrix=calibrated(wide, tmp_path / "1.gguf", sensitivities=False)) as ((plan,), _):
        assert plan.warnings == (unmeasured,)
    with chosen(wide, "700KB", imatrix=calibrated(wide, tmp_path / "2.gguf")) as ((plan,), _):
        assert plan.warnings == ()
    with chosen(wide, "700KB", imatrix=calibrated(wide, tmp_path / "3.gguf", model="other")) as ((plan,), _):
        assert plan.warnings == ("the calibration was measured on other weights, so that its predictions are rough",)


def test_the_file_says_how_it_was_made(wide: Path, tmp_path: Path) -> None:
    imatrix = calibrated(wide, tmp_path / "c.gguf")
    with chosen(wide, "700KB", imatrix=imatrix) as ((plan,), _):
        assert plan.sized is not None
        predicted = plan.sized.predicted
        mix = plan.mix
    (file,) = qconv.convert(wide, size="700KB", imatrix=imatrix, output=tmp_path)
    keys = {name: field.contents() for name, field in gguf.GGUFReader(file).fields.items()}
    assert keys["qconv.size.limit"] == 700_000
    assert keys["qconv.size.method"] == "measured sensitivities"
    assert keys["qconv.size.calibration"] == "the calibration"
    assert keys["qconv.size.predicted_kl_divergence"] == pytest.approx(predicted)
    assert keys["general.file_type"] == gguf.LlamaFileType[f"MOSTLY_{mix}"]
    assert keys["quantize.imatrix.entries_count"] == 14
    weights = sum(int(np.prod(t.shape)) for t in gguf.GGUFReader(file).tensors)
    bits = sum(int(t.n_bytes) for t in gguf.GGUFReader(file).tensors) * 8 / weights
    assert file.name == f"Noise-1.3M-{bits:.2f}bpw-{mix}.gguf"
    (typical,) = qconv.convert(wide, size="650KB", output=tmp_path)
    keys = {name: field.contents() for name, field in gguf.GGUFReader(typical).fields.items()}
    assert keys.get("qconv.size.method") in (None, "typical sensitivities")
    assert "qconv.size.calibration" not in keys


def test_several_sizes_are_chosen_from_one_reading(wide: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(*arguments: Any, **more: Any) -> allocation.ErrorTable:
        calls.append(1)
        return allocation.rounding_errors(*arguments, **more)

    monkeypatch.setattr("qconv.allocation.allocator.rounding_errors", counted)
    imatrix = calibrated(wide, tmp_path / "c.gguf")
    files = qconv.convert(wide, "q8_0", size=["600KB", "5bpw", "q5_k_m"], imatrix=imatrix, output=tmp_path)
    assert len(calls) == 1
    assert len({file.name for file in files}) == 4
    alone = qconv.convert(wide, size="5bpw", imatrix=imatrix, output=tmp_path / "alone.gguf")
    assert files[2].read_bytes() == alone[0].read_bytes()


def test_two_sizes_that_come_to_one_name_are_refused(wide: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"two outputs would have this name.*100MB and --size 200MB come to the same"):
        qconv.convert(wide, size=["100MB", "200MB"], output=tmp_path)


def test_a_limit_of_bits_counts_tensors_and_not_the_header(wide: Path, tmp_path: Path) -> None:
    with chosen(wide, "5bpw", imatrix=calibrated(wide, tmp_path / "c.gguf")) as ((plan,), allocator):
        tensors = sum(t.size for t in plan.tensors)
        weights = sum(t.weights for t in plan.tensors)
        assert allocator.limit(Size.parse("5bpw")) - (plan.size - tensors) == int(5 * weights / 8)
