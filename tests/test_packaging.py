"""What a wheel holds, and what the scripts say about dependencies."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
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
