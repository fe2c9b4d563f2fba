"""Checkpoints: where weights are read from.

``open`` finds the kind of input, checks its headers and hands out row ranges of tensors.  A kind of input is a module
with ``recognizes(path, first_bytes)`` and ``open_checkpoint(path)``, listed in ``KINDS``.  Quantizations that
checkpoints carry and qconv undoes are listed in ``quantized.METHODS``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from qconv.checkpoints import gguf, quantized, safetensors
from qconv.checkpoints.ahead import bring_near
from qconv.checkpoints.checkpoint import Checkpoint
from qconv.checkpoints.dtypes import row_bytes, size
from qconv.checkpoints.lookalikes import explain, refuse_lookalike
from qconv.errors import InputError

__all__ = ["KINDS", "Checkpoint", "bring_near", "open", "row_bytes", "size"]

KINDS: tuple[Any, ...] = (gguf, safetensors)
"""The modules of all kinds of input, the first that recognizes one wins."""


def open(path: str | os.PathLike[str]) -> Checkpoint:
    """The checkpoint at ``path``: a ``.safetensors`` file, an index, a directory, or a GGUF file.

    Raises ``InputError`` when there is nothing, ``FormatError`` when it is damaged, ``UnsupportedError`` when it is of
    a kind or in a quantization that qconv does not read.
    """
    path = Path(path)
    first = _first_bytes(path)
    if path.is_file():
        refuse_lookalike(path, first)
    for kind in KINDS:
        if kind.recognizes(path, first):
            checkpoint: Checkpoint = kind.open_checkpoint(path)
            try:
                quantized.undo(checkpoint)
            except BaseException:
                checkpoint.close()
                raise
            return checkpoint
    raise explain(path, first)


def _first_bytes(path: Path) -> bytes:
    try:
        if path.is_dir():
            return b""
        if path.is_file():
            with path.open("rb") as file:
                return file.read(512)
        exists = path.exists()
    except OSError as e:
        raise InputError(f"cannot be read: {e.strerror}", file=path) from e
    if exists:
        raise InputError("is neither a file nor a directory", file=path)
    like_hub_name = str(path).count("/") == 1 and not path.parent.exists()
    hint = f"download it first: hf download {path}" if like_hub_name else None
    raise InputError("does not exist", file=path, hint=hint)
