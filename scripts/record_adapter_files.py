#!/usr/bin/env python3
"""Records what llama.cpp's ``convert_lora_to_gguf.py`` makes of adapters, for tests/adapters/files.json.

    scripts/record_adapter_files.py LLAMA_CPP PYTHON

LLAMA_CPP: a folder with that script and all it imports, such as the one in the source distribution of the PyPI package
``xllamacpp`` (2026.10.11549, which is b11549).  PYTHON: one that can run it.  The adapters and their bases are those of
``tests/adapters/files.py``; of each file its name by default and its SHA-256 are kept.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

from recording import llama_cpp_and_python, save

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.adapters.files import CASES, TYPES  # noqa: E402  # the path comes first


def main() -> None:
    given = llama_cpp_and_python(__doc__)
    recorded = {}
    for name, make in CASES.items():
        for kind in TYPES:
            with tempfile.TemporaryDirectory() as folder:
                base, adapter = make(Path(folder))
                script = given.llama_cpp / "convert_lora_to_gguf.py"
                command = [given.python, script, "--base", base, "--outtype", kind, adapter]
                subprocess.run(list(map(str, command)), check=True, stderr=subprocess.DEVNULL)
                (file,) = adapter.glob("*.gguf")
                recorded[f"{name} {kind}"] = [file.name, hashlib.sha256(file.read_bytes()).hexdigest()]
    save(recorded, ROOT / "tests" / "adapters" / "files.json")


if __name__ == "__main__":
    main()
