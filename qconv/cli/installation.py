"""What ``qconv --version --verbose`` tells of an installation."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterator
from importlib import metadata

from qconv.cli.sizes import size
from qconv.errors import printable

_PACKAGES = ("numpy", "numba", "safetensors", "tokenizers")
_EXTRAS = {"hub": "huggingface_hub", "runtime": "xllamacpp", "plot": "matplotlib"}


def lines() -> Iterator[str]:
    """Lines of ``NAME  VALUE``."""
    from qconv import blocks
    from qconv.blocks import warm_up

    rows = [("python", f"{platform.python_version()}, {sys.platform} {platform.machine()}")]
    rows += [(name, _version(name) or "missing") for name in _PACKAGES]
    rows += [(f"qconv[{extra}]", f"{name} {_version(name) or 'not installed'}") for extra, name in _EXTRAS.items()]
    rows.append(("processor", warm_up.processor()))
    directory = blocks.cache_directory()
    if directory is None:
        rows.append(("kernels", "kept nowhere: no place can be written, each process compiles anew"))
    else:
        files = [path for path in directory.rglob("*.nb?") if path.is_file()]
        held = f"{len(files)} files, {size(sum(path.stat().st_size for path in files))}"
        rows.append(("kernels", f"{printable(directory, 4096)} ({held})"))
    width = max(len(name) for name, _ in rows)
    return (f"{name:<{width}}  {value}" for name, value in rows)


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
