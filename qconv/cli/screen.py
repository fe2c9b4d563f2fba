"""What reaches the screen: results on standard output, everything else on standard error.

Tables are aligned; on a terminal they fit its width (the widest text column is cut), in a pipe nothing is cut.
Colours only on a terminal, and not where ``NO_COLOR`` is set.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TextIO

from qconv.errors import printable

if TYPE_CHECKING:
    from rich.console import Console

_WIDTH_OF_A_PIPE = 4096
_GAP = 2
_NARROWEST = 8


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its heading, numbers to the right, and whether it may be cut to fit a terminal."""

    heading: str
    right: bool = False
    cut: bool = False


def console(stream: TextIO | None = None) -> Console:
    """A console on standard output that cuts nothing in a pipe and takes text as it is."""
    from rich.console import Console

    file = stream or sys.stdout
    width = None if file.isatty() else _WIDTH_OF_A_PIPE
    colours: Literal["auto"] | None = None if os.environ.get("NO_COLOR") else "auto"
    return Console(file=file, width=width, color_system=colours, markup=False, highlight=False, emoji=False)


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], total: Sequence[str] | None = None) -> None:
    """Prints rows under headings, and ``total`` under a rule."""
    from rich.table import Table
    from rich.text import Text

    screen = console()
    made = Table(box=None, show_edge=False, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    every = [[column.heading for column in columns], *rows, *([total] if total else [])]
    for column, width in zip(columns, _widths(columns, every, screen.width), strict=True):
        side: Literal["left", "right"] = "right" if column.right else "left"
        made.add_column(column.heading, justify=side, no_wrap=True, overflow="ellipsis", width=width)
    for row in rows:
        made.add_row(*(Text(printable(cell)) for cell in row))
    if total is not None:
        made.add_row(*(Text(printable(cell), style="bold") for cell in total))
    with screen.capture() as captured:
        screen.print(made)
    lines(captured.get())


def _widths(columns: Sequence[Column], rows: Sequence[Sequence[str]], room: int) -> list[int]:
    """Each column's widest cell; where that is too much, the widest of those that may be cut is made narrower."""
    widths = [max(len(printable(cell)) for cell in cells) for cells in zip(*rows, strict=True)]
    may_be_cut = [i for i, column in enumerate(columns) if column.cut]
    while may_be_cut and sum(widths) + _GAP * (len(widths) - 1) > room:
        widest = max(may_be_cut, key=lambda i: widths[i])
        if widths[widest] <= _NARROWEST:
            break
        widths[widest] -= 1
    return widths


def lines(text: str) -> None:
    """Prints lines without the spaces a table leaves at their ends."""
    sys.stdout.write("".join(f"{line.rstrip()}\n" for line in text.splitlines()))


def pairs(rows: Sequence[tuple[str, str]]) -> None:
    """Prints names and values, values aligned."""
    width = max((len(name) for name, _ in rows), default=0)
    for name, value in rows:
        sys.stdout.write(f"{name:<{width}}  {printable(value, 4096)}\n")


def result(text: str) -> None:
    """One line on standard output, at once: a shell may be waiting for it."""
    print(text, flush=True)


def note(text: str) -> None:
    """A note on standard error: one line, on a terminal broken between words."""
    line = f"qconv: {printable(text, 4096)}"
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns
        line = textwrap.fill(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    print(line, file=sys.stderr, flush=True)
