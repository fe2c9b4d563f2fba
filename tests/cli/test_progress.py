"""What is shown while a conversion runs."""

from __future__ import annotations

import io
import json
import sys
import time

import pytest

from qconv.cli import progress as module
from qconv.cli.progress import Bar, Lines, Objects, Quiet, progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Gone(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError


@pytest.mark.parametrize(
    ("style", "quiet", "stream", "kind"),
    [
        ("auto", False, Terminal(), Bar),
        ("auto", False, io.StringIO(), Lines),
        ("auto", True, Terminal(), Quiet),
        ("none", False, Terminal(), Quiet),
        ("json", True, Terminal(), Objects),
    ],
)
def test_the_way_it_is_shown(
    monkeypatch: pytest.MonkeyPatch, style: module.Style, quiet: bool, stream: io.StringIO, kind: type
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    assert type(progress(style, quiet, "x.gguf")) is kind


def test_a_line_now_and_then_with_the_rate_since_the_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    lines = Lines("x.gguf")
    lines.begin(100 << 20, 4, 0)
    lines.advance("blk.0", 10 << 20)
    assert capsys.readouterr().err == ""
    now = 110.0
    lines.advance("blk.1", 10 << 20)
    lines.advance("blk.2", 10 << 20)
    assert capsys.readouterr().err == "qconv: x.gguf: 20% of 100 MiB, at blk.1\n"
    now = 120.0
    lines.advance("blk.3", 40 << 20)
    assert capsys.readouterr().err == "qconv: x.gguf: 70% of 100 MiB, 6 s left, 5.00 MiB/s, at blk.3\n"


@pytest.mark.parametrize("kind", [Bar, Lines])
def test_an_earlier_run_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: type[module.Shown]
) -> None:
    shown = kind("x.gguf")
    shown.begin(1000, 2, 250)
    shown.close()
    assert "goes on where an earlier run stopped, at 25%" in capsys.readouterr().err


def test_what_was_done_before_does_not_count_for_the_rate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    objects = Objects("x.gguf")
    objects.begin(1000, 2, 500)
    now = 2.0
    objects.advance("t", 100)
    shown = json.loads(capsys.readouterr().err.splitlines()[-1])["progress"]
    assert shown == {"file": "x.gguf", "done": 600, "total": 1000, "tensor": "t", "rate": 50, "left": 8.0}


def test_the_bar_names_bytes_rate_time_and_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    bar = Bar("x.gguf")
    bar.begin(2 << 30, 2, 0)
    bar.advance("blk.0.ffn_up.weight", 1 << 30)
    bar.note("something to know")
    bar.close()
    text = stream.getvalue()
    assert "qconv: something to know\n" in text
    for part in ("50%", "1.00 GiB of 2.00 GiB", "iB/s", "left", "blk.0.ffn_up.weight"):
        assert part in text, text


@pytest.mark.parametrize("kind", [Bar, Lines, Objects])
def test_nobody_listening_stops_nothing(monkeypatch: pytest.MonkeyPatch, kind: type[module.Shown]) -> None:
    monkeypatch.setattr(sys, "stderr", Gone())
    monkeypatch.setattr(Lines, "seconds", 0.0)
    monkeypatch.setattr(Objects, "seconds", 0.0)
    shown = kind("x.gguf")
    shown.begin(10, 1, 0)
    shown.advance("t", 5)
    shown.note("n")
    shown.close()
    assert shown.done == 5


def test_names_from_a_file_reach_no_terminal_as_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Lines, "seconds", 0.0)
    lines = Lines("x\x1b[2J.gguf")
    lines.begin(10, 1, 0)
    lines.advance("t\x07", 5)
    assert "\x1b" not in (text := capsys.readouterr().err)
    assert "\\x1b[2J" in text
    assert "\\x07" in text


def test_time_spent_compiling_does_not_count_for_the_rate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 0.0
    monkeypatch.setattr(module, "SECONDS_OF_SILENCE", 0.0)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    objects = Objects("x.gguf")
    objects.begin(1000, 2, 0)
    objects._silence.join(60)
    now = 30.0
    objects.advance("t", 100)
    now = 32.0
    objects.advance("t", 100)
    first, second = (json.loads(line)["progress"] for line in capsys.readouterr().err.splitlines()[1:])
    assert (first["rate"], first["left"]) == (0, None)
    assert (second["rate"], second["left"]) == (50, 16.0)


def test_a_silence_is_explained(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(module, "SECONDS_OF_SILENCE", 0.0)
    lines = Lines("x.gguf")
    lines.begin(10, 1, 0)
    lines._silence.join(60)
    assert "compiles its encoder" in capsys.readouterr().err
    monkeypatch.setattr(module, "SECONDS_OF_SILENCE", 3600.0)
    busy = Lines("y.gguf")
    busy.begin(10, 1, 0)
    busy.advance("t", 1)
    busy._silence.join(60)  # ends at once when it is cancelled
    assert not busy._silence.is_alive()
    assert capsys.readouterr().err == ""
