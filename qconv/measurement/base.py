"""The unquantized model as a GGUF file llama.cpp can run: the user's own, or a temporary one made of a checkpoint."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from qconv import calibration, checkpoints, conversion, plan, storage
from qconv.errors import OutputError, UsageError
from qconv.options import ConvertOptions, RunOptions
from qconv.pipeline import Progress
from qconv.plan import Planner

_FORGOTTEN = 2 * 86400
"""Seconds after which a folder that a killed run left is removed."""


@dataclass(frozen=True, slots=True)
class BaseModel:
    """A model to run.

    ``path``: a GGUF file.  ``type``: its main type, such as BF16.  ``planner``: of the same weights.  ``fingerprint``:
    of them.  ``folder``: for temporary files, on the disk of ``path`` if that is temporary.
    """

    path: Path
    type: str
    planner: Planner
    fingerprint: str
    folder: Path


def cache_directory() -> Path:
    """The user's folder for what can be made again."""
    return platformdirs.user_cache_path("qconv")


def local(source: str | os.PathLike[str]) -> Path:
    """The path of a model on this machine; raises UsageError for an address, whose weights would be read many times."""
    text = os.fspath(source)
    if storage.is_address(text):
        hint = "download it first: hf download ORG/NAME --local-dir DIR" if text.startswith("hf://") else None
        raise UsageError("a model is run from files of this machine", file=storage.shown(text), hint=hint)
    return Path(source)


@contextmanager
def base_model(
    source: Path, base: str | None, run: RunOptions, progress: Progress | None = None
) -> Iterator[BaseModel]:
    """The model at ``source``, a checkpoint or a GGUF file, as a file to run; a temporary one is removed afterwards.

    ``base``: the type of the temporary file; None: the checkpoint's own type, and a GGUF file as it is.  ``progress``
    is told how large it becomes, and where.

    Raises as ``checkpoints.open``, ``plan.make`` and ``conversion.run`` do.
    """
    with checkpoints.open(source) as checkpoint, _temporary() as folder:
        float_type = plan.read_model(checkpoint).float_type
        own = checkpoint.metadata is not None and base is None
        type_ = _main_type(checkpoint) if own else (base or float_type).upper()
        options = ConvertOptions(types=("q8_0",), output=str(folder), allow_requantize=True)
        planner = Planner(checkpoint, options)
        decisions = planner.choice(planner.mixes()[0]).decisions
        tensors = planner.tensors()
        fingerprint = calibration.fingerprint((d.name, tensors[d.name], d.intermediate_type) for d in decisions)
        path = checkpoint.path
        if not own:
            wanted = ConvertOptions(types=(type_.lower(),), output=str(folder / "base.gguf"), allow_requantize=True)
            plans = plan.make(checkpoint, wanted)
            if progress is not None:
                size = plans[0].size / 1e6
                words = f"{size / 1000:.1f} GB" if size >= 1000 else f"{size:.1f} MB"
                progress.note(f"the model is run from a temporary {type_} file of {words} in {folder.parent}")
            quick = RunOptions(threads=run.threads, memory=run.memory)
            (result,) = conversion.run(plans, checkpoint.files, [folder], quick)
            path = result.files[0]
        yield BaseModel(path, type_, planner, fingerprint, folder)


def _main_type(checkpoint: checkpoints.Checkpoint) -> str:
    """The type of most weights."""
    weights: dict[str, int] = {}
    for info in checkpoint.tensors.values():
        weights[info.dtype] = weights.get(info.dtype, 0) + info.weights
    return max(weights, key=lambda dtype: weights[dtype])


@contextmanager
def _temporary() -> Iterator[Path]:
    place = cache_directory() / "models"
    try:
        place.mkdir(parents=True, exist_ok=True)
        for old in place.iterdir():
            with suppress(OSError):
                if time.time() - old.stat().st_mtime > _FORGOTTEN:
                    shutil.rmtree(old, ignore_errors=True)
        folder = Path(tempfile.mkdtemp(prefix="run-", dir=place))
    except OSError as e:
        hint = "set XDG_CACHE_HOME to a folder that can be written"
        raise OutputError(f"cannot be written: {e.strerror}", file=place, hint=hint) from e
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
