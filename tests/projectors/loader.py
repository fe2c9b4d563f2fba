"""llama.cpp's own loader of projectors, run as a program: ``loader.py FILE...`` says of each file what it takes in.

``mtmd_init_from_file`` needs no text model.  What it asserts ends the process, hence one of its own.  ``clip_init``
is what it calls; the C++ name and the structs below are those of llama.cpp b11549 (``tools/mtmd/mtmd.h``, ``clip.h``).
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys
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


class MediaParameters(ctypes.Structure):
    """``mtmd_context_params``."""

    _fields_ = (
        ("use_gpu", ctypes.c_bool),
        ("device", ctypes.c_void_p),
        ("print_timings", ctypes.c_bool),
        ("n_threads", ctypes.c_int),
        ("image_marker", ctypes.c_char_p),
        ("media_marker", ctypes.c_char_p),
        ("flash_attn_type", ctypes.c_int),
        ("warmup", ctypes.c_bool),
        ("image_min_tokens", ctypes.c_int),
        ("image_max_tokens", ctypes.c_int),
        ("cb_eval", ctypes.c_void_p),
        ("cb_eval_user_data", ctypes.c_void_p),
        ("batch_max_tokens", ctypes.c_int32),
        ("progress_callback", ctypes.c_void_p),
        ("progress_callback_user_data", ctypes.c_void_p),
    )


class Contexts(ctypes.Structure):
    """``clip_init_result``: of images, of sounds, of generated sounds."""

    _fields_ = (("vision", ctypes.c_void_p), ("audio", ctypes.c_void_p), ("generated", ctypes.c_void_p))


def open_library() -> ctypes.CDLL:
    """The one in the wheel xllamacpp."""
    spec = importlib.util.find_spec("xllamacpp")
    assert spec is not None
    assert spec.origin is not None
    return ctypes.CDLL(str(next(Path(spec.origin).parent.glob("*.so"))))


def main() -> None:
    library = open_library()
    library.mtmd_context_params_default.restype = MediaParameters
    library.mtmd_init_from_file.argtypes = (ctypes.c_char_p, ctypes.c_void_p, MediaParameters)
    library.mtmd_init_from_file.restype = ctypes.c_void_p
    parameters = library.mtmd_context_params_default()
    parameters.use_gpu = parameters.warmup = False
    for file in sys.argv[1:]:
        context = ctypes.c_void_p(library.mtmd_init_from_file(file.encode(), None, parameters))
        takes = ""
        for kind in ("vision", "audio"):
            supports = library[f"mtmd_support_{kind}"]
            supports.restype = ctypes.c_bool
            takes += f" {kind}" if context and supports(context) else ""
        print(f"{file}:{takes}", flush=True)


if __name__ == "__main__":
    main()
