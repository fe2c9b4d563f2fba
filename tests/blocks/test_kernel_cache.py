"""When kernels are compiled, and where they are kept."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import qconv
from qconv import blocks

ENCODE = """
import numpy as np
from qconv import blocks
blocks.encode("IQ4_NL", np.ones((1, 32), np.float32))
kernel = blocks.codec("IQ4_NL")._encode
print(len(kernel.stats.cache_hits), len(kernel.stats.cache_misses))
"""


def run(code: str, **variables: str) -> str:
    environment = {**os.environ, **variables}
    return subprocess.run(
        [sys.executable, "-P", "-c", code], env=environment, capture_output=True, text=True, check=True
    ).stdout


def test_importing_blocks_imports_no_numba() -> None:
    look = "print('numba' in sys.modules, 'llvmlite' in sys.modules)"
    assert run(f"import sys; from qconv import blocks; blocks.decodable(); {look}") == "False False\n"


def test_a_kernel_is_compiled_once_and_alone(tmp_path: Path) -> None:
    assert run(ENCODE, NUMBA_CACHE_DIR=str(tmp_path)) == "0 1\n"
    assert {path.name.split(".")[0] for path in tmp_path.rglob("*.nb?")} == {"iq4_nl"}
    assert run(ENCODE, NUMBA_CACHE_DIR=str(tmp_path)) == "1 0\n"


def test_damaged_files_are_compiled_anew(tmp_path: Path) -> None:
    """As a power cut leaves them, and with a bit of machine code that flipped."""
    run(ENCODE, NUMBA_CACHE_DIR=str(tmp_path))
    (index,), (code,) = tmp_path.rglob("*.nbi"), tmp_path.rglob("*.nbc")
    index.write_bytes(index.read_bytes()[:-40])
    assert run(ENCODE, NUMBA_CACHE_DIR=str(tmp_path)) == "0 1\n"
    flipped = bytearray(code.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    code.write_bytes(flipped)
    assert run(ENCODE, NUMBA_CACHE_DIR=str(tmp_path)) == "0 1\n"
    assert run(ENCODE, NUMBA_CACHE_DIR=str(tmp_path)) == "1 0\n"


def test_a_kernel_that_cannot_be_kept_is_used_all_the_same(tmp_path: Path) -> None:
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n" + ENCODE
    assert run(limited, NUMBA_CACHE_DIR=str(tmp_path)) == "0 1\n"


def test_every_kernel_is_kept_under_a_name_of_its_own() -> None:
    kernels = {k for name in blocks.decodable() for k in vars(blocks.codec(name)).values() if hasattr(k, "_cache")}
    assert len(kernels) > len(blocks.decodable())
    assert len({kernel._cache._impl.filename_base for kernel in kernels}) == len(kernels)


def test_another_vector_width_is_compiled_anew(tmp_path: Path) -> None:
    run(ENCODE, NUMBA_CACHE_DIR=str(tmp_path))
    assert run(ENCODE, NUMBA_CACHE_DIR=str(tmp_path), NUMBA_CPU_NAME="generic") == "0 1\n"


def test_the_user_cache_is_used_where_the_package_is_not_writable(tmp_path: Path) -> None:
    package = tmp_path / "site" / "qconv"
    shutil.copytree(Path(qconv.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(Path(qconv.__file__).parent.parent / "formats", package / "_formats", dirs_exist_ok=True)
    (package / "blocks" / "__pycache__").write_text("a file where the folder would be: nothing can be kept here")
    variables = {"PYTHONPATH": str(package.parent), "XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path)}
    assert run(ENCODE, NUMBA_CACHE_DIR="", **variables) == "0 1\n"
    assert list(tmp_path.rglob("kernels/*.nbi"))
    assert run(ENCODE, NUMBA_CACHE_DIR="", **variables) == "1 0\n"
