"""An architecture's metadata keys as plain numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qconv.types import Value


class Keys:
    """An architecture's metadata keys as plain numbers; what is missing, or of a wrong type, takes the default."""

    def __init__(self, metadata: Mapping[str, Value], architecture: str) -> None:
        self._metadata, self._prefix = metadata, architecture

    def number(self, key: str, default: int = 0) -> int:
        value = self._metadata.get(f"{self._prefix}.{key}")
        return _whole(value.data, default) if value is not None and value.element is None else default

    def text(self, key: str) -> str | None:
        value = self._metadata.get(f"{self._prefix}.{key}")
        return value.data if value is not None and isinstance(value.data, str) else None

    def per_layer(self, key: str, layers: int, default: int) -> list[int]:
        """One number a layer, whether the file has one for all or an array."""
        value = self._metadata.get(f"{self._prefix}.{key}")
        if value is None or value.element is None:
            return [self.number(key, default)] * layers
        given = [_whole(n, default) for n in _sequence(value)[:layers]]
        return given + [default] * (layers - len(given))

    def has(self, key: str) -> bool:
        return f"{self._prefix}.{key}" in self._metadata

    def is_array(self, key: str) -> bool:
        value = self._metadata.get(f"{self._prefix}.{key}")
        return value is not None and value.element is not None

    def is_false(self, key: str) -> bool:
        value = self._metadata.get(f"{self._prefix}.{key}")
        return value is not None and value.data is False


def _whole(data: object, default: int) -> int:
    return int(data) if isinstance(data, int) and 0 <= data < 1 << 40 else default  # True counts as 1


def _sequence(value: Value) -> list[object]:
    data = value.data
    plain = data.tolist() if hasattr(data, "tolist") else data
    return list(plain) if isinstance(plain, Sequence) else []
