"""Finds llama.cpp's shared library, opens it through ctypes, and types the functions used.

The library is the one inside the installed wheel ``xllamacpp``, whose Python module is not imported, or the one that
the environment variable ``QCONV_LLAMA_LIBRARY`` names, with ggml's libraries beside it.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from qconv.errors import LlamaCppError
from qconv.runtime.layout import INSTALL, Space, fields, find_build, known, structure

VARIABLE: Final = "QCONV_LLAMA_LIBRARY"

_WHEEL: Final = "xllamacpp"
_SUFFIXES: Final = (".so", ".pyd", ".dylib", ".dll")

_i32, _u32, _i64, _size, _ptr = ctypes.c_int32, ctypes.c_uint32, ctypes.c_int64, ctypes.c_size_t, ctypes.c_void_p
_bool, _text, _f32 = ctypes.c_bool, ctypes.c_char_p, ctypes.c_float

LOG_CALLBACK: Final = ctypes.CFUNCTYPE(None, _i32, _text, _ptr)
"""``ggml_log_callback``: level, text, user data."""
EVAL_CALLBACK: Final = ctypes.CFUNCTYPE(_bool, _ptr, _bool, _ptr)
"""``ggml_backend_sched_eval_callback``: tensor, whether it is only asked about, user data."""

_FUNCTIONS: Final[dict[str, tuple[Any, tuple[Any, ...]]]] = {
    # the result and the arguments of each function; structs of parameters are passed in their Space
    "llama_model_default_params": (Space, ()),
    "llama_context_default_params": (Space, ()),
    "llama_backend_init": (None, ()),
    "llama_log_set": (None, (_ptr, _ptr)),
    "llama_print_system_info": (_text, ()),
    "llama_model_load_from_file": (_ptr, (_text, Space)),
    "llama_model_free": (None, (_ptr,)),
    "llama_model_get_vocab": (_ptr, (_ptr,)),
    "llama_model_desc": (_i32, (_ptr, _text, _size)),
    "llama_model_n_ctx_train": (_i32, (_ptr,)),
    "llama_model_n_embd": (_i32, (_ptr,)),
    "llama_model_n_layer": (_i32, (_ptr,)),
    "llama_model_has_encoder": (_bool, (_ptr,)),
    "llama_model_has_decoder": (_bool, (_ptr,)),
    "llama_vocab_n_tokens": (_i32, (_ptr,)),
    "llama_vocab_type": (_i32, (_ptr,)),
    "llama_vocab_bos": (_i32, (_ptr,)),
    "llama_vocab_get_add_bos": (_bool, (_ptr,)),
    "llama_vocab_get_add_eos": (_bool, (_ptr,)),
    "llama_tokenize": (_i32, (_ptr, _text, _i32, _ptr, _i32, _bool, _bool)),
    "llama_init_from_model": (_ptr, (_ptr, Space)),
    "llama_free": (None, (_ptr,)),
    "llama_n_ctx": (_u32, (_ptr,)),
    "llama_n_batch": (_u32, (_ptr,)),
    "llama_n_ubatch": (_u32, (_ptr,)),
    "llama_n_seq_max": (_u32, (_ptr,)),
    "llama_n_threads": (_i32, (_ptr,)),
    "llama_n_threads_batch": (_i32, (_ptr,)),
    "llama_get_memory": (_ptr, (_ptr,)),
    "llama_memory_clear": (None, (_ptr, _bool)),
    "llama_decode": (_i32, (_ptr, structure("batch"))),
    "llama_synchronize": (None, (_ptr,)),
    "llama_get_logits": (_ptr, (_ptr,)),
    "ggml_init": (_ptr, (structure("ggml_init_params"),)),
    "ggml_free": (None, (_ptr,)),
    "ggml_new_tensor_1d": (_ptr, (_ptr, _i32, _i64)),
    "ggml_new_tensor_2d": (_ptr, (_ptr, _i32, _i64, _i64)),
    "ggml_new_tensor_3d": (_ptr, (_ptr, _i32, _i64, _i64, _i64)),
    "ggml_set_name": (_ptr, (_ptr, _text)),
    "ggml_get_data": (_ptr, (_ptr,)),
    "ggml_nbytes": (_size, (_ptr,)),
    "ggml_row_size": (_size, (_i32, _i64)),
    "ggml_op_name": (_text, (_i32,)),
    "ggml_mul_mat": (_ptr, (_ptr, _ptr, _ptr)),
    "ggml_mul_mat_id": (_ptr, (_ptr, _ptr, _ptr, _ptr)),
    "ggml_get_rows": (_ptr, (_ptr, _ptr, _ptr)),
    "ggml_view_1d": (_ptr, (_ptr, _ptr, _i64, _size)),
    "ggml_new_graph": (_ptr, (_ptr,)),
    "ggml_build_forward_expand": (None, (_ptr, _ptr)),
    "ggml_tensor_overhead": (_size, ()),
    "ggml_graph_overhead": (_size, ()),
    "ggml_quantize_requires_imatrix": (_bool, (_i32,)),
    "ggml_quantize_chunk": (_size, (_i32, _ptr, _ptr, _i64, _i64, _i64, _ptr)),
    "ggml_backend_buffer_is_host": (_bool, (_ptr,)),
    "ggml_backend_buffer_get_type": (_ptr, (_ptr,)),
    "ggml_backend_buffer_get_usage": (_i32, (_ptr,)),
    "ggml_backend_buffer_free": (None, (_ptr,)),
    "ggml_backend_buft_name": (_text, (_ptr,)),
    "ggml_backend_tensor_get": (None, (_ptr, _ptr, _size, _size)),
    "ggml_backend_tensor_set": (None, (_ptr, _ptr, _size, _size)),
    "ggml_backend_dev_count": (_size, ()),
    "ggml_backend_dev_by_type": (_ptr, (_i32,)),
    "ggml_backend_dev_backend_reg": (_ptr, (_ptr,)),
    "ggml_backend_dev_init": (_ptr, (_ptr, _text)),
    "ggml_backend_free": (None, (_ptr,)),
    "ggml_backend_reg_get_proc_address": (_ptr, (_ptr, _text)),
    "ggml_backend_load_all_from_path": (None, (_text,)),
    "ggml_backend_alloc_ctx_tensors": (_ptr, (_ptr, _ptr)),
    "ggml_backend_graph_compute": (_i32, (_ptr, _ptr)),
}


def library_path() -> Path:
    """The shared library to use; raises ``LlamaCppError`` when there is none."""
    chosen = os.environ.get(VARIABLE)
    if chosen:
        path = Path(chosen)
        if not path.is_file():
            raise LlamaCppError(f"{VARIABLE} names no file", file=path, hint="name a libllama with ggml's beside it")
        return path.resolve()
    spec = importlib.util.find_spec(_WHEEL)
    folders = [] if spec is None else list(spec.submodule_search_locations or ())
    for folder in map(Path, folders):
        for path in sorted(folder.glob(f"{_WHEEL}*")):
            if path.suffix in _SUFFIXES:
                return path
    raise LlamaCppError("running a model takes llama.cpp, which is not installed", hint=INSTALL)


def available() -> bool:
    """Whether there is a llama.cpp to use; whether qconv knows its build shows when a session begins."""
    try:
        library_path()
    except LlamaCppError:
        return False
    return True


def _companions(path: Path) -> Iterator[Path]:
    """ggml's libraries beside libllama, in the order in which they need each other; backends are not among them."""
    names = {p.name.removeprefix("lib"): p for p in sorted(path.parent.iterdir()) if p.suffix in _SUFFIXES}
    stems = ("ggml-base", "ggml-cpu", "ggml")
    for stem in stems:
        yield from (p for name, p in names.items() if name.partition(".")[0] == stem)


class Library:
    """llama.cpp's and ggml's C functions as attributes: ``library.llama_decode(context, batch)``.

    ``path``: the file.  ``build``: the llama.cpp build whose layouts it has (``layout.find_build``).
    Raises ``LlamaCppError`` for a file that cannot be opened, lacks a function, or has layouts that are not known.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handles = self._open(path)
        for name, (result, arguments) in _FUNCTIONS.items():
            function = self._function(name)
            function.restype = result
            function.argtypes = arguments
            setattr(self, name, function)
        self.build = find_build(self.llama_model_default_params(), self.llama_context_default_params())
        if self.ggml_backend_dev_count() == 0:
            # built with backends as files of their own
            self.ggml_backend_load_all_from_path(os.fsencode(path.parent))
        self.llama_backend_init()

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)

    def _open(self, path: Path) -> list[ctypes.CDLL]:
        handles = []
        paths = [path] if path.name.startswith(_WHEEL) else [*_companions(path), path]
        try:
            for each in paths:
                handles.append(
                    ctypes.CDLL(str(each), mode=ctypes.RTLD_GLOBAL if len(paths) > 1 else ctypes.DEFAULT_MODE)
                )
        except OSError as e:
            raise LlamaCppError(
                f"cannot be opened: {e}", file=path, hint=f"another llama.cpp is taken with {INSTALL}"
            ) from e
        return handles[::-1]

    def _function(self, name: str) -> Any:
        for handle in self._handles:
            try:
                return handle[name]
            except AttributeError:
                continue
        hint = known()
        if sys.platform == "win32" and self.path.name.startswith(_WHEEL):
            hint = f"the wheel exports nothing on Windows: let {VARIABLE} name a llama.dll"
        raise LlamaCppError(f"has no function {name}", file=self.path, hint=hint)

    def model_params(self, values: Mapping[str, Any]) -> Space:
        """``llama_model_params``: the library's defaults, but for these."""
        return self._params("model_params", self.llama_model_default_params(), values)

    def context_params(self, values: Mapping[str, Any]) -> Space:
        """``llama_context_params``: the library's defaults, but for these."""
        return self._params("context_params", self.llama_context_default_params(), values)

    def has_param(self, struct: str, name: str) -> bool:
        """Whether this build's struct of parameters has that field."""
        return any(field.name == name for field in fields(struct, self.build))

    def _params(self, name: str, defaults: Space, values: Mapping[str, Any]) -> Space:
        params = structure(name, self.build).from_buffer(defaults)
        for field, value in values.items():
            if not self.has_param(name, field):
                raise KeyError(field)
            setattr(params, field, value)
        return defaults
