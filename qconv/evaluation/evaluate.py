"""Runs files beside the model they were made from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from qconv import checkpoints
from qconv.errors import InputError, Interrupted
from qconv.evaluation import outputs
from qconv.evaluation.results import Evaluation, TensorShare
from qconv.measurement import Text, base_model, cache_directory, first_of_each, local, read_text
from qconv.options import EvaluateOptions, RunOptions
from qconv.pipeline import Progress, Silent
from qconv.runtime import Reference, Session, Tokens, library_path
from qconv.types import ValueType


def evaluate(
    files: Sequence[str | os.PathLike[str]],
    against: str | os.PathLike[str],
    options: EvaluateOptions,
    run: RunOptions | None = None,
    progress: Progress | None = None,
) -> Iterator[Evaluation]:
    """Each file's evaluation, as soon as it is done.

    ``against``: the unquantized model, a checkpoint or a GGUF file; its outputs are computed once for a text, and kept.
    ``progress`` counts tokens.  Raises LlamaCppError, InputError and its kin, Interrupted.
    """
    run, told, model = run or RunOptions(), progress or Silent(), local(against)
    library_path()  # refuses before anything is read
    paths = [Path(file) for file in files]
    for path in paths:
        with checkpoints.open(path) as opened:
            if opened.metadata is None:
                hint = "convert it first; --against names the model it is compared with"
                raise InputError("is a checkpoint, not a GGUF file", file=path, hint=hint)
    text = read_text(options.text)
    with Session(paths[0], context=options.context, threads=run.threads) as session:
        tokens = _tokens(text, session, options)
    told.begin(len(tokens) * (1 + len(paths)), 1 + len(paths), 0)
    kept = _kept(model, tokens, options)
    try:
        reference = _reference(kept, model, text, tokens, options, run, told)
        for path in paths:
            yield _evaluated(path, text, reference, options, run, told)
    except KeyboardInterrupt:
        raise Interrupted("stopped", hint="the unquantized model's outputs are kept, if they were done") from None
    finally:
        outputs.remove_large(kept)


def _kept(against: Path, tokens: Tokens, options: EvaluateOptions) -> Path:
    """Where the unquantized model's outputs are kept."""
    with checkpoints.open(against) as checkpoint:
        identities = [(i.location, i.size, i.version) for i in (file.identity() for file in checkpoint.files)]
    asked = (identities, options.context, options.base, hashlib.sha256(tokens.tobytes()).hexdigest())
    key = hashlib.sha256(repr(asked).encode()).hexdigest()[:32]
    return cache_directory() / "outputs" / f"{key}.gguf"


def _reference(
    path: Path, against: Path, text: Text, tokens: Tokens, options: EvaluateOptions, run: RunOptions, told: Progress
) -> Reference:
    """The unquantized model's outputs, from ``path`` where they are there."""
    kept = outputs.load(path, tokens, len(tokens) // options.context)
    if kept is not None:
        told.advance(against.name, len(tokens))
        told.finish_tensor(against.name)
        return kept
    with (
        base_model(against, options.base, run, told) as base,
        Session(base.path, context=options.context, threads=run.threads) as session,
    ):
        _check_tokens(against, "the files do", text, session, options, tokens)
        return outputs.keep(session, tokens, path, _advance(told, against.name), told.note)


def _check_tokens(
    path: Path, others: str, text: Text, session: Session, options: EvaluateOptions, tokens: Tokens
) -> None:
    if not np.array_equal(_tokens(text, session, options), tokens):
        hint = "a file is compared with the model that it was made from"
        raise InputError(f"takes the text for other tokens than {others}", file=path, hint=hint)


def _tokens(text: Text, session: Session, options: EvaluateOptions) -> Tokens:
    parts = text.tokens(session, special=options.parse_special)
    most = sum(map(len, parts)) if options.tokens is None else options.tokens
    return first_of_each(parts, most, options.context)


def _advance(told: Progress, name: str) -> Callable[[int], None]:
    return lambda count: told.advance(name, count)


def _evaluated(
    path: Path, text: Text, reference: Reference, options: EvaluateOptions, run: RunOptions, told: Progress
) -> Evaluation:
    with checkpoints.open(path) as checkpoint:
        size = sum(file.size for file in checkpoint.files)
        stored = checkpoint.stored.values()
        bits = sum(t.size for t in stored) * 8 / max(1, sum(info.weights for info in checkpoint.tensors.values()))
        value = (checkpoint.metadata or {}).get("qconv.size.predicted_kl_divergence")
        predicted = float(value.data) if value is not None and isinstance(value.data, float) else None
        shares = tensor_shares(checkpoint)
    with Session(path, context=options.context, threads=run.threads) as session:
        _check_tokens(path, "the unquantized model does", text, session, options, reference.tokens)
        divergence = session.kl_divergence(reference, progress=_advance(told, path.name))
    told.finish_tensor(path.name)
    return Evaluation(path, size, bits, predicted, divergence, shares)


def tensor_shares(checkpoint: checkpoints.Checkpoint) -> tuple[TensorShare, ...]:
    """What the file says of its tensors' losses, the greatest first; nothing where that makes no sense."""
    value = (checkpoint.metadata or {}).get("qconv.size.predicted_by_tensor")
    losses = np.asarray(value.data) if value is not None and value.element is ValueType.FLOAT32 else np.zeros(0)
    infos = list(checkpoint.tensors.values())
    if len(losses) != len(infos) or not np.isfinite(losses).all() or not (losses >= 0).all() or not losses.any():
        return ()
    shares = losses / losses.sum()
    return tuple(TensorShare(infos[i].name, infos[i].dtype, float(shares[i])) for i in np.argsort(-shares) if shares[i])
