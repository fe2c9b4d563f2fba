"""Sizes, counts and times as text."""

from __future__ import annotations


def size(count: int) -> str:
    """Bytes in binary units, three digits or so: ``4.58 GiB``."""
    value, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{count} B" if unit == "B" else f"{value:.{_digits(value)}f} {unit}"


def count(number: int) -> str:
    """A large number as people say it: ``1.24 B``; below ten thousand as it is."""
    value, unit = float(number), ""
    if number < 10_000:
        return f"{number:,}"
    for larger in ("K", "M", "B", "T"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.{_digits(value)}f} {unit}"


def counted(number: int, noun: str) -> str:
    """``1 tensor``, ``12 tensors``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def duration(seconds: float) -> str:
    """As one says how long something takes: ``45 s``, ``12 min``, ``3 h 05 min``."""
    if seconds < 119.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60:,} h {minutes % 60:02} min"


def _digits(value: float) -> int:
    return 2 if value < 10 else 1 if value < 100 else 0
