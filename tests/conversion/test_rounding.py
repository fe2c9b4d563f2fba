"""Conversions with ``--rounding gptq``: which tensors it is for, and that bytes do not depend on how one runs it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray
from reference import ggml

import qconv
from qconv import allocation, calibration, checkpoints, conversion, verify
from qconv.calibration import HessiansInfo, write_hessians
from qconv.errors import FormatError, InputError, UsageError
from qconv.options import ConvertOptions, Part, RunOptions
from qconv.pipeline import works_of
from qconv.pipeline.sizing import fit
from qconv.plan import Plan, Planner

SHAPES = {
    "mlp.up.weight": (300, 512),
    "mlp.experts.weight": (3, 140, 256),
    "embedding.weight": (40, 256),
    "norm": (256,),
}
Weights = dict[str, NDArray[np.float32]]


def weights(seed: int = 1) -> Weights:
    random = np.random.default_rng(seed)
    return {name: random.standard_normal(shape).astype(np.float32) for name, shape in SHAPES.items()}


def hessian(columns: int, seed: int) -> NDArray[np.float64]:
    random = np.random.default_rng(seed)
    x = random.standard_normal((2 * columns, columns)) @ random.standard_normal((columns, columns))
    return np.asarray(x.T @ x)


HESSIANS = {"mlp.up.weight": [hessian(512, 1)], "mlp.experts.weight": [hessian(256, seed) for seed in (2, 3, 4)]}


def write_source(path: Path, arrays: Mapping[str, NDArray[np.float32]]) -> Path:
    header, offset = {}, 0
    for name, array in arrays.items():
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(w.tobytes() for w in arrays.values()))
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_source(tmp_path / "model.safetensors", weights())


@pytest.fixture
def hessians(source: Path, tmp_path: Path) -> Path:
    return write(source, tmp_path / "hessians")


def write(source: Path, folder: Path, columns: int = 512) -> Path:
    folder.mkdir()
    with checkpoints.open(source) as checkpoint:
        planner = Planner(checkpoint, ConvertOptions(types=("q4_k_m",)))
        decisions, tensors = planner.choice(planner.mixes()[0]).decisions, planner.tensors()
        model = calibration.fingerprint((d.name, tensors[d.name], d.intermediate_type) for d in decisions)
    info = HessiansInfo(model, "text", 1024, 512, "F32", "job")
    up = HESSIANS["mlp.up.weight"] if columns == 512 else [hessian(columns, 1)]
    for name, own in {**HESSIANS, "mlp.up.weight": up}.items():
        write_hessians(
            folder / f"{name}.gguf", info, [name], len(own[0]), [9] * len(own), (h.astype(np.float32) for h in own)
        )
    return folder


def convert(source: Path, output: Path, **options: Any) -> Path:
    (file,) = qconv.convert(source, "q4_k_m", output=output, **options)
    return file


def error(file: Path, name: str) -> float:
    """Σ ΔW H ΔWᵀ of a tensor, decoded by ggml."""
    (tensor,) = [t for t in gguf.GGUFReader(file).tensors if t.name == name]
    rows = weights()[name].reshape(len(HESSIANS[name]), -1, SHAPES[name][-1])
    coded = np.asarray(tensor.data).reshape(len(rows) * rows.shape[1], -1)
    off = (rows - ggml.decode(tensor.tensor_type.name, coded).reshape(rows.shape)).astype(np.float64)
    return float(sum((d @ h * d).sum() for d, h in zip(off, HESSIANS[name], strict=True)))


def test_it_makes_the_error_in_h_small_and_leaves_the_rest(source: Path, hessians: Path, tmp_path: Path) -> None:
    nearest = convert(source, tmp_path / "nearest.gguf")
    gptq = convert(source, tmp_path / "gptq.gguf", rounding="gptq", hessians=hessians)
    for name in HESSIANS:
        assert error(gptq, name) < 0.7 * error(nearest, name)
    before, after = (gguf.GGUFReader(file) for file in (nearest, gptq))
    assert before.fields.keys() == after.fields.keys()
    same = [a.name for a, b in zip(before.tensors, after.tensors, strict=True) if np.array_equal(a.data, b.data)]
    assert same == ["embedding.weight", "norm"]


def plan_of(source: Path, hessians: Path) -> Plan:
    with checkpoints.open(source) as checkpoint:
        options = ConvertOptions(types=("q4_k_m",), rounding="gptq", hessians=hessians)
        return allocation.make(checkpoint, options)[0][0]


def test_the_plan_tells_which_tensors_and_names_the_others(source: Path, hessians: Path) -> None:
    plan = plan_of(source, hessians)
    assert {t.name for t in plan.tensors if t.reason.endswith("; GPTQ")} == HESSIANS.keys()
    assert "rounded to nearest, as there is no Hessian: embedding.weight" in plan.warnings
    other = tuple(replace(t, hessian=None) for t in plan.tensors)
    assert replace(plan, tensors=other).fingerprint != plan.fingerprint


@pytest.mark.parametrize("run", [{"threads": 1}, {"threads": 3}, {"threads": 2, "memory": 380_000_000}])
def test_bytes_are_the_same_however_it_is_run(
    source: Path, hessians: Path, tmp_path: Path, run: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = convert(source, tmp_path / "whole.gguf", rounding="gptq", hessians=hessians)
    monkeypatch.setattr("qconv.pipeline.sizing.ROW_BLOCK", 1 << 15)
    monkeypatch.setattr("qconv.platform.resident_bytes", lambda: 300_000_000)  # whatever ran before this
    again = convert(source, tmp_path / "again.gguf", rounding="gptq", hessians=hessians, **run)
    assert again.read_bytes() == whole.read_bytes()


def test_parts_make_the_bytes_of_the_whole(source: Path, hessians: Path, tmp_path: Path) -> None:
    options = {"rounding": "gptq", "hessians": hessians}
    whole = convert(source, tmp_path / "whole.gguf", **options)
    parted = tmp_path / "parted.gguf"
    with checkpoints.open(source) as checkpoint:
        wanted = ConvertOptions.of({"types": ("q4_k_m",), "output": str(parted), **options})
        plans = allocation.make(checkpoint, wanted)[0]
        for number in range(1, 8):
            conversion.run(plans, checkpoint.files, [tmp_path], RunOptions(part=Part(number, 7)))
        conversion.finish(plans, checkpoint.files, [tmp_path])
    assert parted.read_bytes() == whole.read_bytes()


def test_verify_encodes_again_with_the_same(source: Path, hessians: Path, tmp_path: Path) -> None:
    file = convert(source, tmp_path / "model.gguf", rounding="gptq", hessians=hessians)
    with checkpoints.open(source) as checkpoint:
        options = ConvertOptions(types=("q4_k_m",), rounding="gptq", hessians=hessians, output=str(file))
        (plan,), _ = allocation.make(checkpoint, options)
        assert verify.against(file, plan).problems == ()
        options = ConvertOptions(types=("q4_k_m",), output=str(file))
        (plan,), _ = allocation.make(checkpoint, options)
        assert {p.tensor for p in verify.against(file, plan).problems} == HESSIANS.keys()


def test_hessians_of_another_model_are_refused(hessians: Path, tmp_path: Path) -> None:
    other = write_source(tmp_path / "other.safetensors", weights(2))
    with pytest.raises(InputError, match="another model") as caught:
        convert(other, tmp_path / "x.gguf", rounding="gptq", hessians=hessians)
    assert caught.value.file == str(hessians)


def test_hessians_that_do_not_fit(source: Path, tmp_path: Path) -> None:
    wrong = write(source, tmp_path / "wrong", columns=256)
    with pytest.raises(FormatError, match="1 Hessians of 256 columns for 300 rows of 512"):
        convert(source, tmp_path / "x.gguf", rounding="gptq", hessians=wrong)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"rounding": "gptq"}, "--rounding gptq needs --hessians"),
        ({"hessians": Path("h")}, "--hessians is for --rounding gptq"),
        ({"rounding": "best"}, "unknown rounding 'best'"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        ConvertOptions(types=("q4_k_m",), **options)


def test_memory_too_small_for_a_factor_is_told(source: Path, hessians: Path) -> None:
    """A factor of 14,336 columns: 1.2 GB while it is made."""
    plan = plan_of(source, hessians)
    (wide,) = [t for t in plan.tensors if t.name == "mlp.up.weight"]
    assert wide.hessian is not None
    works = works_of([replace(plan, tensors=(replace(wide, hessian=replace(wide.hessian, columns=14_336)),))])
    with pytest.raises(UsageError, match=r"'mlp.up.weight'.*holds 1,"):
        fit(works, 2, 400_000_000)
    assert fit(works, 2, 1_700_000_000).resident == works[0].resident_bytes


def test_without_a_limit_a_factor_always_finds_room(
    source: Path, hessians: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qconv.platform.resident_bytes", lambda: 900_000_000)  # as after compiling much
    assert convert(source, tmp_path / "x.gguf", rounding="gptq", hessians=hessians).exists()
