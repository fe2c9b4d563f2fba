"""The manifest, ``NAME.gguf.json``: what an output was made from, how, and the hash of every tensor in it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import msgspec

from qconv import __version__, platform
from qconv.conversion.disk import Disk
from qconv.conversion.hashes import sha256
from qconv.conversion.os_errors import os_errors
from qconv.errors import FormatError
from qconv.options import ConvertOptions, text_model_only
from qconv.plan import Plan
from qconv.storage import ByteRange, LocalFile, StoredFile, read_small

VERSION = 1
LARGEST = 256 << 20
"""Bytes of a manifest that are read; one of a thousand tensors has less than a megabyte."""


class SourceEntry(msgspec.Struct, frozen=True):
    """A source file: its name without the directory, its size in bytes, its SHA-256."""

    name: str
    size: int
    sha256: str


class FileEntry(msgspec.Struct, frozen=True):
    """An output file, and the SHA-256 of its header (all bytes before the first tensor)."""

    name: str
    size: int
    header_size: int
    header_sha256: str


class TensorEntry(msgspec.Struct, frozen=True, rename={"intermediate_type": "stored"}):
    """An output tensor.  ``operations`` says how it comes from ``sources``; ``file`` counts in ``Manifest.files``."""

    name: str
    shape: tuple[int, ...]
    type: str
    reason: str
    sources: tuple[str, ...]
    operations: str
    intermediate_type: str
    file: int
    offset: int
    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """The whole of it.  ``type``: the mix.  ``options``: those a user gave."""

    qconv_manifest: int
    qconv: str
    type: str
    search: str
    options: dict[str, Any]
    sources: tuple[SourceEntry, ...]
    files: tuple[FileEntry, ...]
    tensors: tuple[TensorEntry, ...]
    dropped: tuple[tuple[str, str], ...] = ()


def path_of(first: Path) -> Path:
    """Where the manifest of an output is; ``first``: its only or first file."""
    return first.with_name(first.name + ".json")


def make(
    plan: Plan, directory: Path, options: Mapping[str, object], sources: Sequence[StoredFile], threads: int
) -> Manifest:
    """The manifest of a finished output.  Reads all of it, and of its sources those whose place vouches for no hash."""
    with ExitStack() as stack:
        outputs = [stack.enter_context(closing(LocalFile(directory / file.name))) for file in plan.files]
        inputs = [ByteRange(file, 0, file.size) for file in sources]
        places = [ByteRange(outputs[t.file], t.offset, t.size) for t in plan.tensors]
        hashes = sha256([*(r for r in inputs if r.file.sha256 is None), *places], threads)
    return Manifest(
        qconv_manifest=VERSION,
        qconv=__version__,
        type=plan.mix,
        search=plan.search,
        options=_options_of(plan, options),
        sources=tuple(SourceEntry(r.file.name, r.size, r.file.sha256 or hashes[r]) for r in inputs),
        files=tuple(FileEntry(f.name, f.size, len(f.header), hashlib.sha256(f.header).hexdigest()) for f in plan.files),
        tensors=tuple(
            TensorEntry(
                name=t.name,
                shape=t.shape,
                type=t.block_type,
                reason=t.reason,
                sources=t.tensor.sources,
                operations=t.tensor.describe(),
                intermediate_type=t.intermediate_type,
                file=t.file,
                offset=t.offset,
                size=t.size,
                sha256=hashes[place],
            )
            for t, place in zip(plan.tensors, places, strict=True)
        ),
        dropped=plan.dropped,
    )


def _options_of(plan: Plan, options: Mapping[str, object]) -> dict[str, Any]:
    """The options that made this output, of those that made all of a run's."""
    if plan.part == "projector":
        others = {field.name for field in text_model_only(ConvertOptions)}
        return {**{name: value for name, value in options.items() if name not in others}, "mmproj": (plan.mix,)}
    if plan.sized is not None:
        return {**options, "sizes": (plan.sized.size,)}
    return {name: value for name, value in options.items() if name != "block_types"}


def write(disk: Disk, path: Path, manifest: Manifest) -> None:
    """Writes it whole or not at all."""
    text = json.dumps(msgspec.to_builtins(manifest, enc_hook=str), indent=1, ensure_ascii=False) + "\n"
    data = text.encode("utf-8", "backslashreplace")  # JSON's escapes of the bytes in a name that are no UTF-8
    part = path.with_name(path.name + ".part")
    with os_errors("written", path):
        fd = disk.open(part, platform.WRITE_FLAGS | os.O_CREAT)
        try:
            disk.truncate(fd, 0)
            disk.write_all(fd, data, 0)
            disk.fsync(fd)
        finally:
            disk.close(fd)
        disk.rename(part, path)
        disk.sync_directory(path.parent)


def read(path: Path) -> Manifest:
    """A manifest from its file.  Raises InputError when it cannot be read, FormatError when it is not a manifest."""
    data = read_small(path, LARGEST)
    try:
        manifest = msgspec.convert(json.loads(data.decode()), Manifest)
    except (msgspec.ValidationError, ValueError, RecursionError) as e:
        raise FormatError(f"is not a manifest of qconv's: {e}", file=path) from e
    if manifest.qconv_manifest != VERSION:
        raise FormatError(f"is a manifest of version {manifest.qconv_manifest}; this qconv knows {VERSION}", file=path)
    return manifest


def remove_old(disk: Disk, path: Path) -> None:
    """Removes the manifest of the output that is about to be replaced; a file that is not a manifest stays."""
    with os_errors("removed", path):
        if disk.kind(path) == "file" and b'"qconv_manifest"' in disk.read(path, 256):
            disk.unlink(path)
