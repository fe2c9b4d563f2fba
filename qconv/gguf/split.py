"""GGUF files in shards, by llama.cpp's rules: names, keys, and what goes where.

``NAME-00001-of-00003.gguf`` holds all metadata; every shard holds its number from 0 (``split.no``), their count
(``split.count``) and the number of tensors in all of them (``split.tensors.count``).
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from qconv.errors import FormatError, UsageError
from qconv.gguf import limits
from qconv.gguf.file import File, padded, tensor_bytes
from qconv.gguf.read import read_header
from qconv.storage import Folder, LocalFolder, StoredFile
from qconv.types import Metadata, TensorInfo, Value, ValueType

NUMBER, COUNT, TENSORS = "split.no", "split.count", "split.tensors.count"

_NAME = re.compile(r"(?P<prefix>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)


def shard_path(path: Path, number: int, count: int) -> Path:
    """The name of shard ``number`` (from 0) of what would be ``path`` (``NAME.gguf``) in one piece."""
    stem = path.name.removesuffix(".gguf")
    return path.with_name(f"{stem}-{number + 1:05d}-of-{count:05d}.gguf")


def shard_of(path: Path) -> tuple[Path, int, int] | None:
    """What a shard's name says: the path in one piece, its number (from 0), the count; None for any other name."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        return None
    number, count = int(match["number"]) - 1, int(match["count"])
    return (path.with_name(match["prefix"] + ".gguf"), number, count) if 0 <= number < count else None


def divide(
    tensors: Sequence[TensorInfo], most: int, alignment: int = limits.DEFAULT_ALIGNMENT
) -> list[list[TensorInfo]]:
    """Tensors in order, in shards of at most ``most`` bytes of padded tensor data; a larger tensor gets one of its own.

    Raises ``UsageError`` when that takes more shards than GGUF can count.
    """
    shards: list[list[TensorInfo]] = [[]]
    held = 0
    for info in tensors:
        size = padded(tensor_bytes(info), alignment)
        if shards[-1] and held + size > most:
            shards.append([])
            held = 0
        shards[-1].append(info)
        held += size
    if len(shards) > limits.SHARDS:
        raise UsageError(f"{most} bytes a shard make {len(shards)} shards; at most {limits.SHARDS} are possible")
    return shards


def shard_metadata(metadata: Metadata, number: int, count: int, tensor_count: int) -> Metadata:
    """The keys of shard ``number`` (from 0): all of ``metadata`` for the first, only the split's own for the others."""
    keys = {key: value for key, value in metadata.items() if number == 0 or key == "general.alignment"}
    for key in (NUMBER, COUNT, TENSORS):
        keys.pop(key, None)
    # the order llama.cpp's gguf-split leaves behind: it sets the count last, once it is known
    keys[NUMBER] = Value(ValueType.UINT16, number)
    keys[TENSORS] = Value(ValueType.INT32, tensor_count)
    keys[COUNT] = Value(ValueType.UINT16, count)
    return keys


def read_shards(path: str | os.PathLike[str]) -> tuple[File, ...]:
    """The headers of all shards, given the path of any one of them; raises as ``open_shards``."""
    path = Path(path)
    opened = open_shards(LocalFolder(path.parent), path.name)
    for file, _ in opened:
        file.close()
    return tuple(header for _, header in opened)


def open_shards(folder: Folder, name: str) -> tuple[tuple[StoredFile, File], ...]:
    """All shards of a model, open, with their headers, given any one of them; a file that is not one comes back alone.

    Raises as ``read_header`` does, and ``FormatError`` when a shard is missing or the shards do not belong together.
    """
    opened: list[StoredFile] = []

    def open_one(shard: str) -> tuple[StoredFile, File]:
        opened.append(folder.open(shard))
        return opened[-1], read_header(opened[-1])

    try:
        given = open_one(name)
        files = tuple(given if shard == name else open_one(shard) for shard in _shard_names(folder, name, given[1]))
        if len(files) > 1:
            _check_together([header for _, header in files])
    except BaseException:
        for file in opened:
            file.close()
        raise
    return files


def _shard_names(folder: Folder, name: str, given: File) -> list[str]:
    """The names of all shards of which ``given`` is the one called ``name``."""
    count = _whole(given, COUNT)
    if count is None or count <= 1:
        return [name]
    named, location = shard_of(Path(name)), given.location
    if named is None or named[2] != count or named[1] != _whole(given, NUMBER):
        expected = shard_path(Path(name), _whole(given, NUMBER) or 0, count).name
        hint = f"give all shards their names back, like '{expected}'"
        raise FormatError(f"is one of {count} shards, but its name does not say which", file=location, hint=hint)
    names = [str(shard_path(named[0], number, count)) for number in range(count)]
    missing = [each for each in names if not folder.has(each)]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        hint = "download the missing shards into the same folder"
        raise FormatError(f"shard '{missing[0]}'{more} is missing", file=location, hint=hint)
    return names


def whole_metadata(files: Sequence[File]) -> Metadata:
    """The metadata of a model read by ``read_shards``, without the split's own keys."""
    return {key: value for key, value in files[0].metadata.items() if key not in (NUMBER, COUNT, TENSORS)}


def _check_together(files: Sequence[File]) -> None:
    seen: dict[str, File] = {}
    for number, file in enumerate(files):
        if _whole(file, NUMBER) != number or _whole(file, COUNT) != len(files):
            raise FormatError(f"is not shard {number + 1} of {len(files)}, as its name says", file=file.location)
        if file.byte_order != files[0].byte_order:
            raise FormatError("has another byte order than the first shard", file=file.location)
        for name in file.tensors:
            if name in seen:
                raise FormatError(f"is also in shard '{seen[name].path.name}'", file=file.location, tensor=name)
            seen[name] = file
    claimed = _whole(files[0], TENSORS)
    if claimed is not None and claimed != len(seen):
        raise FormatError(f"claims {claimed} tensors in all shards, but they hold {len(seen)}", file=files[0].location)


def _whole(file: File, key: str) -> int | None:
    value = file.metadata.get(key)
    return value.data if value is not None and isinstance(value.data, int) else None
