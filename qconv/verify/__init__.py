"""Checks finished GGUF files: by themselves, against their manifest, against what they were made from."""

from __future__ import annotations

from pathlib import Path

from qconv import cores, gguf
from qconv.convert import manifest
from qconv.convert.options import Options, Progress, Silent
from qconv.plan import Plan
from qconv.types import TensorReader
from qconv.verify import against_manifest, against_source, structure, weights
from qconv.verify.report import Problem, Report

__all__ = ["Problem", "Report", "against", "check"]


def check(path: Path, options: Options | None = None, progress: Progress | None = None) -> Report:
    """Checks a GGUF file (all shards, given any one) from top to bottom, and against its manifest when it has one.

    Reads everything, in bounded memory; of ``options`` only ``threads`` counts.  Raises FormatError when the structure
    is broken, InputError when a file cannot be read; whatever can be said tensor by tensor is in the report instead.
    """
    threads = (options or Options()).threads or cores.usable()
    files = gguf.read_shards(path)
    found = [*structure.problems(files)]
    beside = manifest.path_of(files[0].path)
    has_manifest = beside.exists()
    if has_manifest:
        found += against_manifest.problems(manifest.read(beside), files, threads)
    found += weights.problems(files, threads, progress or Silent())
    return _report(files, found, beside if has_manifest else None)


def against(
    path: Path, plan: Plan, reader: TensorReader, options: Options | None = None, progress: Progress | None = None
) -> Report:
    """Encodes the source again, as ``plan`` says, and compares with a GGUF file (all shards, given any one).

    Tensors, keys and what lies between and after them count; in how many shards they are does not.  Of ``options``
    only ``threads`` and ``memory`` count.  Raises FormatError when the file's structure is broken, and what
    ``convert.run`` raises about the source.
    """
    files = gguf.read_shards(path)
    found = [*structure.problems(files)]
    found += against_source.problems(plan, reader, files, options or Options(), progress or Silent())
    return _report(files, found, None)


def _report(files: tuple[gguf.File, ...], found: list[Problem], beside: Path | None) -> Report:
    tensors = [t for file in files for t in file.tensors.values()]
    return Report(tuple(f.path for f in files), len(tensors), sum(t.size for t in tensors), tuple(found), beside)
