#!/usr/bin/env python3
"""Records which ``tokenizer.*`` keys llama.cpp's converter writes for the tiny tokenizers of tokenizer_cases.py.

    scripts/record_tokenizers.py LLAMA_CPP [CASE...]

LLAMA_CPP: a source tree of llama.cpp, whose ``conversion`` package is run as it is, in a Python that has torch and
transformers (4.57); only the name of the pre-tokenizer, which goes by the fingerprints of known models, is given, and
what the classes of tokenizers that come with their checkpoints would say (tokenizer_own_classes.py).
Writes ``tests/tokenizers/cases/NAME/``: the tokenizer's files, ``case.json`` (kind and options) and ``expected.json``.
"""

from __future__ import annotations

import hashlib
import shutil
import struct
import sys
from pathlib import Path
from typing import Any

from tokenizer_cases import CASES, PRE
from tokenizer_own_cases import OWN_CASES, OWN_PRE
from tokenizer_own_classes import own_tokenizer
from tokenizer_parts import write

CASES_DIR = Path(__file__).resolve().parent.parent / "tests" / "tokenizers" / "cases"
FORMATS = {"UINT8": "B", "UINT32": "I", "INT32": "i", "FLOAT32": "f", "BOOL": "?"}


def record(value: Any, kind: str, element: str | None) -> dict[str, Any]:
    """A key's value, an array as its length, hash, beginning and end."""
    if kind != "ARRAY" or element is None:
        return {"type": kind, "value": value}
    if element == "STRING":
        raw = [v if isinstance(v, bytes) else v.encode() for v in value]
        data = b"".join(struct.pack("<Q", len(text)) + text for text in raw)
        shown: list[Any] = [text.decode() for text in raw]
    else:
        shown = list(value)
        data = struct.pack(f"<{len(shown)}{FORMATS[element]}", *shown)
    digest = hashlib.sha256(data).hexdigest()
    size = {"element_type": element, "length": len(shown), "sha256": digest}
    return {"type": "ARRAY", **size, "first": shown[:8], "last": shown[-8:]}


def main() -> None:
    sys.path[:0] = [sys.argv[1], str(Path(sys.argv[1]) / "gguf-py")]
    import conversion  # type: ignore[import-not-found]  # llama.cpp's own, from its checkout
    import gguf
    import transformers  # type: ignore[import-not-found]  # of the Python that runs the converter
    from conversion.base import ModelBase, TextModel  # type: ignore[import-not-found]  # the same

    cases = {**CASES, **OWN_CASES}
    usual = transformers.AutoTokenizer.from_pretrained
    for name in sys.argv[2:] or cases:
        kind, options, files = cases[name]
        given = {**PRE, **OWN_PRE}.get(name, "gpt-2")
        TextModel.get_vocab_base_pre = lambda self, tokenizer, pre=given: pre
        folder = CASES_DIR / name
        shutil.rmtree(folder, ignore_errors=True)
        for file, value in files.items():
            path = folder / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(write(value))
        architecture = files["config.json"]["architectures"][0]
        own = own_tokenizer(folder, architecture)
        transformers.AutoTokenizer.from_pretrained = usual if own is None else lambda *_, made=own, **__: made
        made = conversion.get_model_class(architecture)(
            folder, gguf.LlamaFileType.MOSTLY_F16, folder / "unused.gguf", hparams=ModelBase.load_hparams(folder, False)
        )
        made.set_vocab()
        keys: dict[str, Any] = {}
        for key, entry in made.gguf_writer.kv_data[0].items():
            if not key.startswith("tokenizer."):
                continue
            element = None
            if entry.type.name == "ARRAY":
                first = entry.value[0]
                element = "UINT8" if isinstance(entry.value, bytes) else gguf.GGUFValueType.get_type(first).name
            keys[key] = record(entry.value, entry.type.name, element)
        (folder / "expected.json").write_bytes(write(keys, indent=1))
        (folder / "case.json").write_bytes(write({"kind": kind, "options": options}, indent=1))
        print(name, len(keys))


if __name__ == "__main__":
    main()
