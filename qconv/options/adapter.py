"""What is said about one adapter."""

from __future__ import annotations

from dataclasses import dataclass

from qconv.errors import UsageError

LARGEST_WEIGHT = 1e9
"""How many times as strong as trained an adapter may be asked to be."""


@dataclass(frozen=True, slots=True)
class AdapterOption:
    """An adapter to merge: where it is, and how many times as strong as it was trained."""

    path: str
    weight: float = 1.0

    @classmethod
    def parse(cls, text: str) -> AdapterOption:
        """From ``DIR`` or ``DIR=WEIGHT``; an equals sign before anything but a number belongs to the name."""
        path, equals, weight = text.rpartition("=")
        if equals and path:
            try:
                number = float(weight)
            except ValueError:
                return cls(text)
            if not abs(number) <= LARGEST_WEIGHT:
                raise UsageError(f"'{text}' is not a weight of an adapter", hint="such as my-lora=0.5")
            return cls(path, number)
        if not text:
            raise UsageError("an adapter has no name", hint="write it as my-lora or my-lora=0.5")
        return cls(text)

    def __str__(self) -> str:
        return f"{self.path}={self.weight!r}"
