"""A model as tables see it: its completed config and the names and shapes of its tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from qconv.errors import PlanError, printable
from qconv.storage import Folder
from qconv.tensors import LazyTensor, as_float32, read_whole
from qconv.types import TensorInfo

LARGEST_COUNT = 1 << 16
"""Layers, experts or heads; more is a broken config, not a model."""
_LONGEST = 100
"""Characters that messages show of a value."""
_MOST_INTEGERS = 256
"""Values of a tensor that may become metadata."""


@dataclass(frozen=True)
class ModelContext:
    """What derivations and conditions may ask about.

    ``config``: the completed config, the text model's keys at the root.  ``tensors``: shapes by name as tables write
    it.  ``folder``: the checkpoint's, if it has one.  ``lazy``: its tensors by their own names.  ``target``: of a
    drafter, the config of the model it drafts for, its text part at the root.  ``origins``: how keys of the config
    begin, with the file they are from and how they begin there; the first that fits counts.
    """

    config: Mapping[str, Any]
    tensors: Mapping[str, TensorInfo] = field(default_factory=dict)
    folder: Folder | None = None
    table: str = ""
    lazy: Mapping[str, LazyTensor] = field(default_factory=dict)
    target: Mapping[str, Any] = field(default_factory=dict)
    origins: Mapping[str, tuple[str, str]] = field(default_factory=lambda: {"": ("config.json", "")})

    @property
    def location(self) -> str | None:
        """What messages call the folder."""
        return None if self.folder is None else self.folder.location

    def scalar(self, name: str) -> float | None:
        """The value of a tensor that holds just one, in float32; None when there is no such tensor.

        For the few weights that GGUF keeps as metadata; nothing larger is read before the plan stands.
        """
        info = self.tensors.get(name)
        tensor = None if info is None or info.weights != 1 else self.lazy.get(info.name)
        return None if tensor is None else float(as_float32(read_whole(tensor), tensor.dtype).reshape(-1)[0])

    def integers(self, name: str) -> list[int] | None:
        """The values of a small tensor of integers, exact; None when there is no such tensor."""
        info = self.tensors.get(name)
        tensor = None if info is None or info.weights > _MOST_INTEGERS else self.lazy.get(info.name)
        if tensor is None or tensor.dtype not in ("I64", "I32"):
            return None
        return [int(value) for value in read_whole(tensor).reshape(-1)]

    def find(self, *keys: str) -> Any:
        """The value of the first key that the config has, dots leading into tables and lists; else None."""
        for key in keys:
            exists, value = self._look_up(key)
            if exists:
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
        spelled = [self._origin(key) for key in keys]
        file, which = spelled[0][0], " or ".join(f"'{key}'" for _, key in spelled)
        if value is None and self.folder is not None and not self.folder.has(file):
            message = f"has no {file}, where {self.table or 'its architecture'} looks for {which}"
            return PlanError(message, file=self.location, hint=f"take {file} from the original model")
        what = f"has no {which}" if value is None else f"has {printable(repr(value), _LONGEST)} for {which}"
        return PlanError(
            f"{file} {what}, but {self.table or 'its architecture'} needs {wanted} there",
            file=self.location,
            hint=f"complete {file} from the original model",
        )

    def _origin(self, key: str) -> tuple[str, str]:
        """The file a key is from, and how it is spelled there."""
        start = next(start for start in self.origins if key.startswith(start))
        file, there = self.origins[start]
        return file, there + key.removeprefix(start)


def class_name(model: ModelContext) -> str:
    """The first of the config's ``architectures``; empty when there is none."""
    classes = model.find("architectures")
    return str(classes[0]) if isinstance(classes, list) and classes else ""
