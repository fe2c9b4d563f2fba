"""``qconv.convert(...)``: a whole conversion in one call."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qconv import checkpoints, plan
from qconv.convert.options import Options
from qconv.convert.run import run
from qconv.errors import OutputError
from qconv.plan.record import recorded

StrPath = str | os.PathLike[str]


def convert(
    source: StrPath,
    type: str | Sequence[str] = "q4_k_m",
    *,
    output: StrPath | None = None,
    force: bool = False,
    resume: bool = True,
    threads: int | None = None,
    memory: int | None = None,
    manifest: bool = False,
    imatrix: StrPath | None = None,
    mix: StrPath | None = None,
    **options: Any,
) -> list[Path]:
    """Converts a checkpoint to GGUF files, one for each ``type``; returns their paths.

    Arguments are those of ``qconv convert``; ``options`` are the other fields of ``qconv.plan.Request``
    (``tensor_types=(("ffn_down", "q6_k"),)``, ``pure=True``, ``split_max_size=4_000_000_000``, ...).  ``output`` with
    a slash at its end must be a directory that exists.  ``memory`` is in bytes.  Raises a
    ``qconv.errors.QconvError`` that says what is wrong, where, and what to do.
    """
    request = plan.Request(
        types=() if mix is not None else (type,) if isinstance(type, str) else tuple(type),
        output=None if output is None else _path(output),
        imatrix=None if imatrix is None else Path(imatrix),
        imatrix_name=None if imatrix is None else os.fspath(imatrix),
        mix=None if mix is None else Path(mix),
        **options,
    )
    how = Options(
        threads=threads, memory=memory, resume=resume, force=force, manifest=manifest, record=recorded(request)
    )
    with checkpoints.open(source) as checkpoint:
        plans = plan.make(checkpoint, request)
        directories = [plan.directory(checkpoint, request)] * len(plans)
        return [file for result in run(plans, checkpoint, directories, how) for file in result.files]


def _path(output: StrPath) -> Path:
    path = Path(output)  # which drops the slash that asks for a directory
    if os.fspath(output).endswith(("/", os.sep)) and not path.is_dir():
        raise OutputError("is no directory", file=path, hint="make it first, with mkdir -p")
    return path
