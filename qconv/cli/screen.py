"""What reaches the screen: results on standard output, everything else on standard error.

Tables are aligned; on a terminal they fit its width (text columns are cut), in a pipe nothing is cut.
Colours only on a terminal, and not where ``NO_COLOR`` is set.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from qconv.errors import printable

if TYPE_CHECKING:
    from rich.console import Console

_WIDTH_OF_A_PIPE = 4096
_GAP = 2
_NARROWEST = 8


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its heading, numbers to the right, and whether it may be cut to fit a terminal.

    ``cut``: 0 never; of the others the highest give way first.
    """

    heading: str
    right: bool = False
    cut: int = 0


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], total: Sequence[str] | None = None) -> None:
    """Prints rows under headings, and ``total`` below them."""
    terminal = _console() if sys.stdout.isatty() else None
    every = [[column.heading for column in columns], *rows, *([total] if total else [])]
    every = [[printable(cell) for cell in row] for row in every]
    widths = _widths(columns, every, terminal.width if terminal else _WIDTH_OF_A_PIPE)
    made = [
        (" " * _GAP).join(_cell(*each) for each in zip(row, columns, widths, strict=True)).rstrip() for row in every
    ]
    if terminal:
        for number in (0, -1) if total else (0,):
            made[number] = _bold(made[number], terminal)
    lines("\n".join(made))


def _console() -> Console:
    from rich.console import Console

    colours: Literal["auto"] | None = None if os.environ.get("NO_COLOR") else "auto"
    return Console(file=sys.stdout, color_system=colours, markup=False, highlight=False, emoji=False)


def _bold(text: str, terminal: Console) -> str:
    from rich.text import Text

    with terminal.capture() as captured:
        terminal.print(Text(text, style="bold"), end="")
    return captured.get()


def _cell(text: str, column: Column, width: int) -> str:
    if len(text) > width:
        text = text[: width - 1] + "…"
    return text.rjust(width) if column.right else text.ljust(width)


def _widths(columns: Sequence[Column], rows: Sequence[Sequence[str]], room: int) -> list[int]:
    """Each column's widest cell; where that is too much, the widest of those to be cut first is made narrower."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    may_be_cut = [i for i, column in enumerate(columns) if column.cut]
    while sum(widths) + _GAP * (len(widths) - 1) > room:
        wide = [i for i in may_be_cut if widths[i] > _NARROWEST]
        if not wide:
            break
        widths[max(wide, key=lambda i: (columns[i].cut, widths[i]))] -= 1
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
