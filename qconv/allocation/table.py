"""``formats/sizes.toml``: block types to choose from, mixes to compare with, sensitivities to expect."""

from __future__ import annotations

import functools

import msgspec

from qconv import formats
from qconv.types import TensorInfo


class Sizes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The table; see the comments in it."""

    menu: tuple[str, ...]
    narrow_menu: tuple[str, ...]
    ladder: tuple[str, ...]
    measured_margin: float
    typical_margin: float
    typical: dict[str, float]


@functools.cache
def table() -> Sizes:
    return formats.load(formats.ROOT / "sizes.toml", Sizes)


def menu(tensor: TensorInfo, narrowed: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Block types the tensor's rows fit, of those named in ``narrowed``, or of the usual ones; F16 where none does."""
    types = formats.block_types()
    for offered in (narrowed, table().menu if tensor.columns % 256 == 0 else (), table().narrow_menu):
        fitting = tuple(name for name in offered if tensor.columns % types[name].weights == 0)
        if fitting:
            return fitting
    return ("F16",)


def disturbance_type(tensor: TensorInfo) -> tuple[str, float]:
    """The type whose rounding serves as a disturbance, and what its errors are multiplied by: about 3 bits' worth."""
    return ("Q3_K", 1.0) if tensor.columns % 256 == 0 else ("Q4_0", 2.0)
