"""Calibration, from a model and a text to a file; what is done of it is kept when it is interrupted."""

from __future__ import annotations

import hashlib
import math
import os
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
    write_calibration,
)
from qconv.errors import Interrupted, OutputError, QconvError, UnsupportedError
from qconv.measurement.base import BaseModel, base_model, local
from qconv.measurement.hessians import Passes
from qconv.measurement.pooled import importances, pooled
from qconv.measurement.probe import probe, reference_of
from qconv.measurement.saved_state import SavedState
from qconv.measurement.sensitivities import measurable, sensitivities
from qconv.measurement.text import Text, first_of_each, read_text
from qconv.options import CalibrateOptions, RunOptions
from qconv.pipeline import Progress, Silent
from qconv.policy import Decision, find_mix
from qconv.runtime import Importance, Reference, Session, Sums, Tokens, library_path
from qconv.tensors import FLOATS

_TOKENS_PER_COLUMN = 8
_PROBE_CHUNKS = 8
_SENSITIVITY_CONTEXT = 256
_SENSITIVITY_FIRST = 32
"""Positions of a chunk that are not looked at: predictions from next to nothing are unlike others."""
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
        self._state = SavedState(_part(output), base, text, options)
        stem = output.name.removesuffix(".gguf").removesuffix("-calibration")
        self._hessians = output.with_name(f"{stem}-hessians")
        self._notes: list[str] = []

    def run(self) -> Calibrated:
        note = self._state.resume(self._run.resume)
        if note is not None:
            self._progress.note(note)
        tokens, decisions, reference = self._importance()
        self._state.save()
        importance = importances(self._pooled(), decisions)
        if self._options.sensitivities:
            self._measure(tokens, decisions, importance)
            self._state.save()
        measured = self._state.measurements()
        if measured.sensitivities and reference is not None:
            measured = replace(measured, scale=self._probe(reference))
        self._write(self._output, measured)
        self._state.part.unlink(missing_ok=True)
        return Calibrated(
            self._output, measured, tuple(self._notes), self._hessians if self._options.hessians else None
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
            if self._state.sums:
                sums = {name: Sums(s.squares, s.sums, s.counts, s.peaks) for name, s in self._state.sums.items()}
                start = Importance(sums, np.zeros(session.info.vocabulary, np.int64))
            with session.collect(output=True, start=start) as collection:
                step = _BATCHES * max(session.batch, o.context)
                for at in range(self._state.tokens, len(tokens), step):
                    collection.run(tokens[at : at + step], progress=lambda n: self._progress.advance("importance", n))
                    self._state.tokens = min(len(tokens), at + step)
                    if self._state.due or self._state.tokens == len(tokens):
                        summed = collection.importance().sums
                        self._state.sums = {
                            n: TensorSums(s.squares, s.sums, s.counts, s.peaks) for n, s in summed.items()
                        }
                        self._state.save_when_due()
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
        done = self._state.tokens + each * sum(d.name in self._state.sensitivities for d in decisions)
        self._progress.begin(total, len(decisions), done)
        unseen = [d.name for d in decisions if d.name not in self._state.sensitivities]
        self._progress.note(
            f"{len(tokens):,} tokens for the importance matrix, then {each:,} for each of {len(unseen)} tensors"
            if decisions
            else f"{len(tokens):,} tokens for the importance matrix"
        )
        if passes is not None:
            self._progress.note(passes.note(len(tokens)))

    def _is_written(self, name: str) -> bool:
        """Whether llama-imatrix would write a tensor's importance."""
        return self._options.process_output or name.startswith("blk.")

    def _pooled(self) -> dict[str, TensorSums]:
        """The sums to write."""
        sums, starved = pooled({name: s for name, s in self._state.sums.items() if self._is_written(name)})
        if starved:
            note = f"{starved} matrices of experts saw no token and take the importance of the other experts' inputs"
            if note not in self._notes:
                self._notes.append(note)
        return sums

    # sensitivities

    def _measure(
        self, tokens: Tokens, decisions: Sequence[Decision], importances: Mapping[str, NDArray[np.float32]]
    ) -> None:
        left = [d for d in decisions if d.name not in self._state.sensitivities]
        if not left:
            return
        context = min(_SENSITIVITY_CONTEXT, self._options.context)
        picked = _spread(tokens, context, math.ceil(self._options.sensitivity_tokens / context))

        def measured(name: str, sensitivity: Sensitivity) -> None:
            self._state.sensitivities[name] = sensitivity
            self._progress.advance(name, min(self._options.sensitivity_tokens, len(tokens)))
            self._progress.finish_tensor(name)
            self._state.save_when_due()

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
                self._state.save()
                raise

    def _probe(self, reference: Reference) -> float:
        imatrix = self._base.folder / "calibration.gguf"  # what is left of an interrupted run are sums, not pooled ones
        self._write(imatrix, self._state.measurements())
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
        peaks = {n: s.peaks for n, s in self._state.sums.items() if not self._is_written(n)}
        write_calibration(path, self._pooled(), measured, [self._text.names[0]], peaks)


def _spread(tokens: Tokens, context: int, wanted: int) -> Tokens:
    """``wanted`` chunks of the tokens, or as many as there are, evenly spread."""
    chunks = tokens[: len(tokens) - len(tokens) % context].reshape(-1, context)
    wanted = max(1, min(wanted, len(chunks)))
    return chunks[(np.arange(wanted) * 2 + 1) * len(chunks) // (2 * wanted)].reshape(-1)
