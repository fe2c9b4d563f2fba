#!/usr/bin/env python3
"""Records which type llama.cpp's quantizer gives each tensor, for tests/policy/expected.json.

    scripts/record_policy.py LIBLLAMA [GGUF...]

LIBLLAMA: a libllama shared library that exports ``llama_model_quantize`` (the npm package ``@node-llama-cpp/linux-x64``
holds one).  The models of ``policy_models.py`` are recorded, and each GGUF named, under its folder's name.  The
quantizer runs dry, and what it says it would do is read from its log.
"""

from __future__ import annotations

import ctypes
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import gguf
from policy_models import synthetic, write

FILE_TYPES = {
    "F32": 0,
    "F16": 1,
    "Q4_0": 2,
    "Q4_1": 3,
    "Q8_0": 7,
    "Q5_0": 8,
    "Q5_1": 9,
    "Q2_K": 10,
    "Q3_K_S": 11,
    "Q3_K_M": 12,
    "Q3_K_L": 13,
    "Q4_K_S": 14,
    "Q4_K_M": 15,
    "Q5_K_S": 16,
    "Q5_K_M": 17,
    "Q6_K": 18,
    "Q2_K_S": 21,
    "IQ4_NL": 25,
    "IQ4_XS": 30,
    "BF16": 32,
}
LINE = re.compile(r"\[ *\d+/ *\d+\] (\S+) +- \[[^]]*\], type = +(\w+), size = .*? MiB(?: -> .*? MiB \((\w+)\))?")
KEYS = (
    "block_count",
    "nextn_predict_layers",
    "expert_count",
    "attention.head_count",
    "attention.head_count_kv",
    "num_loops",
)


class Params(ctypes.Structure):
    """struct llama_model_quantize_params of llama.h"""

    _fields_ = [
        ("nthread", ctypes.c_int32),
        ("ftype", ctypes.c_int),
        ("output_tensor_type", ctypes.c_int),
        ("token_embedding_type", ctypes.c_int),
        ("allow_requantize", ctypes.c_bool),
        ("quantize_output_tensor", ctypes.c_bool),
        ("only_copy", ctypes.c_bool),
        ("pure", ctypes.c_bool),
        ("keep_split", ctypes.c_bool),
        ("dry_run", ctypes.c_bool),
        ("imatrix", ctypes.c_void_p),
        ("kv_overrides", ctypes.c_void_p),
        ("tt_overrides", ctypes.c_void_p),
        ("prune_layers", ctypes.c_void_p),
        ("max_buf_size", ctypes.c_size_t),
    ]


class Override(ctypes.Structure):
    """struct llama_model_tensor_override"""

    _fields_ = [("pattern", ctypes.c_char_p), ("type", ctypes.c_int)]


class ImatrixData(ctypes.Structure):
    """struct llama_model_imatrix_data"""

    _fields_ = [("name", ctypes.c_char_p), ("data", ctypes.POINTER(ctypes.c_float)), ("size", ctypes.c_size_t)]


class Quantizer:
    """llama.cpp's quantizer, run dry."""

    def __init__(self, path: str) -> None:
        self.lib = ctypes.CDLL(path)
        self.lib.llama_model_quantize_default_params.restype = Params
        self.lib.llama_model_quantize.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(Params)]
        self.log: list[str] = []
        kind = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
        self.callback = kind(lambda level, text, data: self.log.append(text.decode("utf-8", "replace")))
        self.lib.llama_log_set(self.callback, None)
        self.lib.llama_backend_init()

    def types(self, model: Path, file_type: str, options: dict[str, Any]) -> dict[str, str]:
        """Tensor name → type in the output."""
        p = self.lib.llama_model_quantize_default_params()
        p.nthread, p.ftype, p.dry_run = 1, FILE_TYPES[file_type], True
        p.allow_requantize = True
        p.pure = options.get("pure", False)
        p.quantize_output_tensor = not options.get("leave_output_tensor", False)
        for name in ("output_tensor_type", "token_embedding_type"):
            if name in options:
                setattr(p, name, gguf.GGMLQuantizationType[options[name]])
        given = options.get("tensor_types", [])
        overrides = (Override * (len(given) + 1))()
        for i, (pattern, name) in enumerate(given):
            overrides[i] = Override(pattern.lower().encode(), gguf.GGMLQuantizationType[name])
        if given:
            p.tt_overrides = ctypes.cast(overrides, ctypes.c_void_p)
        one = (ctypes.c_float * 1)(1.0)
        entries = (ImatrixData * 2)(ImatrixData(b"none", one, 1))
        if options.get("imatrix"):
            p.imatrix = ctypes.cast(entries, ctypes.c_void_p)
        self.log.clear()
        status = self.lib.llama_model_quantize(str(model).encode(), b"/dev/null", ctypes.byref(p))
        text = "".join(self.log)
        if status:
            raise RuntimeError(f"{model} {file_type} {options}: {text[-2000:]}")
        return {name: (new or old).upper() for name, old, new in LINE.findall(text)}


def facts(reader: gguf.GGUFReader, architecture: str) -> dict[str, Any]:
    values = {}
    for key in KEYS:
        field = reader.get_field(f"{architecture}.{key}")
        if field is not None:
            values[key] = field.contents()
    return values


def record(quantizer: Quantizer, path: Path, runs: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """A model's facts and tensors, and for each run one letter a tensor that stands for its type."""
    reader = gguf.GGUFReader(path)
    architecture = reader.fields["general.architecture"].contents()
    tensors = [(t.name, [int(n) for n in reversed(t.shape)], t.tensor_type.name) for t in reader.tensors]
    results = [(file_type, options, quantizer.types(path, file_type, options)) for file_type, options in runs]
    legend = sorted({name for _, _, types in results for name in types.values()})
    letters = {name: chr(ord("a") + i) for i, name in enumerate(legend)}
    return {
        "architecture": architecture,
        "metadata": facts(reader, architecture),
        "tensors": [f"{name}|{'x'.join(map(str, shape))}|{stored}" for name, shape, stored in tensors],
        "legend": legend,
        "runs": [
            {"type": file_type, "options": options, "types": "".join(letters[types[name]] for name, _, _ in tensors)}
            for file_type, options, types in results
        ],
    }


OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("Q4_K_M", {"pure": True}),
    ("Q4_K_M", {"leave_output_tensor": True}),
    ("Q4_K_M", {"output_tensor_type": "F16", "token_embedding_type": "Q8_0"}),
    ("Q3_K_M", {"output_tensor_type": "Q5_K"}),
    ("F16", {"output_tensor_type": "Q8_0", "tensor_types": [["attn_v", "Q8_0"]]}),
    ("Q4_K_M", {"tensor_types": [[r"blk\.[0-3]\.attn_v", "Q8_0"], ["FFN_DOWN", "IQ4_XS"], ["attn_(q|k)", "BF16"]]}),
    ("Q5_K_M", {"tensor_types": [["embd", "Q6_K"], ["^output", "Q5_0"]], "token_embedding_type": "Q4_0", "pure": True}),
]


def main() -> None:
    quantizer = Quantizer(sys.argv[1])
    plain: list[tuple[str, dict[str, Any]]] = [(name, {}) for name in FILE_TYPES if name != "Q2_K_S"]
    with_imatrix = [(name, {"imatrix": True}) for name in ("Q2_K_S", "Q4_0", "Q5_0", "IQ4_NL", "IQ4_XS")]
    recorded = {}
    with tempfile.TemporaryDirectory() as directory:
        for name, (architecture, metadata, tensors) in synthetic().items():
            path = Path(directory) / "model.gguf"
            write(path, architecture, metadata, tensors)
            recorded[name] = record(quantizer, path, plain + with_imatrix + OPTIONS)
    for path in map(Path, sys.argv[2:]):
        recorded[path.parent.parent.name] = record(quantizer, path, plain + with_imatrix)
    out = Path(__file__).parent.parent / "tests" / "policy" / "expected.json"
    lines = [f" {json.dumps(name)}: {json.dumps(case, separators=(',', ':'))}" for name, case in recorded.items()]
    out.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    runs = sum(len(case["runs"]) for case in recorded.values())
    print(f"{out}: {len(recorded)} models, {runs} runs, {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
