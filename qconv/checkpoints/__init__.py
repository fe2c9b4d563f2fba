"""Checkpoints: where weights are read from.

``open`` finds the kind of input, checks its headers and hands out lazy tensors.  A kind of input is a module with
``recognizes(name, first_bytes)`` and ``open_checkpoint(folder, name)``, listed in ``KINDS``.  Quantizations that
checkpoints carry and qconv undoes are listed in ``quantized.METHODS``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qconv import platform
from qconv.checkpoints import gguf, mlx, quantized, safetensors
from qconv.checkpoints.checkpoint import Checkpoint
from qconv.checkpoints.dense_modules import add_dense, further_modules
from qconv.checkpoints.folder import ADAPTER_CONFIG, ADAPTERS, adapter_weights
from qconv.checkpoints.nested import with_folders
from qconv.checkpoints.quantized import names_quantization
from qconv.checkpoints.sniff import explain, refuse_lookalike, refuse_pickle
from qconv.errors import InputError, UsageError
from qconv.storage import Folder, LocalFolder, StoredFile, is_address, open_address

__all__ = [
    "KINDS",
    "Checkpoint",
    "add_dense",
    "further_modules",
    "names_quantization",
    "open",
    "open_adapter",
    "open_from",
    "place",
    "prefetch",
    "with_folders",
]

KINDS: tuple[Any, ...] = (gguf, safetensors)
"""The modules of all kinds of input, the first that recognizes one wins."""

_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*(?:@.+)?")
_AHEAD = 256 << 20
"""Bytes; a fast disk reads as much in the time that a plan takes."""


def open(path: str | os.PathLike[str], *, keep_download: bool = False) -> Checkpoint:
    """The checkpoint at ``path``: a ``.safetensors`` file, an index, a folder, or a GGUF file.

    ``path`` may be an address (``hf://ORG/NAME``, ``https://...``) too, or ``ORG/NAME`` of the Hugging Face Hub where
    no such folder exists.  ``keep_download``: what is read of the Hub is kept in its cache.

    Raises ``InputError`` when there is nothing, ``FormatError`` when it is damaged, ``UnsupportedError`` when it is of
    a kind or in a quantization that qconv does not read.
    """
    return open_from(*place(os.fspath(path), keep=keep_download))


def open_adapter(path: str | os.PathLike[str], *, keep_download: bool = False) -> Checkpoint:
    """The adapter at ``path``: its weights' file, or a folder with that and ``adapter_config.json``.

    A folder may hold a model besides.  ``path`` and ``keep_download`` as of ``open``.  Raises as that, and
    ``InputError`` when there is no adapter.
    """
    folder, name = place(os.fspath(path), keep=keep_download)
    weights = name or adapter_weights(folder)
    pickle = next((each for each in folder.names() if each == "adapter_model.bin"), None)
    if weights is None and pickle is not None:
        raise refuse_pickle(folder.locate(pickle))
    if weights is None:
        what = f"holds no adapter: that is {' or '.join(ADAPTERS)} with {ADAPTER_CONFIG}"
        raise InputError(what, file=folder.location)
    if name is not None:
        _first_bytes(folder, name)
    adapter = safetensors.open_checkpoint(folder, weights)
    if adapter.kind != "adapter":
        adapter.close()
        raise InputError("holds no adapter, but a model's weights", file=adapter.location)
    return adapter


def place(text: str, *, keep: bool = False) -> tuple[Folder, str | None]:
    """The folder that a path or an address is, or is a file in, and that file's name; raises as ``open``."""
    if is_address(text):
        return open_address(text, keep=keep)
    path = Path(text)
    try:
        here = Path(platform.extended(path))
        is_folder, is_there = here.is_dir(), here.exists()
        if is_there and not is_folder and not here.is_file():
            raise InputError("is neither a file nor a directory", file=path)
    except OSError as e:
        raise InputError(f"cannot be read: {e.strerror}", file=path) from e
    except ValueError as e:  # a NUL in it
        raise InputError("does not exist", file=path) from e
    if not is_there:
        if _HUB_NAME.fullmatch(text) is None or path.parent.exists():
            raise InputError("does not exist", file=path)
        try:
            return open_address(f"hf://{text}", keep=keep)
        except UsageError as e:
            raise InputError("does not exist here, and the Hub cannot be asked", file=path, hint=e.hint) from e
        except InputError as e:
            e.message += "; no folder here has this name either"
            raise
    return (LocalFolder(path), None) if is_folder else (LocalFolder(path.parent), path.name)


def open_from(folder: Folder, name: str | None = None) -> Checkpoint:
    """The checkpoint in ``folder``, wherever that is, or in its file ``name``; raises as ``open``."""
    first = b"" if name is None else _first_bytes(folder, name)
    for kind in KINDS:
        if kind.recognizes(name, first):
            checkpoint: Checkpoint = kind.open_checkpoint(folder, name)
            try:
                if checkpoint.kind != "adapter":
                    quantized.undo(checkpoint)
                    mlx.undo(checkpoint)
            except BaseException:
                checkpoint.close()
                raise
            return checkpoint
    assert name is not None  # a folder is always recognized
    raise explain(folder.locate(name), first)


def prefetch(files: Sequence[StoredFile], size: int = _AHEAD) -> None:
    """Tells the system that the first ``size`` bytes of ``files`` will be read soon; does not wait for them."""
    for file in files:
        if size <= 0:
            return
        file.prefetch(size)
        size -= file.size


def _first_bytes(folder: Folder, name: str) -> bytes:
    file = folder.open(name)
    try:
        first = file.read(512, 0)
    finally:
        file.close()
    refuse_lookalike(folder.locate(name), first)
    return first
