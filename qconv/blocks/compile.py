"""How kernels are compiled and kept: without the global interpreter lock, without fast math, cached on disk.

Compiled code lies in ``__pycache__`` beside this package, or in the user's cache directory where that is not writable;
``NUMBA_CACHE_DIR`` names another place.  It is found again by the block type, the types of the arguments, the
processor, the number of lanes, and the digest of all a kernel is compiled from: this package's sources, whose helpers
it calls, and the tables whose offsets and codebooks it holds.
"""

# numba compiles what is here: neither its functions nor its decorators are typed
# mypy: disallow-untyped-calls=False, disallow-untyped-decorators=False

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import platformdirs
from numba import config, njit
from numba.core import caching
from numba.core.runtime import rtsys

from qconv import formats
from qconv.blocks.lanes import machine

_PACKAGE = Path(__file__).parent
_TABLES = ("blocks.toml", "codebooks.toml")


def kernel(owner: str) -> Callable[[Callable[..., Any]], Any]:
    """Decorator of an outermost kernel, compiled when first called with arrays of some types, then cached.

    ``owner``: the block type or module it is cached under, along with its own name: with the sources they decide all
    that it takes from around it, a closure's variables included.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        function.__qualname__ = f"{owner.lower()}.{function.__name__.lstrip('_')}"
        compiled = njit(nogil=True, error_model="numpy", no_cfunc_wrapper=True)(function)
        try:
            compiled._cache = _Cache(function)
        except (OSError, RuntimeError):  # nowhere to write: compile anew in every process
            return compiled
        return compiled

    return decorate


@cache
def _digest() -> str:
    """Of what kernels are compiled from."""
    digest = hashlib.sha256()
    for path in (*sorted(_PACKAGE.rglob("*.py")), *(formats.ROOT / name for name in _TABLES)):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def cache_directory() -> Path | None:
    """Where compiled code is kept: the first place that can be written; None when there is none."""
    beside = Path(config.CACHE_DIR) if config.CACHE_DIR else _PACKAGE / "__pycache__"
    for directory in (beside, platformdirs.user_cache_path("qconv") / "kernels"):
        try:
            _Locator(directory).ensure_cache_path()
        except OSError:
            continue
        return directory
    return None


class _Locator(caching._CacheLocator):  # type: ignore[misc]  # numba has no types
    def __init__(self, directory: Path, line: int = 0) -> None:
        self._directory, self._line = directory, line

    def get_cache_path(self) -> str:
        return str(self._directory)

    def get_source_stamp(self) -> str:
        return _digest()

    def get_disambiguator(self) -> str:
        return f"{machine.lanes()}-{self._line}"

    @classmethod
    def from_function(cls, function: Callable[..., Any], file: str) -> _Locator | None:
        directory = cache_directory()
        return None if directory is None else cls(directory, function.__code__.co_firstlineno)


class _Code(caching.CompileResultCacheImpl):  # type: ignore[misc]  # numba has no types
    _locator_classes = (_Locator,)

    def get_filename_base(self, fullname: str, abiflags: str) -> str:
        """Without the module that ``fullname`` begins with: a block type's kernels may be made in another's."""
        return str(super().get_filename_base(fullname.partition(".")[2], abiflags))


class _Files(caching.IndexDataCacheFile):  # type: ignore[misc]  # numba has no types
    """Numba's files, with a digest after compiled code: what a power cut or a bad disk left of them is compiled anew,
    and damaged machine code never runs."""

    def _load_index(self) -> dict[Any, str]:
        try:
            return dict(super()._load_index())
        except Exception:  # whatever unpickling makes of damaged bytes
            return {}

    def _load_data(self, name: str) -> Any:
        content = Path(self._data_path(name)).read_bytes()
        if hashlib.sha256(content[:-32]).digest() != content[-32:]:
            raise OSError(f"{name} is damaged")  # which numba takes for a file that is not there
        return super()._load_data(name)  # whose reader stops before the digest

    def _save_data(self, name: str, data: Any) -> None:
        pickled = self._dump(data)
        with self._open_for_write(self._data_path(name)) as file:
            file.write(pickled + hashlib.sha256(pickled).digest())


class _Cache(caching.FunctionCache):  # type: ignore[misc]  # numba has no types
    _impl_class = _Code

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        locator = self._impl.locator
        self._cache_file = _Files(self._cache_path, self._impl.filename_base, locator.get_source_stamp())

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Compiled code from the cache, or None.

        Numba's own method first loads all it knows how to compile, a tenth of a second; code that is compiled needs
        only the memory manager's symbols, and the compiler loads the rest when it is called.
        """
        rtsys.initialize(target_context)
        with self._guard_against_spurious_io_errors():
            return self._load_overload(sig, target_context)

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keeps compiled code, where there is room: a full disk is no reason to stop."""
        with contextlib.suppress(OSError):
            super().save_overload(sig, data)

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        """Numba's key without the hash of code and closure, which the digest and the file's name stand for."""
        return sig, codegen.magic_tuple()
