"""Sarashina 2.2 Vision: its Llama stands beside a norm of the same name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qconv.architectures.names import canonical
from qconv.architectures.registry import rename


@rename
def llm_part(name: str, config: Mapping[str, Any]) -> str:
    """``llm.x`` is the text model's x; ``norm`` without that is another's."""
    if name.startswith("llm."):
        return canonical(name.removeprefix("llm."))
    return f"outside.{name}" if name.startswith("norm.") else name
