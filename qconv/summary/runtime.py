"""``formats/runtime.toml``: what GGUF files leave unsaid about running them."""

from __future__ import annotations

import functools

import msgspec

from qconv import formats


class Window(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    every: int
    first: bool = False
    window: int = 0


class Uncached(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    architectures: tuple[str, ...]


class Recurrent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    beside_attention: tuple[str, ...]
    separate_feed_forward: tuple[str, ...]


class Runtime(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``formats/runtime.toml``."""

    windows: dict[str, Window]
    shared: dict[str, int]
    uncached: Uncached
    recurrent: Recurrent


@functools.cache
def runtime() -> Runtime:
    return formats.load(formats.ROOT / "runtime.toml", Runtime)
