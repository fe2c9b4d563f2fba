"""What llama.cpp's converter wrote, and the same of what qconv makes; arrays by length, hash, beginning and end."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from pathlib import Path
from typing import Any

from qconv.types import Metadata, Value, ValueType

_SHARED = os.environ.get("QCONV_SHARED")
REFERENCES = Path(_SHARED) / "tokenizers" if _SHARED else None
"""Real vocabularies with what the converter made of each: not part of the repository, None where none are named."""

FORMATS = {"UINT8": "B", "UINT32": "I", "INT32": "i", "FLOAT32": "f", "BOOL": "?"}


def load(path: Path) -> dict[str, Any]:
    """The keys of a recording, without the few elements shown for people."""
    keys = json.loads(path.read_text("utf-8"))
    return {key: {k: v for k, v in entry.items() if k not in ("first", "last")} for key, entry in keys.items()}


def same_form(keys: Metadata) -> dict[str, Any]:
    return {key: _entry(value) for key, value in keys.items()}


def _entry(value: Value) -> dict[str, Any]:
    if value.type != ValueType.ARRAY:
        return {"type": value.type.name, "value": value.data}
    assert value.element is not None
    element = value.element.name
    if element == "STRING":
        raw = [text if isinstance(text, bytes) else text.encode() for text in value.data]
        data = b"".join(struct.pack("<Q", len(text)) + text for text in raw)
    else:
        data = struct.pack(f"<{len(value.data)}{FORMATS[element]}", *value.data)
    size = {"element_type": element, "length": len(value.data)}
    return {"type": "ARRAY", **size, "sha256": hashlib.sha256(data).hexdigest()}
