"""llama.cpp's own embeddings of images and sounds: ``encoder.py FILE INPUT OUTPUT [FILE INPUT OUTPUT]...``.

FILE is a projector, INPUT a ``.npy`` of pixels, ``(rows, columns, 3)``, or of mel bands, ``(bands, frames)``, as they
are after preparing.  OUTPUT gets a row for each token.  ``clip_image_batch_encode`` is what ``mtmd_encode_chunk``
calls, and needs no text model; its C++ name and the structs below are those of llama.cpp b11549
(``tools/mtmd/clip-impl.h``).
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.projectors.loader import Contexts, Parameters, open_library  # run as a program, it is not in a package


class Vector(ctypes.Structure):
    """``std::vector``, of memory that is Python's."""

    _fields_ = (("begin", ctypes.c_void_p), ("end", ctypes.c_void_p), ("room", ctypes.c_void_p))

    @classmethod
    def of(cls, start: int, size: int) -> Vector:
        return cls(start, start + size, start + size)

    @classmethod
    def of_floats(cls, values: NDArray[np.float32]) -> Vector:
        return cls.of(values.ctypes.data, values.nbytes)


class Batch(ctypes.Structure):
    """``clip_image_f32_batch``."""

    _fields_ = (("images", Vector), ("is_audio", ctypes.c_bool))


class Image(ctypes.Structure):
    """``clip_image_f32``."""

    _fields_ = (
        ("add_viewsep", ctypes.c_bool),
        ("add_newline", ctypes.c_bool),
        ("lead_pad", ctypes.c_int32),
        ("anyres", ctypes.c_int32 * 4),
        ("pixels", Vector),
        ("columns", ctypes.c_int),
        ("rows", ctypes.c_int),
    )


def main() -> None:
    library = open_library()
    load = library["_Z9clip_initPKc19clip_context_params"]
    load.argtypes, load.restype = (ctypes.c_char_p, Parameters), Contexts
    encode = library["_Z23clip_image_batch_encodeP8clip_ctxiPK20clip_image_f32_batchRSt6vectorIfSaIfEE"]
    encode.restype = ctypes.c_bool
    tokens = library["_Z20clip_n_output_tokensPK8clip_ctxPK14clip_image_f32"]
    width = library["_Z18clip_n_mmproj_embdPK8clip_ctx"]
    for file, source, out in zip(*(sys.argv[start::3] for start in (1, 2, 3)), strict=True):
        made = load(file.encode(), Parameters(image_min_tokens=-1, image_max_tokens=-1, flash_attn_type=0))
        values = np.load(source)
        hears = values.ndim == 2
        context = ctypes.c_void_p(made.audio if hears else made.vision)
        image = Image(pixels=Vector.of_floats(values), columns=values.shape[1], rows=values.shape[0])
        batch = Batch(Vector.of(ctypes.addressof(image), ctypes.sizeof(image)), hears)
        rows = np.zeros((tokens(context, ctypes.byref(image)), width(context)), np.float32)
        if not encode(context, 1, ctypes.byref(batch), ctypes.byref(Vector.of_floats(rows))):
            raise SystemExit(f"{file}: is not encoded")
        np.save(out, rows)


if __name__ == "__main__":
    main()
