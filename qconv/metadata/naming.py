"""Names of output files: GGUF's naming convention, built as llama.cpp's converter does.

``{base name}-{size label}-{fine-tune}-{version}-{encoding}-{kind}.gguf``; see ggml's ``docs/gguf.md``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from qconv import platform
from qconv.types import Metadata, ValueType

_LONGEST = 200
"""Bytes of a name, so that it and ``.part`` fit a file system."""
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")


def file_name(metadata: Metadata, encoding: str, stem: str = "model", *, bits: float | None = None) -> str:
    """The name of the output, without a directory.

    ``metadata``: the output's.  ``encoding``: the mix's name.  ``stem``: what to call it when the metadata says
    nothing.  ``bits``: per weight, of a file whose types were chosen for a size.
    """

    def text(key: str) -> str | None:
        value = metadata.get(f"general.{key}")
        return value.data.strip().replace(" ", "-") or None if value and value.type == ValueType.STRING else None

    parts = [text("basename") or text("name") or stem, text("size_label"), text("finetune"), text("version")]
    if text("basename") is None and text("name") is None:
        parts = [stem]
    name = "-".join(map(_fit, filter(None, parts)))
    kind = "-LoRA" if text("type") == "adapter" else ""
    size = "" if bits is None else f"-{bits:.2f}bpw"
    return f"{_cut(name)}{size}-{encoding.upper()}{kind}.gguf"


def stem_of(file: str, encodings: Iterable[str]) -> str:
    """A source's file name without its suffix, its shard number and the encoding it ends in: ``x-F16.gguf`` → ``x``."""
    stem = file.removesuffix(".index.json").removesuffix(".safetensors").removesuffix(".gguf")
    stem = _SHARD.sub("", stem)
    for encoding in encodings:
        for mark in ("-", "."):
            if stem.upper().endswith(mark + encoding.upper()):
                return stem[: -len(encoding) - 1] or "model"
    return stem or "model"


def _fit(part: str) -> str:
    """``part`` with a hyphen for what no name has, and for what a terminal would act on and nobody would see."""
    refused = platform.not_in_names()
    return "".join(c if c.isprintable() and c not in refused else "-" for c in part)


def _cut(name: str) -> str:
    """``name`` with no leading dot or hyphen, in no more bytes than a file system takes."""
    return name.lstrip(".-").encode("utf-8", "ignore")[:_LONGEST].decode("utf-8", "ignore") or "model"
