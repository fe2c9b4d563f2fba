"""What the user asks for, as the plan needs it: one frozen record, checked where it is used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Options of one conversion; the names are those of the command line.

    ``types``: mix names, each one output.  ``mix``: the user's own mix file instead.  ``output``: a file (only with one
    type) or a directory; ``None`` names the file and puts it beside the source.
    """

    types: tuple[str, ...] = ()
    mix: Path | None = None
    output: Path | None = None
    tensor_types: tuple[tuple[str, str], ...] = ()
    """(regular expression, block type), first match wins."""
    output_tensor_type: str | None = None
    token_embedding_type: str | None = None
    pure: bool = False
    leave_output_tensor: bool = False
    override_kv: tuple[str, ...] = ()
    """``KEY=TYPE:VALUE`` each."""
    allow_requantize: bool = False
    arch: str | None = None
    pre: str | None = None
    imatrix: Path | None = None
    imatrix_name: str | None = None
    """How the output names that file, where it is to be named otherwise than by ``imatrix``."""
    include_weights: tuple[str, ...] = ()
    exclude_weights: tuple[str, ...] = ()
    search: str = "reference"
    split_max_size: int | None = None
    """Bytes a shard may have."""
    strict: bool = False
    """A tensor that would fall back to another type is an error."""
