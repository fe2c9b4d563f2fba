"""The order of rooms, and what qconv never imports or calls, read from the source itself."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import qconv

PACKAGE = Path(qconv.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

ORDER = [
    "errors",
    "plots",
    "platform",
    "cores",
    "types",
    "formats",
    "storage",
    "files",
    "blocks",
    "tensors",
    "gguf",
    "checkpoints",
    "architectures",
    "tokenizers",
    "metadata",
    "calibration",
    "policy",
    "sizes",
    "options",
    "adapters",
    "plan",
    "pipeline",
    "runtime",
    "conversion",
    "allocation",
    "measurement",
    "evaluation",
    "verify",
    "compare",
    "summary",
    "publish",
    "api",
    "cli",
]
"""Rooms, each of which may import those before it."""
PLACE = {room: place for place, room in enumerate(ORDER)}
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
def test_rooms_import_one_way_and_through_their_door(path: Path) -> None:
    here = room(path)
    if not here:
        return
    assert here in PLACE, f"the room '{here}' has no place in the order of imports"
    for module, line, _ in imports(path):
        package, _, rest = module.partition(".")
        there = rest.partition(".")[0]
        if package != "qconv" or there in ("", "__version__", here):
            continue
        assert there in PLACE, f"{path}:{line}: imports {module}, which is no room"
        assert PLACE[there] < PLACE[here], f"{path}:{line}: {here} may not import {module}"
        inner = PACKAGE / rest.replace(".", "/")
        past = rest != there and (inner.with_suffix(".py").is_file() or inner.is_dir())
        assert not past or rest in offered_modules(there), f"{path}:{line}: {module} is past the door of {there}"


def offered_modules(there: str) -> set[str]:
    """Modules that a room's ``__init__`` offers in its ``__all__``: ``policy.converter``."""
    offered = getattr(importlib.import_module(f"qconv.{there}"), "__all__", [])
    return {f"{there}.{name}" for name in offered}


def test_no_module_imports_itself_by_a_detour() -> None:
    """Whether at its top or inside a function: what imports in a circle cannot be read from the beginning."""
    known = {name_of(path): path for path in FILES if name_of(path) != "qconv"}
    graph = {name: {each for each in imported_modules(path) if each in known} - {name} for name, path in known.items()}
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " -> ".join([*way[way.index(name) :], name])
        if name in done:
            return
        for following in sorted(graph[name]):
            visit(following, (*way, name))
        done.add(name)

    for name in known:
        visit(name, ())


def imported_modules(path: Path) -> Iterator[str]:
    """Modules a file imports; of ``from package import module`` the module, not the package around it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []  # ast.walk has not come to it yet
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                inner = PACKAGE.parent / f"{node.module}.{alias.name}".replace(".", "/")
                is_module = inner.with_suffix(".py").is_file() or (inner / "__init__.py").is_file()
                yield f"{node.module}.{alias.name}" if is_module else node.module


def name_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


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
