"""Checks finished GGUF files: by themselves, against their manifest, against what they were made from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qconv import conversion, cores, gguf
from qconv.options import RunOptions
from qconv.pipeline import Progress, Silent
from qconv.plan import Plan
from qconv.storage import LocalFolder, StoredFile
from qconv.verify import against_manifest, against_source, structure, weights
from qconv.verify.report import Problem, Report

__all__ = ["Problem", "Report", "against", "check"]

Shards = tuple[tuple[StoredFile, gguf.File], ...]


def check(path: Path, options: RunOptions | None = None, progress: Progress | None = None) -> Report:
    """Checks a GGUF file (all shards, given any one) from top to bottom, and against its manifest when it has one.

    Reads everything, in bounded memory; of ``options`` only ``threads`` and ``memory`` count.  Raises FormatError when
    the structure is broken, InputError when a file cannot be read; whatever can be said tensor by tensor is in the
    report instead.
    """
    options = options or RunOptions()
    with _opened(path) as shards:
        headers = [header for _, header in shards]
        problems = [*structure.problems(headers)]
        beside = conversion.manifest_path(headers[0].path)
        has_manifest = beside.exists()
        if has_manifest:
            threads = options.threads or cores.usable()
            problems += against_manifest.problems(conversion.read_manifest(beside), shards, threads)
        problems += weights.problems(shards, options, progress or Silent())
    return _report(headers, problems, beside if has_manifest else None)


def against(path: Path, plan: Plan, options: RunOptions | None = None, progress: Progress | None = None) -> Report:
    """Encodes the source again, as ``plan`` says, and compares with a GGUF file (all shards, given any one).

    Tensors, keys and what lies between and after them count; in how many shards they are does not.  Of ``options``
    only ``threads`` and ``memory`` count.  Raises FormatError when the file's structure is broken, and what
    ``pipeline.run`` raises about the source.
    """
    with _opened(path) as shards:
        headers = [header for _, header in shards]
        problems = [*structure.problems(headers)]
        problems += against_source.problems(plan, shards, options or RunOptions(), progress or Silent())
    return _report(headers, problems, None)


@contextmanager
def _opened(path: Path) -> Iterator[Shards]:
    shards = gguf.open_shards(LocalFolder(path.parent), path.name)
    try:
        yield shards
    finally:
        for file, _ in shards:
            file.close()


def _report(headers: list[gguf.File], problems: list[Problem], beside: Path | None) -> Report:
    tensors = [t for header in headers for t in header.tensors.values()]
    paths = tuple(header.path for header in headers)
    return Report(paths, len(tensors), sum(t.size for t in tensors), tuple(problems), beside)
