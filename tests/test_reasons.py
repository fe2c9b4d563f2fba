"""Where a linter or the type checker is told to look away, the line says why."""

from __future__ import annotations

import re
import tokenize
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")

FOR_A_FILE = re.compile(r"#\s*(mypy|ruff):")
FOR_A_LINE = re.compile(r"#\s*(noqa|type:\s*ignore)")
WITH_REASON = re.compile(r"# (noqa: [A-Z0-9, ]+|type: ignore\[[a-z, -]+\])  # \w.*\w")

# rooms that are being rebuilt: these, and those that mypy leaves aside for now
LATER = (
    "qconv/blocks/",
    *(
        module.removesuffix(".*").replace(".", "/") + "/"
        for override in tomllib.loads(PYPROJECT)["tool"]["mypy"]["overrides"]
        if override.get("ignore_errors")
        for module in override["module"]
    ),
)


def _is_python(path: Path) -> bool:
    return path.suffix == ".py" or (not path.suffix and b"python" in path.read_bytes()[:40])


FILES = [
    path
    for folder in ("qconv", "tests", "scripts")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.is_file() and _is_python(path) and not path.relative_to(ROOT).as_posix().startswith(LATER)
]


def test_files_are_found() -> None:
    assert {ROOT / "scripts" / "lowest", ROOT / "qconv" / "errors.py", Path(__file__)} <= set(FILES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_is_ignored_has_a_reason(path: Path) -> None:
    with path.open("rb") as f:
        comments = [token for token in tokenize.tokenize(f.readline) if token.type == tokenize.COMMENT]
    explained = set()  # lines: a setting for a whole file has its reason above it
    for comment in comments:
        line = comment.start[0]
        place = f"{path.relative_to(ROOT)}:{line}: {comment.string}"
        if FOR_A_LINE.match(comment.string):
            assert WITH_REASON.fullmatch(comment.string), f"{place}: say why, after '  # '"
        elif not FOR_A_FILE.match(comment.string) or line - 1 in explained:
            explained.add(line)
        else:
            raise AssertionError(f"{place}: say why, in a comment above it")


def test_settings_that_ignore_have_a_reason() -> None:
    after = re.findall(
        r"^(?:\[\[tool\.mypy\.overrides\]\]|\[tool\.ruff\.lint\.per-file-ignores\])\n(.)", PYPROJECT, re.M
    )
    assert len(after) > 2
    assert set(after) == {"#"}
