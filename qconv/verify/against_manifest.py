"""Is a file still what its manifest says?"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from qconv.convert.hashes import Stretch, sha256
from qconv.convert.manifest import Manifest
from qconv.gguf import File
from qconv.verify.report import Problem


def problems(manifest: Manifest, files: Sequence[File], threads: int) -> Iterator[Problem]:
    """Reads all of ``files``, a model's shards in order, and compares sizes, headers and tensors."""
    if len(manifest.files) != len(files):
        yield Problem(files[0].path, None, f"is one of {len(files)} files, of {len(manifest.files)} in the manifest")
        return
    headers: dict[Stretch, tuple[Path, str]] = {}
    for entry, file in zip(manifest.files, files, strict=True):
        if entry.size != file.size:
            yield Problem(file.path, None, f"has {file.size} bytes, {entry.size} in the manifest")
        elif 0 <= entry.header_size <= file.size:
            headers[Stretch(file.path, 0, entry.header_size)] = (file.path, entry.header_sha256)
    tensors: dict[Stretch, tuple[Path, str, str]] = {}
    places = {name: (file.path, tensor) for file in files for name, tensor in file.tensors.items()}
    for t in manifest.tensors:
        path, tensor = places.pop(t.name, (files[0].path, None))
        if tensor is None:
            yield Problem(path, t.name, "is missing")
        elif (tensor.info.dtype, tensor.info.shape, tensor.size) != (t.type, t.shape, t.size):
            shape, expected = (" x ".join(map(str, s)) for s in (tensor.info.shape, t.shape))
            yield Problem(path, t.name, f"is {tensor.info.dtype} {shape}, {t.type} {expected} in the manifest")
        else:
            tensors[Stretch(path, tensor.offset, tensor.size)] = (path, t.name, t.sha256)
    for name, (path, _) in places.items():
        yield Problem(path, name, "is not in the manifest")
    hashes = sha256([*headers, *tensors], threads)
    for stretch, (path, expected) in headers.items():
        if hashes[stretch] != expected:
            yield Problem(path, None, "the header's SHA-256 is not the manifest's: metadata were changed")
    for stretch, (path, name, expected) in tensors.items():
        if hashes[stretch] != expected:
            yield Problem(path, name, "the SHA-256 is not the manifest's: weights were changed")
