"""Calibration, from a model and a text to a file; what is done of it is kept when it is interrupted."""

from __future__ import annotations

import hashlib
import math
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qconv import __version__
from qconv.calibration import (
    HessiansInfo,
    Measurements,
    Sensitivity,
    TensorSums,
    read_measurements,
    read_sums,
    write_calibration,
)
from qconv.errors import InputError, Interrupted, OutputError, QconvError, UnsupportedError
from qconv.measurement.base import BaseModel, base_model, local
from qconv.measurement.hessians import Passes
from qconv.measurement.probe import probe, reference_of
from qconv.measurement.sensitivities import measurable, sensitivities
from qconv.measurement.text import Text, first_of_each, read_text
from qconv.options import CalibrateOptions, RunOptions
from qconv.pipeline import Progress, Silent
from qconv.policy import Decision, find_mix
from qconv.runtime import Importance, Reference, Session, Sums, library_path
from qconv.tensors import FLOATS

Tokens = NDArray[np.int32]

_TOKENS_PER_COLUMN = 8
_PROBE_CHUNKS = 8
_SENSITIVITY_CONTEXT = 256
_SENSITIVITY_FIRST = 32
"""Positions of a chunk that are not looked at: predictions from next to nothing are unlike others."""
_SAVED_EVERY = 30.0
"""Seconds."""
_BATCHES = 4
"""Of llama-imatrix's size, between two looks at the clock; sums stay bit for bit the same only for whole ones."""


@dataclass(frozen=True, slots=True)
class Calibrated:
    """What came of it: the file, what was measured, what a person should know, and the folder of Hessians."""

    path: Path
    measurements: Measurements
    notes: tuple[str, ...] = ()
    hessians: Path | None = None


def calibrate(
    source: str | os.PathLike[str],
    options: CalibrateOptions,
    run: RunOptions | None = None,
    progress: Progress | None = None,
) -> Calibrated:
    """Measures the model at ``source`` on a text; the outcome is a file for ``ConvertOptions.imatrix``.

    ``progress`` counts tokens.  An interrupted run leaves ``NAME.part`` beside the output, from which the next run with
    the same options goes on.

    Raises LlamaCppError, InputError and its kin, OutputError when the output exists, Interrupted.
    """
    run, path = run or RunOptions(), local(source)
    text = read_text(options.text)
    output = _output(path, options.output)
    if not run.force and output.exists():
        raise OutputError("exists already", file=output, hint="--force replaces it, --output names another")
    library_path()  # refuses before a temporary file is made
    told = progress or Silent()
    try:
        with base_model(path, options.base, run, told) as base:
            job = _Job(path, base, text, options, run, output, told)
            return job.run()
    except KeyboardInterrupt:
        kept = _part(output).exists()
        hint = (
            "what is done is kept; the same command goes on with it" if kept else "nothing was done that could be kept"
        )
        raise Interrupted("stopped", hint=hint) from None


def _output(source: Path, wanted: str | None) -> Path:
    stem = source.resolve().name.removesuffix(".gguf").removesuffix(".safetensors")
    name = f"{stem or 'model'}-calibration.gguf"
    if wanted is None:
        return (source if source.is_dir() else source.parent) / name
    chosen = Path(wanted)
    output = chosen / name if chosen.is_dir() else chosen
    if not output.parent.is_dir():
        raise OutputError("is not a directory", file=output.parent, hint="make it first, with mkdir -p")
    return output


def _part(output: Path) -> Path:
    """What an interrupted run leaves beside the output."""
    return output.with_name(output.name + ".part")


class _Job:
    """One calibration."""

    def __init__(
        self,
        source: Path,
        base: BaseModel,
        text: Text,
        options: CalibrateOptions,
        run: RunOptions,
        output: Path,
        progress: Progress,
    ) -> None:
        self._source, self._base, self._text = source, base, text
        self._options, self._run, self._output, self._progress = options, run, output, progress
        self._part = _part(output)
        stem = output.name.removesuffix(".gguf").removesuffix("-calibration")
        self._hessians = output.with_name(f"{stem}-hessians")
        self._sums: dict[str, TensorSums] = {}
        self._sensitivities: dict[str, Sensitivity] = {}
        self._done = 0
        self._wanted: int | None = None
        self._saved = time.monotonic()
        self._notes: list[str] = []

    def run(self) -> Calibrated:
        self._resume()
        tokens, decisions, reference = self._importance()
        self._save(force=True)
        importances = self._importances(decisions)
        if self._options.sensitivities:
            self._measure(tokens, decisions, importances)
            self._save(force=True)
        measured = self._measurements()
        if self._sensitivities and reference is not None:
            measured = replace(measured, scale=self._probe(reference))
        self._write(self._output, measured)
        self._part.unlink(missing_ok=True)
        return Calibrated(
            self._output, measured, tuple(self._notes), self._hessians if self._options.hessians else None
        )

    # what an earlier run left

    def _job(self) -> str:
        o = self._options
        asked = (self._base.fingerprint, self._text.sha256, self._base.type, o.context, o.tokens, o.sensitivity_tokens)
        more = (o.parse_special, o.process_output, o.sensitivities, __version__)
        return hashlib.sha256(repr((*asked, *more)).encode()).hexdigest()[:32]

    def _resume(self) -> None:
        if not self._part.exists():
            return
        left = None
        if self._run.resume:
            try:
                left = read_measurements(self._part)
                sums = read_sums(self._part)
            except InputError:
                left = None
        if left is None or left.job != self._job():
            of = "is of another calibration, and is replaced" if self._run.resume else "is started afresh"
            self._progress.note(f"{self._part.name} {of}")
            return
        self._sums, self._done, self._sensitivities = sums, left.tokens, dict(left.sensitivities)

    def _save(self, force: bool = False) -> None:
        if not force and time.monotonic() - self._saved < _SAVED_EVERY:
            return
        write_calibration(self._part, self._sums, self._measurements(), [self._text.names[0]])
        self._saved = time.monotonic()

    def _measurements(self) -> Measurements:
        return Measurements(
            model=self._base.fingerprint,
            text=self._text.sha256,
            tokens=self._done,
            context=self._options.context,
            base=self._base.type,
            job=self._job(),
            sensitivity_tokens=self._options.sensitivity_tokens if self._sensitivities else 0,
            sensitivities=self._sensitivities,
        )

    # the importance matrix

    def _importance(self) -> tuple[Tokens, list[Decision], Reference | None]:
        """Sums squares over the text; returns all of its tokens, the tensors to measure, and what files are compared
        with."""
        o = self._options
        with Session(self._base.path, context=o.context, threads=self._run.threads) as session:
            widest = max((i.columns for i in session.inputs()), default=0)
            wanted = o.tokens or _TOKENS_PER_COLUMN * widest
            parts = self._text.tokens(session, special=o.parse_special)
            tokens = first_of_each(parts, max(wanted, o.context), o.context)
            decisions = self._decisions(session) if o.sensitivities else []
            passes = self._hessian_passes(session, tokens) if o.hessians else None
            picked = _spread(np.concatenate(parts), o.context, _PROBE_CHUNKS)
            self._begin(tokens, decisions, picked.size, passes)
            start = None
            if self._sums:
                sums = {name: Sums(s.squares, s.sums, s.counts, s.peaks) for name, s in self._sums.items()}
                start = Importance(sums, np.zeros(session.info.vocabulary, np.int64))
            with session.collect(output=True, start=start) as collection:
                step = _BATCHES * max(session.batch, o.context)
                for at in range(self._done, len(tokens), step):
                    collection.run(tokens[at : at + step], progress=lambda n: self._progress.advance("importance", n))
                    self._done = min(len(tokens), at + step)
                    if time.monotonic() - self._saved >= _SAVED_EVERY or self._done == len(tokens):
                        summed = collection.importance().sums
                        self._sums = {n: TensorSums(s.squares, s.sums, s.counts, s.peaks) for n, s in summed.items()}
                        self._save()
            self._progress.finish_tensor("importance")
            if passes is not None:
                passes.run(session, tokens, lambda n: self._progress.advance("Hessians", n))
            reference = None
            if decisions:
                reference = reference_of(session, picked)
                self._progress.advance("outputs", picked.size)
        return np.concatenate(parts), decisions, reference

    def _decisions(self, session: Session) -> list[Decision]:
        """The tensors to measure.  Raises UnsupportedError where a quantized type is in the way, or is all there is."""
        decisions = self._base.planner.choice(find_mix("Q4_K_M")).decisions
        measured = measurable(decisions, session)
        quantized = [d for d in decisions if d.free and d.intermediate_type not in FLOATS]
        in_the_way = [d for d in quantized if d.encodes] or (quantized if not measured else [])
        if in_the_way:
            raise UnsupportedError(
                f"sensitivities cannot be measured of weights that are {in_the_way[0].intermediate_type} already",
                file=self._source,
                hint="calibrate the unquantized model, or add --no-sensitivities",
            )
        return measured

    def _hessian_passes(self, session: Session, tokens: Tokens) -> Passes:
        o = self._options
        asked = (self._base.fingerprint, self._text.sha256, self._base.type, o.context, len(tokens), o.parse_special)
        info = HessiansInfo(
            model=self._base.fingerprint,
            text=self._text.sha256,
            tokens=len(tokens),
            context=o.context,
            base=self._base.type,
            job=hashlib.sha256(repr((*asked, __version__)).encode()).hexdigest()[:32],
        )
        planner = self._base.planner
        decisions = planner.choice(find_mix("Q4_K_M")).decisions
        return Passes(
            session.inputs(), self._hessians, info, decisions, planner.tensors(), self._run.memory, self._run.resume
        )

    def _begin(self, tokens: Tokens, decisions: Sequence[Decision], probed: int, passes: Passes | None = None) -> None:
        """``probed``: tokens that a quantized file is compared on, for which both models are run."""
        each = min(self._options.sensitivity_tokens, len(tokens))
        total = len(tokens) + (each * len(decisions) + 2 * probed if decisions else 0)
        total += 0 if passes is None else len(tokens) * len(passes.passes)
        done = self._done + each * sum(d.name in self._sensitivities for d in decisions)
        self._progress.begin(total, len(decisions), done)
        unseen = [d.name for d in decisions if d.name not in self._sensitivities]
        self._progress.note(
            f"{len(tokens):,} tokens for the importance matrix, then {each:,} for each of {len(unseen)} tensors"
            if decisions
            else f"{len(tokens):,} tokens for the importance matrix"
        )
        if passes is not None:
            self._progress.note(passes.note(len(tokens)))

    def _importances(self, decisions: Sequence[Decision]) -> Mapping[str, NDArray[np.float32]]:
        pooled = self._pooled()
        return {
            d.name: (s.squares / np.maximum(s.counts, 1).reshape(-1, 1)).astype(np.float32)
            for d in decisions
            if (s := pooled.get(d.name)) is not None and s.squares.shape[1] == d.shape[-1]
        }

    def _is_written(self, name: str) -> bool:
        """Whether llama-imatrix would write a tensor's importance."""
        return self._options.process_output or name.startswith("blk.")

    def _pooled(self) -> dict[str, TensorSums]:
        """The sums to write, with those of all experts of a layer for an expert that saw no token."""
        pooled, starved = {}, 0
        for name, s in self._sums.items():
            if not self._is_written(name):
                continue
            unseen = s.counts == 0
            if len(s.counts) > 1 and unseen.any() and not unseen.all():
                starved += int(unseen.sum())
                total = s.counts.sum()
                squares, sums, counts = s.squares.copy(), s.sums.copy(), s.counts.copy()
                squares[unseen], sums[unseen], counts[unseen] = s.squares.sum(0) / total, s.sums.sum(0) / total, 1
                s = TensorSums(squares, sums, counts, s.peaks)
            pooled[name] = s
        if starved:
            note = f"{starved} matrices of experts saw no token and take the importance of the other experts' inputs"
            if note not in self._notes:
                self._notes.append(note)
        return pooled

    # sensitivities

    def _measure(
        self, tokens: Tokens, decisions: Sequence[Decision], importances: Mapping[str, NDArray[np.float32]]
    ) -> None:
        left = [d for d in decisions if d.name not in self._sensitivities]
        if not left:
            return
        context = min(_SENSITIVITY_CONTEXT, self._options.context)
        picked = _spread(tokens, context, math.ceil(self._options.sensitivity_tokens / context))

        def measured(name: str, sensitivity: Sensitivity) -> None:
            self._sensitivities[name] = sensitivity
            self._progress.advance(name, min(self._options.sensitivity_tokens, len(tokens)))
            self._progress.finish_tensor(name)
            self._save()

        with Session(
            self._base.path,
            context=context,
            batch=max(16, min(512, picked.size)),
            threads=self._run.threads,
            writable=True,
        ) as session:
            reference = session.keep(picked, first=min(_SENSITIVITY_FIRST, context // 2))
            try:
                sensitivities(session, reference, left, self._base.planner.tensors(), importances, measured)
            except BaseException:
                self._save(force=True)
                raise

    def _probe(self, reference: Reference) -> float:
        imatrix = self._base.folder / "calibration.gguf"  # what is left of an interrupted run are sums, not pooled ones
        self._write(imatrix, self._measurements())
        measured = read_measurements(imatrix)
        assert measured is not None
        try:
            context = self._options.context
            return probe(self._source, self._base, reference, imatrix, measured, self._run, context, self._probed)
        except Interrupted:
            raise
        except QconvError as e:
            self._notes.append(f"predictions are rough, since no quantized file could be run to check them: {e}")
            return measured.scale

    def _probed(self, tokens: int) -> None:
        self._progress.advance("a quantized file", tokens)

    def _write(self, path: Path, measured: Measurements) -> None:
        """The file as it is to be."""
        peaks = {n: s.peaks for n, s in self._sums.items() if not self._is_written(n)}
        write_calibration(path, self._pooled(), measured, [self._text.names[0]], peaks)


def _spread(tokens: Tokens, context: int, wanted: int) -> Tokens:
    """``wanted`` chunks of the tokens, or as many as there are, evenly spread."""
    chunks = tokens[: len(tokens) - len(tokens) % context].reshape(-1, context)
    wanted = max(1, min(wanted, len(chunks)))
    return chunks[(np.arange(wanted) * 2 + 1) * len(chunks) // (2 * wanted)].reshape(-1)
