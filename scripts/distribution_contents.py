"""What distributions hold: files and bytes by folder.  Exits with an error where one holds what was made by running it.

python scripts/distribution_contents.py dist/*
"""

from __future__ import annotations

import os
import sys
import tarfile
import zipfile
from collections import defaultdict
from pathlib import PurePosixPath

MADE = (".pyc", ".nbi", ".nbc", ".log", ".part")


def files(path: str) -> list[tuple[str, int]]:
    """Names and sizes of all files, without the folder that a source distribution begins with."""
    if path.endswith(".whl"):
        with zipfile.ZipFile(path) as wheel:
            return [(info.filename, info.file_size) for info in wheel.infolist()]
    with tarfile.open(path) as archive:
        return [(info.name.partition("/")[2], info.size) for info in archive if info.isfile()]


def folder(name: str) -> str:
    """The first two folders of a name."""
    return "/".join(PurePosixPath(name).parent.parts[:2]) or "."


def main() -> None:
    for path in sys.argv[1:]:
        held = files(path)
        total = sum(size for _, size in held)
        print(f"{path}: {os.path.getsize(path):,} bytes, {len(held)} files of {total:,} bytes")
        sizes: defaultdict[str, list[int]] = defaultdict(list)
        for name, size in held:
            sizes[folder(name)].append(size)
        for name, each in sorted(sizes.items()):
            print(f"  {sum(each):>12,}  {len(each):>4}  {name}/")
        for name, _ in held:
            if name.endswith(MADE):
                sys.exit(f"error: {path} holds {name}")


if __name__ == "__main__":
    main()
