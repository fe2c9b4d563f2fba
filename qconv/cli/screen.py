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
    from rich.table import Table


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its heading, numbers to the right, and whether it may be cut to fit a terminal."""

    heading: str
    right: bool = False
    cut: bool = False


def table(
    columns: Sequence[Column], rows: Sequence[Sequence[str]], total: Sequence[str] | None = None, *, tall: bool = False
) -> None:
    """Prints rows under headings, and ``total`` below them.

    ``tall``: on a terminal that is too narrow nothing is cut, but each row printed as lines of headings and values.
    """
    cells = [[printable(cell) for cell in row] for row in (*rows, *([total] if total else []))]
    if tall and sys.stdout.isatty() and _width(columns, cells) > shutil.get_terminal_size().columns:
        _write(_stacked([column.heading for column in columns[1:]], cells))
    elif sys.stdout.isatty():
        with _told():
            _terminal().print(_rich_table(columns, cells, bool(total)))
    else:
        _write(_aligned(columns, [[column.heading for column in columns], *cells]))


def _terminal() -> Console:
    from rich.console import Console

    colours: Literal["auto"] | None = None if os.environ.get("NO_COLOR") else "auto"
    return Console(file=sys.stdout, color_system=colours, markup=False, highlight=False, emoji=False)


def _rich_table(columns: Sequence[Column], rows: Sequence[Sequence[str]], total: bool) -> Table:
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        drawn.add_column(Text(column.heading), justify="right" if column.right else "left", no_wrap=not column.cut)
    for number, row in enumerate(rows):
        texts = (Text(cell, no_wrap=True, overflow="ellipsis") for cell in row)
        drawn.add_row(*texts, style="bold" if total and number == len(rows) - 1 else None)
    return drawn


def _width(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> int:
    """Columns of a terminal that a table takes."""
    widths = [max(map(len, cells)) for cells in zip([column.heading for column in columns], *rows, strict=True)]
    return sum(widths) + 2 * (len(widths) - 1)


def _stacked(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Each row's first cell, and below it the others that are not empty beside their headings."""
    width = max(map(len, headings))
    for first, *others in rows:
        yield first
        yield from (f"  {heading:<{width}}  {cell}" for heading, cell in zip(headings, others, strict=True) if cell)


def _aligned(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Lines of a pipe, where nothing is cut."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    for row in rows:
        cells = zip(row, columns, widths, strict=True)
        yield "  ".join(c.rjust(width) if column.right else c.ljust(width) for c, column, width in cells).rstrip()


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
    print(noted(text), file=sys.stderr, flush=True)


def noted(text: str) -> str:
    """A note as it is printed."""
    line = f"qconv: {printable(text, 4096)}"
    if not sys.stderr.isatty():
        return line
    width = shutil.get_terminal_size().columns
    return textwrap.fill(line, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
