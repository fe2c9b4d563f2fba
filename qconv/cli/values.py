"""Shapes and metadata values as text and for JSON."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qconv.types import Value

_LONGEST_TEXT = 60
_SHOWN_ELEMENTS = 5


def type_text(value: Value) -> str:
    return value.type.name.lower() if value.element is None else f"{value.element.name.lower()}[{len(value.data)}]"


def value_text(value: Value) -> str:
    """A value on one line, cut where it is long."""
    if value.element is None:
        text = str(_shortest(value))
        return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}… ({len(text):,} characters)"
    shown = ", ".join(repr(_plain(v)) for v in value.data[:_SHOWN_ELEMENTS])
    return f"[{shown}{', …' if len(value.data) > _SHOWN_ELEMENTS else ''}]"


def value_object(value: Value) -> object:
    """A value for JSON; an array as its type, its length and its first elements.

    NaN and infinities, which JSON has not, are null.
    """
    if value.element is None:
        return _finite(_shortest(value))
    first = [_finite(_plain(v)) for v in value.data[:_SHOWN_ELEMENTS]]
    return {"type": value.element.name.lower(), "length": len(value.data), "first": first}


def _finite(element: Any) -> Any:
    return None if isinstance(element, float) and not math.isfinite(element) else element


def _plain(element: Any) -> Any:
    if isinstance(element, bytes):
        return element.decode("utf-8", "replace")
    return element.item() if hasattr(element, "item") else element


def _shortest(value: Value) -> Any:
    """A float32 in no more digits than it has: 0.9, not 0.8999999761581421."""
    if value.type.name == "FLOAT32":
        import numpy as np

        return float(str(np.float32(value.data)))
    return _plain(value.data)
