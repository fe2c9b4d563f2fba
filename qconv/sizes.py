"""Sizes as people write them, in bytes, in bits per weight, or as the name of a type."""

from __future__ import annotations

import re
from dataclasses import dataclass

from qconv.errors import UsageError

_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_TOO_LARGE = 1 << 63
_BYTES = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(I?)B?", re.IGNORECASE)
_BITS = re.compile(r"(\d+(?:\.\d+)?)\s*bpw", re.IGNORECASE)
_MOST_BITS = 32


def parse_bytes(text: str, option: str) -> int:
    """Bytes of ``400MB`` (decimal), ``400MiB`` (binary), ``4G`` or a plain number; ``option`` is named in the error."""
    match = _BYTES.fullmatch(text.strip())
    number = float(match[1]) * (1024 if match[3] else 1000) ** _POWERS[match[2].upper()] if match else 0
    if not 1 <= number < _TOO_LARGE:
        raise UsageError(f"{option}: '{text}' is not a size", hint="such as 400MB, 1.5GiB or 4G")
    return int(number)


@dataclass(frozen=True, slots=True)
class Size:
    """A size a file is to have: one of ``bytes``, ``bits`` per weight, or as large as that of ``mix``."""

    text: str
    bytes: int | None = None
    bits: float | None = None
    mix: str | None = None

    @classmethod
    def parse(cls, text: str) -> Size:
        """``4.5GB``, ``4.5bpw`` or ``q4_k_m``; raises UsageError for anything else."""
        from qconv.policy import mixes

        wanted = text.strip()
        if bits := _BITS.fullmatch(wanted):
            if not 0 < float(bits[1]) <= _MOST_BITS:
                raise UsageError(f"--size: no file has {wanted}", hint="such as 4.5bpw")
            return cls(wanted, bits=float(bits[1]))
        for mix in mixes().values():
            if wanted.upper() == mix.name or wanted.lower() in mix.aliases:
                return cls(wanted, mix=mix.name)
        if not wanted[:1].isdigit():
            hint = "bytes such as 4.5GB, bits per weight such as 4.5bpw, or a type such as q4_k_m"
            raise UsageError(f"--size: '{text}' is not a size", hint=hint)
        return cls(wanted, bytes=parse_bytes(wanted, "--size"))
