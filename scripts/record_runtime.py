#!/usr/bin/env python3
"""Records what llama.cpp's own tools say of small models, for tests/runtime/goldens.

    scripts/record_runtime.py LLAMA_CPP

LLAMA_CPP: llama.cpp's source of the build that the installed ``xllamacpp`` holds, as in the source distribution of
that package (``thirdparty/llama.cpp``).  Its tools ``llama-imatrix`` and ``llama-perplexity`` are compiled, with
``c++``, and run over the wheel's library: what they say is what this build says.  The models are those of
``tests/runtime/models.py``.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from qconv.runtime.library import library_path  # noqa: E402  # the path comes first
from tests.runtime import models  # noqa: E402  # the path comes first

GOLDENS = ROOT / "tests" / "runtime" / "goldens"
CONTEXT = "64"
BATCH = "256"

# the wheel is built with the standard library's older strings
FLAGS = ["-std=c++17", "-O3", "-DNDEBUG", "-fPIC", "-shared", "-D_GLIBCXX_USE_CXX11_ABI=0"]
RUN = """
import ctypes, sys
ctypes.CDLL(sys.argv[1], mode=ctypes.RTLD_GLOBAL)
arguments = [a.encode() for a in sys.argv[3:]]
main = ctypes.CDLL(sys.argv[2])[sys.argv[3]]
sys.exit(main(len(arguments), (ctypes.c_char_p * (len(arguments) + 1))(*arguments)))
"""
ENTRIES = {"imatrix": "_Z12imatrix_mainiPPc", "perplexity": "_Z16llama_perplexityiPPc"}


def build(tool: str, source: Path, directory: Path) -> Path:
    """A tool as a library."""
    library = directory / f"lib{tool}.so"
    files = [source / "tools" / tool / f"{tool}.cpp"]
    if tool == "imatrix":
        files.append(source / "common" / "imatrix-loader.cpp")
    includes = [f"-I{source / folder}" for folder in ("include", "ggml/include", "common", "src", "vendor")]
    command = ["c++", *FLAGS, f"-Dmain={tool}_main", *includes, *map(str, files), "-o", str(library)]
    subprocess.run(command, check=True)
    return library


def run(tool: str, library: Path, *arguments: str) -> str:
    """What the tool printed, run in the folder of the models."""
    command = [sys.executable, "-c", RUN, str(library_path()), str(library), ENTRIES[tool], *arguments]
    done = subprocess.run(command, cwd=library.parent, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return done.stdout + done.stderr


def number(pattern: str, said: str) -> float:
    match = re.search(pattern, said)
    if match is None:
        raise SystemExit(f"nothing matches {pattern} in\n{said}")
    return float(match[1])


def main() -> None:
    if len(sys.argv) != 2 or sys.argv[1] in ("-h", "--help"):
        sys.exit(__doc__)
    source = Path(sys.argv[1]).resolve()
    GOLDENS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = folder / "text.txt"
        text.write_text(models.TEXT + "\n")
        imatrix, perplexity = (build(tool, source, folder) for tool in ENTRIES)
        common = ["-f", "text.txt", "-c", CONTEXT, "-b", BATCH, "-t", "1"]
        for experts in (False, True):
            model = models.llama(folder / f"model-{experts}.gguf", experts=experts)
            out = GOLDENS / f"{'experts' if experts else 'plain'}-imatrix.gguf"
            run("imatrix", imatrix, "-m", model.name, *common, "-o", str(out), "--process-output", "--no-ppl")
        base = models.llama(folder / "base.gguf")
        other = models.llama(folder / "other.gguf", changed=models.disturbed())
        common += ["--kl-divergence-base", "base.bin"]
        said = run("perplexity", perplexity, "-m", base.name, *common)
        figures = {"perplexity": number(r"PPL = ([\d.]+)", said)}
        said = run(
            "perplexity", perplexity, "-m", other.name, *common, "--kl-divergence-base", "base.bin", "--kl-divergence"
        )
        for key, label in {
            "mean": "Mean    KLD",
            "maximum": "Maximum KLD",
            "99%": r"99.0%   KLD",
            "median": "Median  KLD",
            "other's perplexity": r"Mean PPL\(Q\)  ",
            "same top": "Same top p",
        }.items():
            figures[key] = number(rf"{label} *: +(-?[\d.]+)", said)
        (GOLDENS / "perplexity.json").write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
