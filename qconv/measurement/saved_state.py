"""What a calibration has measured so far, kept beside its output for a run that goes on with it."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from qconv import __version__
from qconv.calibration import (
    Measurements,
    Sensitivity,
    TensorSums,
    read_measurements,
    read_sums,
    write_calibration,
)
from qconv.errors import InputError
from qconv.measurement.base import BaseModel
from qconv.measurement.text import Text
from qconv.options import CalibrateOptions

SAVED_EVERY = 30.0
"""Seconds."""


class SavedState:
    """What has been measured, and the file ``part`` that it is saved in.

    ``sums``: of squares, by tensor, over the first ``tokens`` tokens of the text.  ``sensitivities``: by tensor.
    """

    def __init__(self, part: Path, base: BaseModel, text: Text, options: CalibrateOptions) -> None:
        self.part = part
        self.sums: dict[str, TensorSums] = {}
        self.tokens = 0
        self.sensitivities: dict[str, Sensitivity] = {}
        self._base, self._text, self._options = base, text, options
        self._saved = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether it was saved long enough ago to be saved again."""
        return time.monotonic() - self._saved >= SAVED_EVERY

    def resume(self, wanted: bool) -> str | None:
        """Takes over what an earlier run left where that is ``wanted``; a note where it is there and cannot be used."""
        if not self.part.exists():
            return None
        left = None
        if wanted:
            try:
                left = read_measurements(self.part)
                sums = read_sums(self.part)
            except InputError:
                left = None
        if left is None or left.job != self._job():
            return f"{self.part.name} {'is of another calibration, and is replaced' if wanted else 'is started afresh'}"
        self.sums, self.tokens, self.sensitivities = sums, left.tokens, dict(left.sensitivities)
        return None

    def save(self) -> None:
        """Writes ``part``."""
        write_calibration(self.part, self.sums, self.measurements(), [self._text.names[0]])
        self._saved = time.monotonic()

    def save_when_due(self) -> None:
        """Writes ``part``, if that was long enough ago."""
        if self.due:
            self.save()

    def measurements(self) -> Measurements:
        """What a calibration's file says besides the sums."""
        return Measurements(
            model=self._base.fingerprint,
            text=self._text.sha256,
            tokens=self.tokens,
            context=self._options.context,
            base=self._base.type,
            job=self._job(),
            sensitivity_tokens=self._options.sensitivity_tokens if self.sensitivities else 0,
            sensitivities=self.sensitivities,
        )

    def _job(self) -> str:
        """A digest of all that what is measured depends on."""
        o = self._options
        asked = (self._base.fingerprint, self._text.sha256, self._base.type, o.context, o.tokens, o.sensitivity_tokens)
        more = (o.parse_special, o.process_output, o.sensitivities, __version__)
        return hashlib.sha256(repr((*asked, *more)).encode()).hexdigest()[:32]
