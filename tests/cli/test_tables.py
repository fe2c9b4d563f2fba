"""Tables on terminals of any width, and in pipes."""

from __future__ import annotations

import io
import re
import sys

import pytest

from qconv.cli.screen import Column, noted, table

COLUMNS = [Column("name", cut=True), Column("bytes", right=True)]
ROWS = [("blk.0.ffn_down_exps.weight" * 3, "1,024"), ("output\x1b[2J", "7")]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, **environment: str) -> str:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in ({"TERM": "xterm-256color"} | environment).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdout", stream)
    table(COLUMNS, ROWS, ("all", "1,031"))
    return stream.getvalue()


def test_nothing_is_cut_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(monkeypatch, io.StringIO(), COLUMNS="40")
    assert ROWS[0][0] in text
    assert "\x1b" not in text


def test_a_terminal_cuts_names_not_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    text = re.sub(r"\x1b\[[\d;]*m", "", shown(monkeypatch, Terminal(), COLUMNS="40"))
    lines = text.splitlines()
    assert max(map(len, lines)) <= 40
    assert re.search(r"…\s+1,024$", lines[1])
    assert lines[-1].split() == ["all", "1,031"]
    assert {line.rindex(line.split()[-1]) + len(line.split()[-1]) for line in lines} == {40}


def test_colours_only_where_they_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[1m" in shown(monkeypatch, Terminal(), COLUMNS="40")
    assert "\x1b" not in shown(monkeypatch, Terminal(), COLUMNS="40", NO_COLOR="1")


def test_names_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "output\\x1b[2J" in shown(monkeypatch, io.StringIO())


def test_only_columns_that_may_be_cut_give_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", stream := Terminal())
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("NO_COLOR", "1")
    table([Column("tensor"), Column("why", cut=True)], [("blk.0.attn_output_norm.weight", "reason " * 9)])
    assert stream.getvalue().splitlines()[1] == "blk.0.attn_output_norm.weight  reason r…"


@pytest.mark.parametrize(("width", "downwards"), [("25", True), ("26", False)])
def test_where_nothing_may_be_cut_a_narrow_terminal_gets_rows_downwards(
    monkeypatch: pytest.MonkeyPatch, width: str, downwards: bool
) -> None:
    stream = Terminal()
    monkeypatch.setenv("COLUMNS", width)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys, "stdout", stream)
    headings = [Column("file"), Column("size", right=True), Column("same", right=True)]
    table(headings, [("model\x1b.gguf", "1", "99%"), ("b", "", "100%")], tall=True)
    lines = [line.rstrip() for line in re.sub(r"\x1b\[[\d;]*m", "", stream.getvalue()).splitlines()]
    if downwards:
        assert lines == ["model\\x1b.gguf", "  size  1", "  same  99%", "b", "  same  100%"]
    else:
        assert lines[1].split() == ["model\\x1b.gguf", "1", "99%"]


def test_a_long_note_is_broken_between_words_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert noted("as long as three lines are, and more") == "qconv: as long as\n  three lines are,\n  and more"
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert noted("as long as three lines are, and more") == "qconv: as long as three lines are, and more"
