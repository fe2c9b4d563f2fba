"""Progress on standard error: a bar on a terminal, a line now and then in a pipe, JSON lines for programs.

None of them may stop a conversion: where standard error is gone, they fall silent.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from qconv.cli.screen import note, noted
from qconv.cli.sizes import count, duration, size
from qconv.errors import printable

if TYPE_CHECKING:
    from tqdm import tqdm

Style = Literal["auto", "json", "none"]

SECONDS_BETWEEN_LINES = 10.0
SECONDS_BETWEEN_OBJECTS = 0.5
SECONDS_OF_SILENCE = 2.0
_COMPILING = "the first use of a type compiles its encoder; this takes some seconds (qconv warm-up does it beforehand)"
_BAR = "{percentage:3.0f}% |{bar:10}| {amount}  {desc}"


class Shown:
    """What the ways to show progress share; a ``qconv.convert.Progress``, called from worker threads.

    ``name``: of what is being made.  ``amount``: how much of it, in words; bytes unless it says otherwise.
    """

    def __init__(self, name: str, amount: Callable[[int], str] | None = None) -> None:
        self.name = name
        self.compiles = amount is None
        self.amount = amount or size
        self.total = self.done = self.resumed = 0
        self.tensor = ""
        self.began = time.monotonic()
        self._lock = threading.Lock()
        self._gone = self._compiling = False
        self._silence = threading.Timer(0, self.note)

    def begin(self, size: int, tensors: int, resumed: int) -> None:
        self.total, self.done, self.resumed = size, resumed, resumed
        self.began = time.monotonic()
        self._guarded(self._open)
        self._silence.cancel()
        if resumed:
            self.note(f"goes on where an earlier run stopped, at {resumed / max(1, size):.0%}")
        if self.compiles:
            self._silence = threading.Timer(SECONDS_OF_SILENCE, self._tell_of_compiling)
            self._silence.daemon = True
            self._silence.start()

    def advance(self, tensor: str, size: int) -> None:
        self._silence.cancel()
        with self._lock:
            self.tensor = tensor
            self.done += size
            if self._compiling:  # which tells nothing of the rate
                self._compiling, self.began, self.resumed = False, time.monotonic(), self.done
            self._guarded(self._show, size)

    def _tell_of_compiling(self) -> None:
        self._compiling = True
        self.note(_COMPILING)

    def finish_tensor(self, tensor: str) -> None: ...

    def note(self, text: str) -> None:
        with self._lock:
            self._guarded(self._note, text)

    def close(self) -> None:
        """Takes it off the screen."""
        self._silence.cancel()
        with self._lock:
            self._guarded(self._close)

    @property
    def rate(self) -> float:
        """Bytes a second."""
        return (self.done - self.resumed) / max(time.monotonic() - self.began, 1e-9)

    @property
    def left(self) -> float | None:
        """Seconds; None while there is nothing to tell them from."""
        return (self.total - self.done) / self.rate if self.rate else None

    def _pace(self, rate: float, left: float) -> str:
        """Time left and what is done a second, to go on with a line: a narrow screen cuts off its end."""
        return f", {duration(left)} left, {self.amount(int(rate))}/s"

    def _guarded(self, show: Any, *arguments: object) -> None:
        if not self._gone:
            try:
                show(*arguments)
            except OSError:
                self._gone = True
                self._mute()

    def _open(self) -> None: ...

    def _show(self, size: int) -> None: ...

    def _note(self, text: str) -> None:
        note(text)

    def _close(self) -> None: ...

    def _mute(self) -> None: ...


class Quiet(Shown):
    """Shows nothing at all."""

    def _note(self, text: str) -> None: ...


class Bar(Shown):
    """tqdm's bar: bytes, rate, time left, and the tensor at hand."""

    _bar: tqdm[Any] | None = None

    def _open(self) -> None:
        from tqdm import tqdm

        class OurUnits(tqdm):  # type: ignore[type-arg]  # it has none outside its stubs
            @property
            def format_dict(bar) -> dict[str, Any]:
                known = super().format_dict
                done, total, rate = known["n"], known["total"], known["rate"] or self.rate
                pace = self._pace(rate, (total - done) / rate) if rate else ""
                return {**known, "amount": f"{self.amount(done)} of {self.amount(total)}{pace}"}

        self._bar = OurUnits(
            total=self.total,
            initial=self.resumed,
            leave=False,
            dynamic_ncols=True,
            delay=1e-6,  # so that it writes nothing before it can be muted
            bar_format=_BAR,
        )

    def _show(self, size: int) -> None:
        if self._bar is not None:
            self._bar.set_description_str(printable(self.tensor, 60), refresh=False)
            self._bar.update(size)

    def _note(self, text: str) -> None:
        from tqdm import tqdm

        tqdm.write(noted(text), file=sys.stderr)  # over any bar that is there

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.clear()  # close() leaves what is there when nothing was done yet
            self._bar.close()

    def _mute(self) -> None:
        if self._bar is not None:
            self._bar.disable = True  # or it writes once more when it is collected


class _Timed(Shown):
    """Says something every ``seconds``."""

    seconds = 0.0
    _said = 0.0

    def _open(self) -> None:
        self._said = self.began

    def _show(self, size: int) -> None:
        now = time.monotonic()
        if now - self._said >= self.seconds:
            self._said = now
            self._say()

    def _say(self) -> None:
        raise NotImplementedError


class Lines(_Timed):
    """A line every ten seconds.  The rate is that since the first one: before it encoders are compiled."""

    seconds = SECONDS_BETWEEN_LINES
    _first = True

    def _say(self) -> None:
        share = f"{self.done / max(1, self.total):.0%} of {self.amount(self.total)}"
        pace = "" if self._first or self.left is None else self._pace(self.rate, self.left)
        note(f"{self.name}: {share}{pace}, at {self.tensor}")
        if self._first:
            self._first, self.began, self.resumed = False, time.monotonic(), self.done


class Objects(_Timed):
    """A JSON object every half second, and one at the end."""

    seconds = SECONDS_BETWEEN_OBJECTS

    def _say(self) -> None:
        state = {"file": self.name, "done": self.done, "total": self.total, "tensor": self.tensor}
        left = None if self.left is None else round(self.left, 1)
        self._print({"progress": {**state, "rate": round(self.rate), "left": left}})

    def _note(self, text: str) -> None:
        self._print({"note": text})

    def _close(self) -> None:
        self._say()

    def _print(self, value: object) -> None:
        print(json.dumps(value), file=sys.stderr, flush=True)


def progress(style: Style, quiet: bool, name: str, amount: Callable[[int], str] | None = None) -> Shown:
    """What to show while ``name`` is being made."""
    if style == "json":
        return Objects(name, amount)
    if style == "none" or quiet:
        return Quiet(name, amount)
    return Bar(name, amount) if sys.stderr.isatty() else Lines(name, amount)


@contextmanager
def telling_waits(style: Style, quiet: bool) -> Iterator[None]:
    """What is logged, such as waits before something is asked for again, is told meanwhile as notes are."""
    logger, handler = logging.getLogger("qconv"), _Notes(progress(style, quiet, ""))
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


class _Notes(logging.Handler):
    """Makes notes of what is logged."""

    def __init__(self, shown: Shown) -> None:
        super().__init__()
        self._shown = shown

    def emit(self, record: logging.LogRecord) -> None:
        self._shown.note(record.getMessage())


def tokens(number: int) -> str:
    """An amount of text, in words."""
    return f"{count(number)} tokens"
