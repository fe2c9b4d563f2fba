"""The order of rooms, and what qconv never imports or calls, read from the source itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import qconv

PACKAGE = Path(qconv.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

LEVELS = [
    {"errors"},
    {"types"},
    {"files"},
    {"formats", "cores"},
    {"blocks", "gguf", "checkpoints", "architectures", "tokenizers"},
    {"policy", "metadata"},
    {"plan", "summary"},
    {"runtime"},
    {"convert"},
    {"verify", "compare"},
    {"api"},
    {"cli"},
]
LEVEL = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}
SIBLINGS = {
    ("checkpoints", "blocks"): "checkpoints decode through blocks",
    ("checkpoints", "gguf"): "a GGUF file is a checkpoint too",
}
NEVER = {"torch", "transformers", "pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "jinja2"}
NEVER_CALLED = {"eval", "exec", "compile", "__import__"}
HEAVY = {"numba", "llvmlite", "tokenizers", "sentencepiece", "google", "safetensors", "rich", "tqdm", "yaml"}


def room(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return "" if parts[0] in ("__init__", "__main__") else parts[0]


def imports(path: Path) -> Iterator[tuple[str, int, bool]]:
    """Modules a file imports by their dotted names, with the line, and whether only type checkers see the import."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    unseen = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno, id(node) in unseen
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports in qconv are absolute"
            assert node.module is not None
            yield node.module, node.lineno, id(node) in unseen
            if node.module == "qconv":
                for alias in node.names:
                    yield f"qconv.{alias.name}", node.lineno, id(node) in unseen


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_rooms_import_one_way(path: Path) -> None:
    here = room(path)
    if not here:
        return
    assert here in LEVEL, f"the room '{here}' has no place in the order of imports"
    for module, line, _ in imports(path):
        package, _, rest = module.partition(".")
        there = rest.partition(".")[0]
        if package != "qconv" or there in ("", "__version__", here):
            continue
        assert there in LEVEL, f"{path}:{line}: imports {module}, which is no room"
        allowed = LEVEL[there] < LEVEL[here] or (here, there) in SIBLINGS
        assert allowed, f"{path}:{line}: {here} may not import {module}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_code_of_a_checkpoint_can_run(path: Path) -> None:
    for module, line, _ in imports(path):
        assert module.partition(".")[0] not in NEVER, f"{path}:{line}: imports {module}"
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in NEVER_CALLED, f"{path}:{node.lineno}: calls {node.func.id}"
        if isinstance(node, ast.keyword):
            assert node.arg != "trust_remote_code", f"{path}:{node.lineno}: trusts remote code"
            assert node.arg != "allow_pickle" or ast.unparse(node.value) == "False", (
                f"{path}:{node.lineno}: loads pickles"
            )


@pytest.mark.parametrize("path", [p for p in FILES if room(p) == "cli"], ids=lambda p: p.stem)
def test_commands_import_what_is_heavy_only_when_they_run(path: Path) -> None:
    top = ast.parse(path.read_text(encoding="utf-8")).body
    for node in top:
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            assert name.partition(".")[0] not in HEAVY, f"{path}:{node.lineno}: imports {name} at the top"


def test_only_the_command_line_prints_and_exits() -> None:
    for path in FILES:
        if room(path) in ("cli", ""):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in {"print", "input", "exit", "sys.exit", "os._exit"}, (
                    f"{path}:{node.lineno}: {called}()"
                )


def test_importing_qconv_brings_only_the_standard_library() -> None:
    code = "import sys, qconv; print(*{name.partition('.')[0] for name in sys.modules})"
    out = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "qconv" in out
    assert not {"numpy", "msgspec", "typer"} & set(out)
    assert not HEAVY & set(out)
