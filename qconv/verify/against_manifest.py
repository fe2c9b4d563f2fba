"""Is a file still what its manifest says?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from qconv.conversion import Manifest, sha256
from qconv.gguf import File
from qconv.storage import ByteRange, StoredFile
from qconv.types import shape_text
from qconv.verify.report import Problem


def problems(manifest: Manifest, shards: Sequence[tuple[StoredFile, File]], threads: int) -> Iterator[Problem]:
    """Reads all of ``shards``, a model's files in order with their headers, and compares sizes, headers and tensors."""
    first = shards[0][1].path
    if len(manifest.files) != len(shards):
        yield Problem(first, None, f"is one of {len(shards)} files, of {len(manifest.files)} in the manifest")
        return
    headers: dict[ByteRange, tuple[Path, str]] = {}
    for entry, (file, header) in zip(manifest.files, shards, strict=True):
        if entry.size != header.size:
            yield Problem(header.path, None, f"has {header.size} bytes, {entry.size} in the manifest")
        elif 0 <= entry.header_size <= header.size:
            headers[ByteRange(file, 0, entry.header_size)] = (header.path, entry.header_sha256)
    tensors: dict[ByteRange, tuple[Path, str, str]] = {}
    places = {name: (file, header.path, t) for file, header in shards for name, t in header.tensors.items()}
    for t in manifest.tensors:
        if t.name not in places:
            yield Problem(first, t.name, "is missing")
            continue
        file, path, tensor = places.pop(t.name)
        if (tensor.info.dtype, tensor.info.shape, tensor.size) != (t.type, t.shape, t.size):
            shape, expected = shape_text(tensor.info.shape), shape_text(t.shape)
            yield Problem(path, t.name, f"is {tensor.info.dtype} {shape}, {t.type} {expected} in the manifest")
        else:
            tensors[ByteRange(file, tensor.offset, tensor.size)] = (path, t.name, t.sha256)
    for name, (_, path, _) in places.items():
        yield Problem(path, name, "is not in the manifest")
    hashes = sha256([*headers, *tensors], threads)
    for place, (path, expected) in headers.items():
        if hashes[place] != expected:
            yield Problem(path, None, "the header's SHA-256 is not the manifest's: metadata were changed")
    for place, (path, name, expected) in tensors.items():
        if hashes[place] != expected:
            yield Problem(path, name, "the SHA-256 is not the manifest's: weights were changed")
