#!/usr/bin/env python3
"""Records what llama.cpp's converter makes of quantized checkpoints, for tests/cli/quantized.json.

    scripts/record_quantized_files.py LLAMA_CPP PYTHON

LLAMA_CPP: a folder with ``convert_hf_to_gguf.py`` and all it imports, such as the one in the source distribution of the
PyPI package ``xllamacpp`` (2026.10.11549, which is b11549).  PYTHON: one that can run it.  The checkpoints are those of
``tests/cli/quantized_models.py``, each tensor's type and the SHA-256 of its data are kept; a case that the converter
refuses is left out, and said.  Tokenizers are left out.  Tensors are not lazy, for which BitNet's scales do not work.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

from gguf import GGUFReader
from recording import llama_cpp_and_python, save

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from record_architectures import CHILD  # noqa: E402  # the path comes first

from tests.cli.quantized_models import CASES, quantized  # noqa: E402  # the path comes first


def main() -> None:
    given = llama_cpp_and_python(__doc__)
    recorded: dict[str, dict[str, list[str]]] = {}
    for name in CASES:
        with tempfile.TemporaryDirectory() as parent:
            folder, _ = quantized(Path(parent), name)
            out = Path(parent) / "out.gguf"
            command = [given.python, "-c", CHILD, given.llama_cpp, folder, "f32", out, "--no-lazy"]
            done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
            if done.returncode:
                print(f"{name}: {done.stderr.strip().splitlines()[-1]}")
                continue
            recorded[name] = {
                each.name: [each.tensor_type.name, hashlib.sha256(each.data.tobytes()).hexdigest()]
                for each in GGUFReader(out).tensors
            }
    save(recorded, ROOT / "tests" / "cli" / "quantized.json")


if __name__ == "__main__":
    main()
