#!/usr/bin/env python3
"""Records what llama.cpp's own file of a checkpoint says next, for tests/cli/probabilities.json.

    scripts/record_probabilities.py LLAMA_CPP PYTHON

LLAMA_CPP: a folder with llama.cpp's ``convert_hf_to_gguf.py``, such as the one in the source distribution of the PyPI
package ``llama-cpp-python``.  PYTHON: one that can run it.  The checkpoint is the one ``scripts/make_checkpoint``
makes.  Its vocabulary is of its own, so the converter's list of fingerprints cannot know it; it is told that the
pre-tokenizer is Llama 3's, which ``tokenizer.json`` says too.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.cli.commands import make_checkpoint  # noqa: E402  # the path comes first
from tests.cli.llama_cpp import PROMPT, complete  # noqa: E402  # the path comes first

CONVERTER = """
import runpy, sys
from conversion import base
base.TextModel.get_vocab_base_pre = lambda self, tokenizer: "llama-bpe"
sys.argv = ["convert_hf_to_gguf.py", *sys.argv[1:]]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def main(llama_cpp: str, python: str) -> None:
    with tempfile.TemporaryDirectory() as directory:
        checkpoint = make_checkpoint(Path(directory) / "Noise-Instruct")
        file = Path(directory) / "f32.gguf"
        command = [python, "-c", CONVERTER, str(checkpoint), "--outtype", "f32", "--outfile", str(file)]
        subprocess.run(command, cwd=llama_cpp, check=True)
        said = complete(file, probabilities=1024)
    record = {
        "prompt": PROMPT,
        "prompt_tokens": said["prompt_tokens"],
        "text": said["text"],
        "logprobs": [round(said["logprobs"][token], 5) for token in range(1024)],
    }
    path = ROOT / "tests" / "cli" / "probabilities.json"
    path.write_text(json.dumps(record) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
