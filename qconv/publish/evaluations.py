"""What ``qconv evaluate --json`` has said of files."""

from __future__ import annotations

from pathlib import Path

import msgspec

from qconv.errors import FormatError
from qconv.storage import read_small

_LARGEST = 16 << 20


class _Mean(msgspec.Struct, frozen=True):
    mean: float


class _Perplexity(msgspec.Struct, frozen=True):
    value: float


class Evaluated(msgspec.Struct, frozen=True):
    """A file's KL divergence, in nats a token, and its perplexity."""

    file: str
    kl_divergence: _Mean
    perplexity: _Perplexity


def read_evaluations(path: Path) -> dict[str, Evaluated]:
    """Results by file name, from a file of JSON objects, one a line.

    Raises InputError when it cannot be read, FormatError for a line that is not a result.
    """
    results: dict[str, Evaluated] = {}
    for number, line in enumerate(read_small(path, _LARGEST).splitlines(), 1):
        if not line.strip():
            continue
        try:
            result = msgspec.json.decode(line, type=Evaluated)
        except (msgspec.DecodeError, UnicodeDecodeError) as e:
            hint = "it should hold what qconv evaluate --json prints"
            raise FormatError(f"line {number} is not a result of an evaluation: {e}", file=path, hint=hint) from e
        results[Path(result.file).name] = result
    return results
