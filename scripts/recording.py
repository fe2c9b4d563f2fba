"""What scripts that record llama.cpp's own results share."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def llama_cpp_and_python(description: str | None) -> argparse.Namespace:
    """The command line ``LLAMA_CPP PYTHON``: a folder with its converters, and what runs them."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("llama_cpp", type=Path)
    parser.add_argument("python")
    return parser.parse_args()


def save(recorded: object, path: Path) -> None:
    """Writes ``recorded`` as JSON."""
    path.write_text(json.dumps(recorded, indent=1) + "\n")


def converts(name: str, child: str, arguments: Sequence[str], out: Path, options: argparse.Namespace) -> bool:
    """Runs ``child``, a program around llama.cpp's converter, in this Python; says where it fails to make ``out``.

    ``options``: ``converter``, the converter's folder, and ``path``, more to import from.  The gguf package beside the
    converter is found before others from then on.
    """
    environment = dict(os.environ, PYTHONPATH=options.path or "", HF_HUB_OFFLINE="1", PYTHONHASHSEED="2")
    command = [sys.executable, "-c", child, str(options.converter), *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode or not out.exists():
        print(f"{name}: llama.cpp's converter fails: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
        return False
    sys.path.insert(1, str(options.converter / "gguf-py"))
    return True
