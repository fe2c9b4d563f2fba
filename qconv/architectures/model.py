"""A model as tables see it: its completed config and the names and shapes of its tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qconv.architectures.operations.base import as_float32
from qconv.errors import PlanError
from qconv.types import TensorInfo, TensorReader

LARGEST_COUNT = 1 << 16
"""Layers, experts or heads; more is a broken config, not a model."""


@dataclass(frozen=True)
class ModelContext:
    """What derivations and conditions may ask about.

    ``config``: the completed config, the text model's keys at the root.  ``tensors``: shapes by name as tables write
    it.  ``directory``: the checkpoint's folder, if it has one.
    """

    config: Mapping[str, Any]
    tensors: Mapping[str, TensorInfo] = field(default_factory=dict)
    directory: Path | None = None
    table: str = ""
    reader: TensorReader | None = None

    def scalar(self, name: str) -> float | None:
        """The value of a tensor that holds just one, in float32; None when there is no such tensor.

        For the few weights that GGUF keeps as metadata; nothing larger is read before the plan stands.
        """
        info = self.tensors.get(name)
        if info is None or info.weights != 1 or self.reader is None:
            return None
        return float(as_float32(self.reader.read(info.name, 0, 1), info.dtype).reshape(-1)[0])

    def find(self, *keys: str) -> Any:
        """The value of the first key that the config has, dots leading into tables and lists; else None."""
        for key in keys:
            found, value = self._look_up(key)
            if found:
                return value
        return None

    def has(self, key: str) -> bool:
        return self._look_up(key)[0]

    def _look_up(self, key: str) -> tuple[bool, Any]:
        if key in self.config:
            return True, self.config[key]
        value: Any = self.config
        for part in key.split("."):
            if isinstance(value, list) and part.isdecimal() and int(part) < len(value):
                value = value[int(part)]
            elif isinstance(value, Mapping) and part in value:
                value = value[part]
            else:
                return False, None
        return True, value

    def integer(self, *keys: str, default: int | None = None) -> int:
        """The first key present as an integer; ``default`` when absent or null."""
        value = self.find(*keys)
        value = default if value is None else value
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.lacks(keys, value, "an integer")
        return value

    def count(self, *keys: str, default: int | None = None) -> int:
        """Like ``integer``, for numbers of things: 0 to ``LARGEST_COUNT``."""
        value = self.integer(*keys, default=default)
        if not 0 <= value <= LARGEST_COUNT:
            raise self.lacks(keys, value, f"a number from 0 to {LARGEST_COUNT}")
        return value

    def number(self, *keys: str, default: float | None = None) -> float:
        value = self.find(*keys)
        value = default if value is None else value
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self.lacks(keys, value, "a number")
        return value

    def lacks(self, keys: Iterable[str], value: Any = None, wanted: str = "a value") -> PlanError:
        """The error for a config key that is not there or of the wrong kind."""
        which = " or ".join(f"'{k}'" for k in keys)
        what = f"has no {which}" if value is None else f"has {value!r} for {which}"
        return PlanError(
            f"config.json {what}, but {self.table or 'its architecture'} needs {wanted} there",
            file=self.directory,
            hint="complete config.json from the original model",
        )
