"""What a block type's module offers: its codec, and what a codec is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qconv.errors import UnsupportedError
from qconv.formats import BlockType, block_types
from qconv.types import SEARCHES

if TYPE_CHECKING:
    from qconv.blocks.factor import Factor


@dataclass(frozen=True, slots=True, eq=False)
class EncodeContext:
    """What an encoder is told of a tensor besides its rows.

    ``search``: one of SEARCHES; a codec without it searches as ggml does.  ``importance``: float32 ``(columns,)``, how
    much each column's errors count; codecs without a search ignore it, the others then search as ggml does.
    ``factor``: of the Hessian of the tensor's inputs, to round as ``gptq`` does; ``qconv.blocks.encode`` sees to it.
    """

    search: str = SEARCHES[0]
    importance: NDArray[np.float32] | None = None
    factor: Factor | None = None


class Codec(Protocol):
    """Encodes rows of weights into a type's blocks, and decodes them.

    Both directions are called from several threads at once and hold no global interpreter lock while they compute.
    Rows are not empty and of whole blocks, arrays fit together: ``qconv.blocks.encode`` and ``decode`` see to it.
    """

    @property
    def layout(self) -> BlockType: ...

    @property
    def searches(self) -> tuple[str, ...]:
        """Those of SEARCHES it has; none where the type can only be decoded."""
        ...

    def encode(self, rows: NDArray[Any], context: EncodeContext, out: NDArray[np.uint8]) -> bool:
        """Fills ``out``, C-contiguous uint8 ``(n, bytes per row)``; False when a weight is NaN or infinite, and ``out``
        then holds nothing of use.

        ``rows``: C-contiguous ``(n, columns)`` of float32, float16 or uint16 (bfloat16 bits).
        """
        ...

    def decode(self, blocks: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
        """Fills ``out``, C-contiguous float32 ``(n, columns)``, from C-contiguous uint8 ``(n, bytes per row)``."""
        ...


def flat(rows: NDArray[Any]) -> NDArray[Any]:
    """Rows as the 1-D memory kernels read: binary16 as int16, which tells it from bfloat16's uint16."""
    return (rows.view(np.int16) if rows.dtype == np.float16 else rows).reshape(-1)


class Decoder:
    """The codec of a type that can only be decoded, and the base of those that can be encoded too.

    ``decode(blocks, out)``: a kernel over both as 1-D memory.
    """

    searches: tuple[str, ...] = ()

    def __init__(self, block_type: str, decode: Any) -> None:
        self.layout = block_types()[block_type]
        self._decode = decode

    def encode(self, rows: NDArray[Any], context: EncodeContext, out: NDArray[np.uint8]) -> bool:
        raise UnsupportedError(f"qconv cannot encode {self.layout.name}")

    def decode(self, blocks: NDArray[np.uint8], out: NDArray[np.float32]) -> None:
        self._decode(blocks.reshape(-1), out.reshape(-1))


class RoundingCodec(Decoder):
    """The codec of a type without a search, whose blocks are rounded one by one.

    ``encode(rows, out)``: a kernel over both as 1-D memory; False when a weight is not finite.
    """

    searches = SEARCHES[:1]

    def __init__(self, block_type: str, encode: Any, decode: Any) -> None:
        super().__init__(block_type, decode)
        self._encode = encode

    def encode(self, rows: NDArray[Any], context: EncodeContext, out: NDArray[np.uint8]) -> bool:
        return bool(self._encode(flat(rows), out.reshape(-1)))
