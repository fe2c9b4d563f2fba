"""What a wheel holds, and what the scripts say about dependencies."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_table_is_in_the_wheel() -> None:
    included = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    for source, target in included.items():
        assert target == f"qconv/_{source}", "where qconv.formats looks for it"
        assert (ROOT / source).exists(), source
    for table in (ROOT / "formats").rglob("*.toml"):
        name = table.relative_to(ROOT).as_posix()
        assert name in included or any(name.startswith(f"{folder}/") for folder in included), f"{name} is left out"


def test_every_dependency_has_a_lower_bound() -> None:
    script = [sys.executable, ROOT / "scripts" / "lowest", ROOT / "pyproject.toml"]
    lines = subprocess.run(script, capture_output=True, text=True, check=True).stdout.split()
    assert len(lines) == len(PROJECT["project"]["dependencies"])
    assert all(re.fullmatch(r"[\w-]+==\d+(\.\d+)+", line) for line in lines)


def test_only_numba_has_an_upper_bound() -> None:
    bounded = [d for d in PROJECT["project"]["dependencies"] if re.search(r"<|==|~=", d)]
    assert [re.match(r"[\w-]+", d)[0] for d in bounded] == ["numba"]  # type: ignore[index]


def test_a_wheel_works_away_from_the_checkout(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    place = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}
    code = "import qconv.formats as f; print(f.ROOT); from qconv.cli import main; main()"
    run = subprocess.run(
        [sys.executable, "-c", code, "architectures", "llama"], cwd=tmp_path, env=place, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith(f"{tmp_path / 'site' / 'qconv' / '_formats'}\nllama: ")
