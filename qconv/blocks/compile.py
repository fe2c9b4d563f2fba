"""How kernels are compiled and kept: without the global interpreter lock, without fast math, cached on disk.

Compiled code lies in ``__pycache__`` beside the kernel, or in the user's cache directory where that is not writable;
``NUMBA_CACHE_DIR`` names another place.  It is found again by the types it was called with, the processor, the number
of lanes and the digest of this package's sources, since a kernel is compiled together with the helpers it calls.
"""

# mypy: disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs
from numba import config, njit
from numba.core import caching
from numba.core.runtime import rtsys
from numpy.typing import NDArray

from qconv.blocks import machine


def kernel(function: Callable[..., Any]) -> Any:
    """Decorator of an outermost kernel: compiled when first called with arrays of some types, then cached."""
    compiled = njit(nogil=True, error_model="numpy")(function)
    try:
        compiled._cache = _Cache(function)
    except (OSError, RuntimeError):  # nowhere to write: compile anew in every process
        return compiled
    return compiled


@cache
def _digest() -> str:
    """Of the sources of this package."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


class _Locator(caching._CacheLocator):  # type: ignore[misc]  # numba has no types
    def __init__(self, directory: Path, function: Callable[..., Any]) -> None:
        self._directory, self._line = directory, function.__code__.co_firstlineno

    def get_cache_path(self) -> str:
        return str(self._directory)

    def get_source_stamp(self) -> str:
        return _digest()

    def get_disambiguator(self) -> str:
        return f"{machine.lanes()}-{self._line}"

    @classmethod
    def from_function(cls, function: Callable[..., Any], file: str) -> _Locator | None:
        beside = Path(config.CACHE_DIR) if config.CACHE_DIR else Path(file).parent / "__pycache__"
        for directory in (beside, platformdirs.user_cache_path("qconv") / "kernels"):
            locator = cls(directory, function)
            try:
                locator.ensure_cache_path()
            except OSError:
                continue
            return locator
        return None


class _Code(caching.CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes = (_Locator,)


class _Cache(caching.FunctionCache):  # type: ignore[misc]
    _impl_class = _Code

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Compiled code from the cache, or None.

        Numba's own method first loads all it knows how to compile, a tenth of a second; code that is compiled needs
        only the memory manager's symbols, and the compiler loads the rest when it is called.
        """
        rtsys.initialize(target_context)
        with self._guard_against_spurious_io_errors():
            return self._load_overload(sig, target_context)


def flat(rows: NDArray[Any]) -> NDArray[Any]:
    """Rows as the 1-D memory kernels read: binary16 as int16, which tells it from bfloat16's uint16."""
    return (rows.view(np.int16) if rows.dtype == np.float16 else rows).reshape(-1)


def run(kernel: Any, again: Any, rows: NDArray[Any], out: NDArray[np.uint8]) -> bool:
    """Encodes ``rows`` in super-blocks by ``kernel(x, out, doubtful, redo)``; False for NaN.

    Where rounding half to even may differ from ggml's own way, which only odd weights bring about, the kernel sets
    ``doubtful`` of the super-block, and these are encoded again, ggml's way, by a variant of ``again`` that is compiled
    at need.
    """
    x, blocks = flat(rows), out.reshape(-1)
    doubtful = np.zeros(rows.size // 256, np.uint8)
    if not kernel(x, blocks, doubtful, None):
        return False
    redo = np.flatnonzero(doubtful)
    return not redo.size or bool(again(x, blocks, doubtful, redo))
