#!/usr/bin/env python3
"""Records what llama.cpp makes of checkpoints and importance matrices, for tests/imatrix/expected.json.

    scripts/record_imatrix.py LLAMA_QUANTIZE LLAMA_CPP PYTHON

LLAMA_QUANTIZE: the program ``llama-quantize``, built for plain x86-64.  LLAMA_CPP: a folder with llama.cpp's
``convert_hf_to_gguf.py``, such as the one in the source distribution of the PyPI package ``llama-cpp-python``.  PYTHON:
one that can run it.  The checkpoints and matrices are those of ``tests/imatrix/models.py``: each checkpoint goes
through the converter, and the file it makes, for each type, through llama-quantize with the matrix.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from record_probabilities import CONVERTER  # noqa: E402  # the path comes first

from tests.imatrix.digest import digest  # noqa: E402  # the path comes first
from tests.imatrix.models import MODELS, RUNS, Run, make, write_matrices  # noqa: E402  # the path comes first


def converted(checkpoint: Path, llama_cpp: Path, python: str) -> Path:
    """The converter's own file of a checkpoint."""
    file = checkpoint.with_name(f"{checkpoint.name}.gguf").resolve()
    command = [python, "-c", CONVERTER, checkpoint.resolve(), "--outtype", "auto", "--outfile", file]
    subprocess.run(list(map(str, command)), cwd=llama_cpp, check=True, stderr=subprocess.DEVNULL)
    return file


def quantized(program: Path, source: Path, run: Run, type_: str, directory: Path) -> tuple[Path, str]:
    """llama-quantize's file, and the version it tells; ``directory`` is where it is run, and the matrices are."""
    file = directory / f"{type_}.gguf"
    command = [str(program), "--imatrix", run.imatrix, *run.options, str(source), str(file), type_, "1"]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, errors="replace")
    if done.returncode:
        sys.exit(f"{run.title} {type_}: {(done.stdout + done.stderr)[-2000:]}")
    match = re.search(r"version: *(\S+)", done.stdout + done.stderr)
    return file, match[1] if match else "unknown"


def record(program: Path, llama_cpp: Path, python: str, directory: Path) -> dict[str, Any]:
    """Digests by run and type."""
    digests: dict[str, Any] = {}
    version = ""
    for name in MODELS:
        (directory / name).mkdir()
        source = converted(make(name, directory / name), llama_cpp, python)
        write_matrices(source.parent, name)
        for run in (r for r in RUNS if r.model == name):
            digests[run.title] = {}
            for type_ in run.types:
                file, version = quantized(program, source, run, type_, source.parent)
                digests[run.title][type_] = digest(file)
                file.unlink()
    return {"llama-quantize": version, "runs": digests}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("llama_quantize", type=Path)
    parser.add_argument("llama_cpp", type=Path)
    parser.add_argument("python")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        digests = record(args.llama_quantize.resolve(), args.llama_cpp, args.python, Path(directory))
    path = ROOT / "tests" / "imatrix" / "expected.json"
    path.write_text(json.dumps(digests, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    made = sum(map(len, digests["runs"].values()))
    print(f"{path}: {len(digests['runs'])} runs, {made} files, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
