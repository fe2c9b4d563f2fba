"""What reaches the screen: results on standard output, everything else on standard error.

What comes from files is escaped here, so that nothing in it acts on a terminal.

Tables are aligned; on a terminal they fit its width (text columns are cut), in a pipe nothing is cut.
Colours only on a terminal, and not where ``NO_COLOR`` is set.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from qconv.errors import OutputError, printable

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
    _write(made)


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


def lines(*texts: str) -> None:
    """Prints lines."""
    _write(printable(text, sys.maxsize) for text in texts)


def pairs(rows: Sequence[tuple[str, str]]) -> None:
    """Prints names and values, values aligned."""
    width = max((len(name) for name, _ in rows), default=0)
    _write(f"{name:<{width}}  {printable(value, 4096)}" for name, value in rows)


def result(text: str) -> None:
    """One line on standard output, as it is: a path or JSON, for a program."""
    _write([text])


def flush() -> None:
    """Makes sure that all is out, Typer's help too.  Raises ``OutputError`` when standard output takes no more."""
    with _told():
        sys.stdout.flush()


def _write(texts: Iterable[str]) -> None:
    """Prints lines, at once: a shell may be waiting for them, or an error may come next."""
    with _told():
        print("\n".join(texts), flush=True)


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:  # a reader that has seen enough
        raise
    except OSError as e:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or what is left would fail once more
        raise OutputError(f"cannot be written: {e.strerror}", file="standard output") from e


def note(text: str) -> None:
    """A note on standard error: one line, on a terminal broken between words."""
    line = f"qconv: {printable(text, 4096)}"
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns
        line = textwrap.fill(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    print(line, file=sys.stderr, flush=True)
