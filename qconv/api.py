"""qconv in Python: arrays, files, conversions, measurements."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qconv.errors import UsageError

if TYPE_CHECKING:
    from qconv.checkpoints import Checkpoint
    from qconv.evaluation import Evaluation
    from qconv.measurement import Calibrated
    from qconv.pipeline import Progress


def quantize(
    array: ArrayLike,
    block_type: str,
    importance: ArrayLike | None = None,
    *,
    search: str = "reference",
    hessian: ArrayLike | None = None,
) -> NDArray[np.uint8]:
    """Weights as blocks: ``(..., columns)`` becomes uint8 ``(..., bytes per row)``, byte for byte what ggml writes.

    ``array``: float32 or float16 (others are converted to float32), or uint16 holding bfloat16 bits.  ``block_type``:
    a name such as ``"Q4_K"``, in any case.  ``importance``: how much the error of each column weighs, ``(columns,)``.
    ``search="thorough"`` looks longer for a smaller error where the type has such a search, or with a ``hessian``.

    ``hessian``: H = Σ x xᵀ over the inputs x that rows are multiplied with, ``(columns, columns)``, of which the lower
    triangle is read; any multiple of it does.  Rounding then lets later columns undo the errors of earlier ones, so
    that each row's ΔW H ΔWᵀ becomes small and never greater than without.  This is GPTQ (Frantar et al., ICLR 2023):
    with H⁻¹ = Uᵀ U, H damped by a hundredth of its mean diagonal, after column j all later ones k take

        w[k] -= (w[j] - q[j]) / U[j, j] * U[j, k]

    where q[j] is the nearest value that the block's scales allow.  These are chosen as without, for the columns as they
    are when rounding reaches their block, by ``importance``, or H's diagonal where there is none.  The thorough search
    goes over all columns once more, from the last to the first, and rounds each to the nearest value to
    q[j] + ((w - q) H)[j] / H[j, j].

    Raises UsageError when rows are no whole number of blocks or the type is unknown, WeightError (with ``row`` and
    ``column`` where it is a weight) for NaN and infinity and for what is not a sum of x xᵀ, UnsupportedError for a type
    that cannot be encoded.
    """
    from qconv import blocks

    weights = np.asarray(array)
    if weights.ndim == 0:
        raise UsageError("a single number cannot be quantized", hint="an array of one dimension or more can")
    if weights.dtype not in (np.float16, np.uint16):
        weights = weights.astype(np.float32, copy=False)
    important = None if importance is None else np.asarray(importance, np.float32)
    rows = weights.reshape(-1, weights.shape[-1])
    factor = None if hessian is None else blocks.factor_of(np.asarray(hessian))
    context = blocks.EncodeContext(search, important, factor)
    encoded = blocks.encode(block_type.upper(), rows, context=context)
    return encoded.reshape(*weights.shape[:-1], encoded.shape[-1])


def dequantize(array: ArrayLike, block_type: str) -> NDArray[np.float32]:
    """Blocks as weights: bytes, uint8 ``(..., bytes per row)`` becomes float32 ``(..., columns)``.

    Raises UsageError when rows are no whole number of blocks or the type is unknown, UnsupportedError for a type that
    cannot be decoded.
    """
    from qconv import blocks

    coded = np.asarray(array)
    if coded.ndim == 0:
        raise UsageError("a single byte cannot be dequantized", hint="an array of one dimension or more can")
    decoded = blocks.decode(block_type.upper(), coded.reshape(-1, coded.shape[-1]))
    return decoded.reshape(*coded.shape[:-1], decoded.shape[-1])


def open(path: str | os.PathLike[str]) -> Checkpoint:
    """A GGUF file, a safetensors file or a checkpoint's directory, its headers read: a context manager.

    ``tensors`` maps names to types and shapes, ``read(name, start, stop)`` gives rows as stored, ``metadata`` are a
    GGUF file's keys and ``config`` a checkpoint's ``config.json``.

    Raises InputError when there is nothing qconv can read, FormatError when it is damaged.
    """
    from qconv import checkpoints

    return checkpoints.open(path)


def convert(
    source: str | os.PathLike[str],
    type: str | Sequence[str] | None = None,
    *,
    mmproj: str | Sequence[str] = (),
    size: str | Sequence[str] = (),
    output: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> list[Path]:
    """Converts a checkpoint to GGUF files, one for each ``type``, ``size`` and ``mmproj``; returns their paths.

    ``type``: ``"q4_k_m"`` when none is given.  ``mmproj``: types of the projector's files, such as ``"f16"``; without a
    type these alone are made.  ``size``: such as ``"4.5GB"``, ``"4.5bpw"`` or ``"q4_k_m"``: the best
    file of at most that size, by what ``calibrate`` measured, which is given as ``imatrix``.

    ``source``: a path, or an address such as ``hf://ORG/NAME``.

    ``output``: a directory that exists, or for a single type the file.  ``options``: the other fields of
    ``qconv.options.ConvertOptions`` and ``RunOptions``, named as on the command line (``tensor_types=(("ffn_down",
    "q6_k"),)``, ``adapter="my-lora"``, ``pure=True``, ``split_max_size=4_000_000_000``, ``memory=300_000_000``,
    ``force=True``, ...); sizes are in bytes.  ``progress`` is told how it goes on.

    Raises UsageError for an option or a value that does not exist before any file is touched, and every
    ``qconv.errors.QconvError`` that says what is wrong, where, and what to do.
    """
    from qconv import allocation, conversion, plan
    from qconv.options import ConvertOptions, RunOptions, split, to_manifest

    given = dict(options)
    if output is not None:
        given["output"] = os.fspath(output)
    given["mmproj"] = (mmproj,) if isinstance(mmproj, str) else tuple(mmproj)
    given["sizes"] = (size,) if isinstance(size, str) else tuple(size)
    if type is None and given.get("mix") is None and not given["sizes"] and not given["mmproj"]:
        type = "q4_k_m"
    if type is not None:
        given["types"] = (type,) if isinstance(type, str) else tuple(type)
    for folder in ("base", "target"):
        if given.get(folder) is not None:
            given[folder] = os.fspath(given[folder])
    if "adapter" in given:
        given["adapter"] = _paths(given["adapter"])
    if given.get("imatrix") is not None:
        given.setdefault("imatrix_name", os.fspath(given["imatrix"]))
    what, how = split(given)
    wanted, run = ConvertOptions.of(what), RunOptions.of(how)
    with plan.open_source(source, wanted, keep_download=run.keep_download) as checkpoint:
        plans, _ = allocation.make(checkpoint, wanted, run)
        directories = [plan.directory(checkpoint, wanted)] * len(plans)
        results = conversion.run(plans, checkpoint.files, directories, run, progress, record=to_manifest(wanted))
        return [file for result in results for file in result.files]


def calibrate(
    model: str | os.PathLike[str],
    text: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    output: str | os.PathLike[str] | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Calibrated:
    """Measures on a text which weights of a model matter; its ``path`` is for ``convert``'s ``imatrix``.

    ``model``: a checkpoint or a GGUF file that is not quantized.  ``text``: files, one after the other.  ``output``: a
    file or a directory.  ``options``: the other fields of ``CalibrateOptions`` and ``RunOptions`` (``tokens=20_000``,
    ``context=512``, ``base="q8_0"``, ``threads=8``, ``force=True``, ...).  ``progress`` counts tokens.

    Needs llama.cpp: ``pip install 'qconv[runtime]'``.  Raises UsageError for an option or a value that does not exist,
    LlamaCppError when llama.cpp is missing or fails, and every other ``qconv.errors.QconvError``.
    """
    from qconv import measurement
    from qconv.options import CalibrateOptions, RunOptions, split

    given = {**options, "text": _paths(text)}
    if output is not None:
        given["output"] = os.fspath(output)
    what, how = split(given, CalibrateOptions)
    return measurement.calibrate(model, CalibrateOptions.of(what), RunOptions.of(how), progress)


def evaluate(
    files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    against: str | os.PathLike[str],
    text: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    progress: Progress | None = None,
    **options: Any,
) -> list[Evaluation]:
    """Runs quantized files on a text beside the model they were made from: KL divergence, perplexity, same top token.

    ``against``: the unquantized model, a checkpoint or a GGUF file.  ``options``: the other fields of
    ``EvaluateOptions`` and ``RunOptions``.  ``progress`` counts tokens.

    Needs llama.cpp: ``pip install 'qconv[runtime]'``.  Raises as ``calibrate``.
    """
    from qconv import evaluation
    from qconv.options import EvaluateOptions, RunOptions, split

    what, how = split({**options, "text": _paths(text)}, EvaluateOptions)
    wanted, run = EvaluateOptions.of(what), RunOptions.of(how)
    return list(evaluation.evaluate(_paths(files), against, wanted, run, progress))


def _paths(given: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> tuple[str, ...]:
    several = [given] if isinstance(given, str | os.PathLike) else given
    return tuple(os.fspath(each) for each in several)
