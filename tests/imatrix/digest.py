"""What is kept of a GGUF file: enough to see that another has the same bytes, and where it differs when not."""

from __future__ import annotations

import hashlib
from pathlib import Path

import gguf


def digest(file: Path) -> dict[str, str]:
    """SHA-256 (its beginning) of the file, of its header, and of each tensor's type and bytes, read by gguf-py."""
    reader = gguf.GGUFReader(file)
    data = file.read_bytes()
    tensors = {t.name: f"{t.tensor_type.name} ".encode() + t.data.tobytes() for t in reader.tensors}
    return {
        "file": _sha(data, 32),
        "header": _sha(data[: reader.data_offset], 16),
        "tensors": " ".join(_sha(tensors[name], 6) for name in sorted(tensors)),
    }


def names(file: Path) -> list[str]:
    """The tensors in the order ``digest`` has them."""
    return sorted(t.name for t in gguf.GGUFReader(file).tensors)


def _sha(data: bytes, length: int) -> str:
    return hashlib.sha256(data).hexdigest()[:length]
