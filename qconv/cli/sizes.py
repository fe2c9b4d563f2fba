"""Sizes and counts as text, and back."""

from __future__ import annotations

import re

from qconv.errors import UsageError

_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_TOO_LARGE = 1 << 63
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(I?)B?", re.IGNORECASE)


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


def _digits(value: float) -> int:
    return 2 if value < 10 else 1 if value < 100 else 0


def parse_size(text: str, option: str) -> int:
    """Bytes of ``400MB`` (decimal), ``400MiB`` (binary), ``4G`` or a plain number; ``option`` is named in the error."""
    found = _SIZE.fullmatch(text.strip())
    number = float(found[1]) * (1024 if found[3] else 1000) ** _POWERS[found[2].upper()] if found else 0
    if not 1 <= number < _TOO_LARGE:
        raise UsageError(f"{option}: '{text}' is not a size", hint="such as 400MB, 1.5GiB or 4G")
    return int(number)
