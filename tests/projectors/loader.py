"""llama.cpp's own loader of projectors, run as a program: ``loader.py FILE...`` says of each file whether it loads.

``clip_init`` needs no text model.  Its C++ name and the struct below are those of llama.cpp b11549
(``tools/mtmd/clip.h``).  What it asserts ends the process, hence a process of its own.
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path


class Parameters(ctypes.Structure):
    """``clip_context_params``."""

    _fields_ = (
        ("use_gpu", ctypes.c_bool),
        ("device", ctypes.c_void_p),
        ("flash_attn_type", ctypes.c_int),
        ("image_min_tokens", ctypes.c_int),
        ("image_max_tokens", ctypes.c_int),
        ("warmup", ctypes.c_bool),
        ("cb_eval", ctypes.c_void_p),
        ("cb_eval_user_data", ctypes.c_void_p),
        ("no_alloc", ctypes.c_bool),
        ("progress_callback", ctypes.c_void_p),
        ("progress_callback_user_data", ctypes.c_void_p),
    )


class Contexts(ctypes.Structure):
    """``clip_init_result``: of images, of sounds, of generated sounds."""

    _fields_ = (("vision", ctypes.c_void_p), ("audio", ctypes.c_void_p), ("generated", ctypes.c_void_p))


def clip_init() -> tuple[ctypes.CDLL, Callable[[bytes, Parameters], Contexts]]:
    """The library, and what loads a projector."""
    spec = importlib.util.find_spec("xllamacpp")
    assert spec is not None
    assert spec.origin is not None
    library = ctypes.CDLL(str(next(Path(spec.origin).parent.glob("*.so"))))
    load = library["_Z9clip_initPKc19clip_context_params"]
    load.argtypes, load.restype = (ctypes.c_char_p, Parameters), Contexts
    return library, load


def main() -> None:
    _, load = clip_init()
    for file in sys.argv[1:]:
        made = load(file.encode(), Parameters(image_min_tokens=-1, image_max_tokens=-1))
        towers = [kind for kind, _ in Contexts._fields_ if getattr(made, kind)]
        print(f"{file}: {' '.join(towers)}", flush=True)


if __name__ == "__main__":
    main()
