"""A checkpoint's projections as other methods store them, with random codes: for how long reading those takes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
GROUP = 128


class Part(NamedTuple):
    """The ending of a name, storage type, shape, and what makes the array."""

    ending: str
    dtype: str
    shape: tuple[int, ...]
    make: Callable[[], Array]


_KINDS = {"I64": "<i8", "I32": "<i4", "U32": "<u4", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I16": "<i2", "I8": "i1"}
"""As numpy spells them; bytes where it does not."""
_E4M3, _E8M0 = (0x28, 0x38), (0x70, 0x78)
"""Bytes, from and to, that are scales of some size below 1."""


def _codes(ending: str, dtype: str, *shape: int, least: int = 0, most: int = 256) -> Part:
    """Random bytes from ``least`` to ``most``."""
    kind = np.dtype(_KINDS.get(dtype, "u1"))

    def make() -> Array:
        rng = np.random.default_rng(1)
        return rng.integers(least, most, int(np.prod(shape)) * kind.itemsize, np.uint8).view(kind)

    return Part(ending, dtype, shape, make)


def _floats(ending: str, dtype: str, *shape: int, scale: float = 0.01) -> Part:
    def make() -> Array:
        values = np.random.default_rng(2).random(shape, np.float32) * np.float32(scale) + np.float32(scale / 10)
        return values.astype(np.float16) if dtype == "F16" else values

    return Part(ending, dtype, shape, make)


def _array(ending: str, dtype: str, values: Array) -> Part:
    return Part(ending, dtype, values.shape, lambda: values)


def _text(ending: str, text: str) -> Part:
    return _array(ending, "U8", np.frombuffer(text.encode(), np.uint8))


def _gptq(rows: int, columns: int, ordered: bool = False) -> Iterator[Part]:
    yield _codes(".qweight", "I32", columns // 8, rows)
    yield _codes(".qzeros", "I32", columns // GROUP, rows // 8)
    yield _floats(".scales", "F16", columns // GROUP, rows)
    if ordered:
        groups = np.random.default_rng(3).permutation(columns) // GROUP
        yield _array(".g_idx", "I32", groups.astype(np.int32))


def _awq(rows: int, columns: int) -> Iterator[Part]:
    yield _codes(".qweight", "I32", columns, rows // 8)
    yield _codes(".qzeros", "I32", columns // GROUP, rows // 8)
    yield _floats(".scales", "F16", columns // GROUP, rows)


def _awq_fast(rows: int, columns: int) -> Iterator[Part]:
    wide = -(-columns // GROUP // 8) * 8
    yield _codes(".qweight", "I16", rows // 4, columns)
    yield _floats(".qzeros", "F16", wide, rows)
    yield _floats(".scales", "F16", wide, rows)


def _mlx(rows: int, columns: int, bits: int = 4) -> Iterator[Part]:
    yield _codes(".weight", "U32", rows, columns * bits // 32)
    yield _floats(".scales", "F16", rows, columns // 64)
    yield _floats(".biases", "F16", rows, columns // 64)


def _nvfp4(rows: int, columns: int) -> Iterator[Part]:
    yield _codes(".weight", "U8", rows, columns // 2)
    yield _codes(".weight_scale", "F8_E4M3", rows, columns // 16, least=_E4M3[0], most=_E4M3[1])
    yield _floats(".weight_scale_2", "F32")


def _modelopt_int4(rows: int, columns: int) -> Iterator[Part]:
    yield _codes(".weight", "U8", rows // 2, columns)
    yield _floats(".weight_scale", "F32", rows, columns // GROUP)
    yield _floats(".pre_quant_scale", "F32", columns, scale=1.0)


def _compressed(rows: int, columns: int, bits: int = 4) -> Iterator[Part]:
    yield _codes(".weight_packed", "I32", rows, columns * bits // 32)
    yield _floats(".weight_scale", "F16", rows, columns // GROUP)
    yield _array(".weight_shape", "I64", np.array([rows, columns]))


def _microscaled(rows: int, columns: int, bits: int) -> Iterator[Part]:
    """MXFP4 as compressed-tensors has it, MXFP8 as transformers."""
    if bits == 4:
        yield _codes(".weight_packed", "U8", rows, columns // 2)
    else:
        yield _codes(".weight", "F8_E4M3", rows, columns, most=0x7F)
    yield _codes(".weight_scale", "U8", rows, columns // 32, least=_E8M0[0], most=_E8M0[1])


def _nf4(rows: int, columns: int) -> Iterator[Part]:
    """Doubly quantized."""
    count = rows * columns // 64
    state = {"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": [rows, columns]}
    state |= {"nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": 0.1}
    yield _codes(".weight", "U8", rows * columns // 2, 1)
    yield _codes(".weight.absmax", "U8", count)
    yield _floats(".weight.quant_map", "F32", 16)
    yield _floats(".weight.nested_absmax", "F32", -(-count // 256))
    yield _floats(".weight.nested_quant_map", "F32", 256)
    yield _text(".weight.quant_state.bitsandbytes__nf4", json.dumps(state))


def _int8(rows: int, columns: int) -> Iterator[Part]:
    yield _codes(".weight", "I8", rows, columns)
    yield _floats(".SCB", "F32", rows)


def _fp8(rows: int, columns: int) -> Iterator[Part]:
    yield _codes(".weight", "F8_E4M3", rows, columns, most=0x7F)
    yield _floats(".weight_scale_inv", "F32", -(-rows // 128), -(-columns // 128))


def _fp8_rows(rows: int, columns: int) -> Iterator[Part]:
    yield _codes(".weight", "F8_E4M3", rows, columns, most=0x7F)
    yield _floats(".weight_scale", "F32", rows, 1)


def _bitnet(rows: int, columns: int) -> Iterator[Part]:
    yield _codes(".weight", "U8", rows // 4, columns)
    yield _floats(".weight_scale", "F32", 1, scale=10.0)


def _hqq(rows: int, columns: int) -> Iterator[Part]:
    groups = rows * columns // 64
    yield _codes(".W_q", "U8", groups // 2, 64)
    yield _floats(".scale", "F16", groups, 1)
    yield _floats(".zero", "F16", groups, 1, scale=8.0)
    yield _array(".shape", "I32", np.array([rows, columns], np.int32))
    yield _text(".packing", "4bit_u8")


def _gemma(rows: int, columns: int) -> Iterator[Part]:
    yield _codes(".weight", "U8", rows, columns // 2)
    yield _floats(".weight_scale", "F32", rows, 1)


def _torchao(rows: int, columns: int) -> Iterator[Part]:
    yield _codes("._weight_qdata", "I8", rows, columns // 2)
    yield _floats("._weight_scale", "F32", columns // GROUP, rows)
    yield _floats("._weight_zero_point", "F32", columns // GROUP, rows)


def _on_grid(rows: int, columns: int) -> Iterator[Part]:
    """BF16 on Q4_0's grid, for ``--types keep``: scales of few enough bits that no product is rounded."""

    def make() -> Array:
        rng = np.random.default_rng(1)
        scale = rng.integers(8, 16, (rows, columns // 32, 1)).astype(np.float32) * np.float32(2.0**-10)
        weights = rng.integers(-8, 8, (rows, columns // 32, 32), np.int8) * scale
        bits: Array = (weights.view(np.uint32) >> np.uint32(16)).astype("<u2")
        return bits.reshape(rows, columns)

    yield Part(".weight", "BF16", (rows, columns), make)


Settings = dict[str, Any]
_GPTQ: Settings = {"quant_method": "gptq", "bits": 4, "group_size": GROUP}
_AWQ: Settings = {"quant_method": "awq", "bits": 4, "group_size": GROUP}
_PACKED: Settings = {"quant_method": "compressed-tensors", "format": "pack-quantized"}
METHODS: dict[str, tuple[Callable[[int, int], Iterator[Part]], Settings]] = {
    "gptq": (_gptq, _GPTQ),
    "gptq-ordered": (partial(_gptq, ordered=True), _GPTQ | {"desc_act": True}),
    "awq": (_awq, _AWQ | {"version": "gemm"}),
    "awq-fast": (_awq_fast, _AWQ | {"version": "gemv_fast"}),
    "mlx": (_mlx, {"bits": 4, "group_size": 64}),
    "mlx-3": (partial(_mlx, bits=3), {"bits": 3, "group_size": 64}),
    "nvfp4": (_nvfp4, {"quant_method": "modelopt", "quant_algo": "NVFP4"}),
    "modelopt-int4": (_modelopt_int4, {"quant_method": "modelopt", "quant_algo": "W4A16_AWQ"}),
    "compressed-tensors": (_compressed, _PACKED),
    "compressed-tensors-8": (partial(_compressed, bits=8), _PACKED),
    "mxfp4": (partial(_microscaled, bits=4), _PACKED | {"format": "mxfp4-pack-quantized"}),
    "mxfp8": (partial(_microscaled, bits=8), {"quant_method": "mxfp8"}),
    "bitsandbytes": (_nf4, {"quant_method": "bitsandbytes", "load_in_4bit": True}),
    "bitsandbytes-8": (_int8, {"quant_method": "bitsandbytes", "load_in_8bit": True}),
    "fp8": (_fp8, {"quant_method": "fp8", "weight_block_size": [128, 128]}),
    "fbgemm-fp8": (_fp8_rows, {"quant_method": "fbgemm_fp8"}),
    "bitnet": (_bitnet, {"quant_method": "bitnet"}),
    "hqq": (_hqq, {"quant_method": "hqq"}),
    "gemma": (_gemma, {"quant_method": "gemma", "num_bits": 4}),
    "torchao": (_torchao, {"quant_method": "torchao"}),
    "on-grid": (_on_grid, {}),
}


def make_quantized(directory: Path, source: Path, method: str) -> Path:
    """``source``, one BF16 file, as ``method`` stores it, unless it is there from an earlier run."""
    if directory.exists():
        return directory
    unfinished = directory.with_suffix(".tmp")
    shutil.rmtree(unfinished, ignore_errors=True)
    shutil.copytree(source, unfinished, ignore=shutil.ignore_patterns("*.safetensors", "*.gguf*"))
    parts, settings = METHODS[method]
    config = json.loads((source / "config.json").read_text()) | {"quantization_config": settings}
    (unfinished / "config.json").write_text(json.dumps(config))
    with (source / "model.safetensors").open("rb") as f:
        start = 8 + int.from_bytes(f.read(8), "little")
        stored = json.loads(f.read(start - 8))
        stored.pop("__metadata__", None)
        made: dict[str, Part] = {}
        for name, tensor in stored.items():
            if name.endswith("proj.weight"):
                stem = name.removesuffix(".weight")
                made |= {stem + part.ending: part for part in parts(*tensor["shape"])}
            else:
                copied = partial(_copied, f, start, tensor)
                made[name] = Part("", tensor["dtype"], tuple(tensor["shape"]), copied)
        _save(unfinished / "model.safetensors", made)
    unfinished.rename(directory)
    return directory


def _copied(file: Any, start: int, tensor: dict[str, Any]) -> Array:
    first, last = tensor["data_offsets"]
    file.seek(start + first)
    return np.frombuffer(file.read(last - first), np.uint8)


def _save(path: Path, parts: dict[str, Part]) -> None:
    header: dict[str, Any] = {}
    end = 0
    for name, (_, dtype, shape, _) in parts.items():
        size = int(np.prod(shape)) * np.dtype(_KINDS.get(dtype, "u1")).itemsize
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    with path.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for part in parts.values():
            out.write(part.make().tobytes())
