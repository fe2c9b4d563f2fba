#!/usr/bin/env python3
"""Records what llama.cpp's converter makes with ``--mistral-format``, for tests/mistral/recorded.json.

    scripts/record_mistral.py LLAMA_CPP PYTHON

LLAMA_CPP: a folder with ``convert_hf_to_gguf.py`` and all it imports, such as the one in the source distribution of the
PyPI package ``xllamacpp`` (2026.10.11549, which is b11549).  PYTHON: one that can run it, with mistral_common 1.13.1.
The models are those of ``tests/mistral/models.py``; of each file its name and SHA-256 are kept, those of models with a
projector, whose text model is made in a run of its own, in ``projectors.json``.  The converter reads a ``config.json``
of models with experts, though it has no use for it: it is given an empty one.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from recording import llama_cpp_and_python, save

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.mistral.models import CASES, PROJECTORS, TYPES  # noqa: E402  # the path comes first

_KEPT = ROOT / "tests" / "mistral"


def main() -> None:
    given = llama_cpp_and_python(__doc__)
    save({name: _made(given, name, make, "bf16") for name, make in CASES.items()}, _KEPT / "recorded.json")
    save(
        {
            name: {
                "text": _made(given, name, make, "bf16"),
                **{kind: _made(given, name, make, kind, "--mmproj") for kind in TYPES},
            }
            for name, make in PROJECTORS.items()
        },
        _KEPT / "projectors.json",
    )


def _made(given: argparse.Namespace, name: str, make: Callable[[Path], None], kind: str, *options: str) -> list[str]:
    """Name and SHA-256 of the file the converter makes."""
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / name
        folder.mkdir()
        make(folder)
        (folder / "config.json").write_text("{}")
        script = given.llama_cpp / "convert_hf_to_gguf.py"
        command = [given.python, script, "--mistral-format", folder, "--outtype", kind, *options]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{name}: {done.stderr[-2000:]}")
        (file,) = folder.glob("*.gguf")
        return [file.name, hashlib.sha256(file.read_bytes()).hexdigest()]


if __name__ == "__main__":
    main()
