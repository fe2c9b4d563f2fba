"""What a wheel holds, and what the scripts say about dependencies."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
LOCK = ROOT / "scripts" / "requirements"
PYTHONS = [c.rpartition(" ")[2] for c in PROJECT["project"]["classifiers"] if "Python :: 3." in c]
MACHINES = [("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64")]


def test_every_table_is_in_the_wheel() -> None:
    included = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    for source, target in included.items():
        assert target == f"qconv/_{source}", "where qconv.formats looks for it"
        assert (ROOT / source).exists(), source
    for table in (ROOT / "formats").rglob("*.toml"):
        name = table.relative_to(ROOT).as_posix()
        assert name in included or any(name.startswith(f"{folder}/") for folder in included), f"{name} is left out"


def test_every_dependency_has_a_lower_bound() -> None:
    script = [sys.executable, str(ROOT / "scripts" / "lowest"), str(ROOT / "pyproject.toml")]
    lines = subprocess.run(script, capture_output=True, text=True, check=True).stdout.split()
    assert len(lines) == len(PROJECT["project"]["dependencies"])
    assert all(re.fullmatch(r"[\w-]+==\d+(\.\d+)+", line) for line in lines)


def test_only_numba_has_an_upper_bound() -> None:
    bounded = [d for d in PROJECT["project"]["dependencies"] if re.search(r"<|==|~=", d)]
    assert [Requirement(d).name for d in bounded] == ["numba"]


def locked(extra: str) -> Iterator[tuple[Requirement, list[str]]]:
    """The packages of a lock, each with its options."""
    text = (LOCK / f"{extra}.txt").read_text(encoding="utf-8")
    for line in re.sub(r"^ *#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ").splitlines():
        requirement, *options = re.split(r" +(?=--)", line.strip())
        yield Requirement(requirement), options


@pytest.mark.parametrize("extra", ["base", "dev", "fuzz", "release"])
def test_the_lock_names_versions_and_hashes_and_no_place(extra: str) -> None:
    for package, options in locked(extra):
        assert [s.operator for s in package.specifier] == ["=="], package
        assert package.url is None
        assert options, f"{package} has no hash"
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", option) for option in options), options


@pytest.mark.parametrize("extra", ["base", "dev", "fuzz", "release"])
@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize("machine", MACHINES, ids=" ".join)
def test_the_lock_keeps_to_the_ranges(extra: str, python: str, machine: tuple[str, str]) -> None:
    here = dict(zip(("sys_platform", "platform_machine"), machine, strict=True))
    here |= {"python_version": python, "python_full_version": f"{python}.0"}
    environment = {**{k: str(v) for k, v in default_environment().items()}, **here}
    chosen = [p for p, _ in locked(extra) if p.marker is None or p.marker.evaluate(environment)]
    versions = {canonicalize_name(p.name): next(iter(p.specifier)).version for p in chosen}
    assert len(versions) == len(chosen), "one version of each"
    asked = [*PROJECT["build-system"]["requires"], *PROJECT["project"]["dependencies"]]
    for line in asked + PROJECT["project"]["optional-dependencies"].get(extra, []):
        wanted = Requirement(line)
        version = versions.get(canonicalize_name(wanted.name), "none")
        assert version != "none", f"{line} is not locked: run scripts/lock"
        assert wanted.specifier.contains(version, prereleases=True), f"{version} is locked for {line}: run scripts/lock"


def test_every_set_has_the_same_versions() -> None:
    of_dev = {str(package) for package, _ in locked("dev")}
    assert {str(package) for package, _ in locked("base")} < of_dev


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
