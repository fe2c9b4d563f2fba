"""``qconv convert --size``: files, curves, and what is saved of a choice."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
from gguf import GGUFReader

from tests.allocation.test_allocator import WIDE, calibrated
from tests.cli.commands import Run, make_checkpoint
from tests.cli.missing import without


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkpoint(tmp_path_factory.mktemp("checkpoints") / "Noise", *WIDE)


@pytest.fixture(scope="module")
def imatrix(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return calibrated(source, tmp_path_factory.mktemp("calibrations") / "Noise-calibration.gguf")


def tensors(file: Path | str) -> dict[str, tuple[str, bytes]]:
    return {t.name: (t.tensor_type.name, t.data.tobytes()) for t in GGUFReader(file).tensors}


def test_a_file_for_each_size(source: Path, imatrix: Path, qconv: Run, tmp_path: Path) -> None:
    made = qconv("convert", source, "--size", "700KB,5bpw", "--imatrix", imatrix, "--output", tmp_path)
    assert made.returncode == 0, made.stderr
    first, second = map(Path, made.stdout.splitlines())
    assert {first, second} == set(tmp_path.iterdir())
    assert first.stat().st_size <= 700_000
    predicted = r"21 tensors, .*, predicted KL divergence [\d.e-]+\n"
    assert re.search(rf"qconv: {first.name}: --size 700KB: {predicted}", made.stderr)
    assert re.search(rf"qconv: {second.name}: --size 5bpw: {predicted}", made.stderr)
    assert "warning" not in made.stderr
    again = qconv(
        "convert", source, "--size", "700KB,5bpw", "--imatrix", imatrix, "--output", tmp_path, "--skip-existing"
    )
    assert (again.returncode, again.stdout) == (0, made.stdout)
    assert again.stderr == f"qconv: {first.name} is there already\nqconv: {second.name} is there already\n"


def test_a_dry_run_ends_with_the_curve(source: Path, imatrix: Path, qconv: Run, tmp_path: Path) -> None:
    sizes = "600KB,700KB,q4_k_m"
    shown = qconv("convert", source, "--size", sizes, "--imatrix", imatrix, "--output", tmp_path, "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert os.listdir(tmp_path) == []
    lines = shown.stdout.splitlines()
    start = next(
        n for n, line in enumerate(lines) if line.split() == ["bytes", "size", "bits", "predicted", "KL", "file"]
    )
    curve = [re.split(r"  +", line.strip()) for line in lines[start + 1 :]]
    counts = [int(row[0].replace(",", "")) for row in curve]
    assert counts == sorted(counts)
    assert [row[4] for row in curve if "--size" in row[4]] == ["--size 600KB", "--size 700KB", "--size q4_k_m"]
    own = {row[4]: float(row[3]) for row in curve}
    assert own["--size 600KB"] > own["--size 700KB"] > own["--size q4_k_m"]
    assert own["--size q4_k_m"] < own["Q4_K_M (llama.cpp)"]
    # every tensor's share of what is predicted, before that
    shares = [float(m[1]) for line in lines[: lines.index("")] if (m := re.search(r"([\d.]+)%$", line))]
    assert len(shares) == 15
    assert sum(shares) == pytest.approx(100, abs=1)


def test_a_dry_run_as_json(source: Path, imatrix: Path, qconv: Run) -> None:
    shown = qconv("convert", source, "--size", "600KB,700KB", "--imatrix", imatrix, "--dry-run", "--json")
    plans = [json.loads(line) for line in shown.stdout.splitlines()]
    assert [plan["size"] for plan in plans] == ["600KB", "700KB"]
    for plan in plans:
        assert plan["bytes"] <= int(plan["size"].removesuffix("KB")) * 1000
        total = sum(t["predicted_kl_divergence"] for t in plan["tensors"])
        assert plan["predicted_kl_divergence"] == pytest.approx(total)


def test_a_saved_mix_makes_the_same_tensors(source: Path, imatrix: Path, qconv: Run, tmp_path: Path) -> None:
    mix, types = tmp_path / "own.toml", tmp_path / "types.txt"
    saving = ["--mix-out", mix, "--tensor-types-out", types]
    made = qconv("convert", source, "--size", "700KB", "--imatrix", imatrix, *saving, "--output", tmp_path / "a.gguf")
    assert made.returncode == 0, made.stderr
    again = qconv("convert", source, "--mix", mix, "--imatrix", imatrix, "--output", tmp_path / "b.gguf")
    assert again.returncode == 0, again.stderr
    sized = tensors(tmp_path / "a.gguf")
    assert tensors(tmp_path / "b.gguf") == sized
    assert mix.read_text().startswith(f"# {(tmp_path / 'a.gguf').stat().st_size:,} bytes, predicted KL divergence ")
    # llama-quantize's --tensor-type-file: NAME=TYPE, one a line
    lines = dict(line.split("=") for line in types.read_text().splitlines())
    assert lines == {name: kind.lower() for name, (kind, _) in sized.items() if kind != "F32"}


def test_a_manifest_lets_a_sized_file_be_verified(source: Path, imatrix: Path, qconv: Run, tmp_path: Path) -> None:
    given = ["--size", "700KB,650KB", "--imatrix", imatrix, "--manifest", "--output", tmp_path]
    made = qconv("convert", source, *given)
    assert made.returncode == 0, made.stderr
    for file in made.stdout.splitlines():
        checked = qconv("verify", file, "--against", source)
        assert (checked.returncode, checked.stderr) == (0, ""), checked.stdout
        assert checked.stdout.endswith(", all well\n")


def test_without_sensitivities_it_says_so_once(source: Path, qconv: Run, tmp_path: Path) -> None:
    made = qconv("convert", source, "--size", "700KB,800KB", "--output", tmp_path)
    assert made.returncode == 0
    assert len(made.stdout.splitlines()) == 2
    planned = qconv("convert", source, "--size", "700KB,800KB", "--output", tmp_path, "--dry-run")
    for run in (made, planned):
        assert run.stderr.count("qconv: warning: no sensitivities were measured, so --size goes by") == 1
    quiet = qconv("convert", source, "--size", "650KB", "--output", tmp_path, "--quiet")
    assert (quiet.returncode, quiet.stderr) == (0, "")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--size", "4.5XB"], "'4.5XB' is not a size"),
        (["--size", "700KB", "--pure"], "--pure and --size cannot be used together"),
        (["--size", "700KB", "--mix", "x.toml"], "--mix and --size cannot be used together"),
        (["--type", "q8_0", "--block-types", "q4_k"], "--block-types is for --size"),
        (["--size", "700KB", "--block-types", "q4_x"], "unknown block type 'q4_x'"),
        (["--size", "1MB,2MB", "--mix-out", "x.toml"], "--mix-out saves the choice for one --size"),
        (["--type", "q8_0", "--tensor-types-out", "x"], "--tensor-types-out saves the choice for one --size"),
        (["--type", "q8_0", "--plot", "x.png"], "--plot draws what --size chooses"),
        (["--size", "700KB", "--plot", "x.jpg"], "'x.jpg' does not end in .png"),
        (["--size", "1MB,2MB", "--output", "x.gguf"], "--output names one file, but 2 are to be made"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_told_before_a_source_is_opened(options: list[str], said: str, qconv: Run) -> None:
    refused = qconv("convert", "no such source", *options)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert said in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_size_that_cannot_be_met_is_wrong_usage(source: Path, qconv: Run, tmp_path: Path) -> None:
    refused = qconv("convert", source, "--size", "100KB", "--output", tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert re.search(r"--size 100KB: the smallest file that can be made has [\d,]+ bytes \(ask for", refused.stderr)
    assert os.listdir(tmp_path) == []


def test_a_plot_without_matplotlib(source: Path, tmp_path: Path) -> None:
    picture = tmp_path / "curve.png"
    refused = without("matplotlib", "convert", source, "--size", "700KB", "--plot", picture, "--dry-run")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == "qconv: error: --plot needs matplotlib (pip install 'qconv[plot]')\n"


def test_a_choice_that_cannot_be_saved(source: Path, qconv: Run, tmp_path: Path) -> None:
    refused = qconv("convert", source, "--size", "700KB", "--mix-out", tmp_path / "none" / "x.toml", "-o", tmp_path)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "x.toml: cannot be written: No such file or directory" in refused.stderr
    assert os.listdir(tmp_path) == []
