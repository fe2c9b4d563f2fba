#!/usr/bin/env python3
"""Records what libraries make of quantized weights, for tests/checkpoints/quantized.

    scripts/record_quantized.py LIBRARY...

LIBRARY: compressed-tensors, bitsandbytes, mlx, ...; each has to be installed, most with torch, best in an environment
of its own.  A case is a safetensors file as the library stores it, its config, and the weights the library makes of it
again, on the CPU.  ``cases.json`` says with which version.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

CASES = Path(__file__).resolve().parents[1] / "tests" / "checkpoints" / "quantized"


class Case(NamedTuple):
    """``tensors``: torch's or numpy's, as stored.  ``weights``: what the library makes of them, float32.

    ``type``: what the library computes in, to which its weights are rounded.  ``needs_config``: the tensors alone leave
    open what they mean.
    """

    name: str
    config: dict[str, Any]
    tensors: dict[str, Any]
    weights: dict[str, Any]
    type: str = "F32"
    needs_config: bool = False


def compressed_tensors() -> Iterator[Case]:
    torch = importlib.import_module("torch")
    compressors = importlib.import_module("compressed_tensors.compressors")
    quantization = importlib.import_module("compressed_tensors.quantization")
    ranges = importlib.import_module("compressed_tensors.quantization.utils.helpers")
    torch.manual_seed(1)

    def case(name: str, form: str, shape: tuple[int, ...], scales: str = "float32", **args: Any) -> Case:
        given = quantization.QuantizationArgs(**args)
        scheme = quantization.QuantizationScheme(targets=["Linear"], weights=given)
        weight = torch.randn(shape)
        group = {"group": given.group_size, "tensor_group": given.group_size, "channel": shape[-1]}.get(given.strategy)
        blocks = weight.reshape(*shape[:-1], -1, group or shape[-1])
        low, high = blocks.amin(-1), blocks.amax(-1)
        parts: dict[str, Any] = {}
        if form.startswith(("nvfp4", "mxfp")):
            largest = torch.maximum(-low, high)
            if form.startswith("nvfp4"):
                parts["weight_global_scale"] = (448 * 6 / largest.max()).reshape(1)
                scale = (largest / 6 * parts["weight_global_scale"]).to(torch.float8_e4m3fn).float()
            else:
                scale = 2.0 ** torch.floor(torch.log2(largest / (6 if given.num_bits == 4 else 448)) + 1)
            zero = None
        else:
            scale, zero = ranges.calculate_qparams(low, high, given)
            scale = scale.to(getattr(torch, scales))
        compressor = compressors.BaseCompressor.get_value_from_registry(form)
        state = {"weight": weight, "weight_scale": scale, **parts}
        if zero is not None:
            state["weight_zero_point"] = zero.to(torch.int8)
        stored = compressor.compress(state, scheme)
        plain = compressor.decompress(dict(stored), scheme)["weight"].float()
        dumped = given.model_dump(mode="json")
        config = {
            "quant_method": "compressed-tensors",
            "format": form,
            "config_groups": {"group_0": {"weights": dumped}},
        }
        named = {f"a.{key}": value for key, value in stored.items() if value is not None}
        kind = "BF16" if scales == "bfloat16" or form.startswith(("nvfp4", "mxfp")) else "F32"
        return Case(name, config, named, {"a.weight": plain}, kind)

    for bits in range(2, 9):
        for symmetric in (True, False):
            name = f"ct-pack-{bits}{'' if symmetric else '-asymmetric'}"
            yield case(
                name, "pack-quantized", (24, 64), num_bits=bits, symmetric=symmetric, strategy="group", group_size=32
            )
    yield case(
        "ct-pack-static",
        "pack-quantized",
        (8, 64),
        "bfloat16",
        num_bits=4,
        strategy="group",
        group_size=32,
        actorder="static",
    )
    yield case("ct-pack-channel", "pack-quantized", (9, 50), num_bits=4, strategy="channel")
    yield case("ct-pack-channel-asymmetric", "pack-quantized", (9, 50), num_bits=5, strategy="channel", symmetric=False)
    yield case("ct-pack-experts", "pack-quantized", (3, 10, 64), num_bits=4, strategy="group", group_size=32)
    yield case("ct-int8-channel", "int-quantized", (9, 50), num_bits=8, strategy="channel")
    yield case(
        "ct-int8-asymmetric", "int-quantized", (9, 64), num_bits=8, strategy="group", group_size=32, symmetric=False
    )
    yield case("ct-float8-channel", "float-quantized", (9, 50), num_bits=8, type="float", strategy="channel")
    yield case(
        "ct-nvfp4", "nvfp4-pack-quantized", (6, 64), num_bits=4, type="float", strategy="tensor_group", group_size=16
    )
    yield case("ct-mxfp4", "mxfp4-pack-quantized", (6, 64), num_bits=4, type="float", strategy="group", group_size=32)
    yield case("ct-mxfp8", "mxfp8-quantized", (6, 64), num_bits=8, type="float", strategy="group", group_size=32)


def bitsandbytes() -> Iterator[Case]:
    """By the library's kernel in PyTorch: that for AVX-512 (0.50.2) errs where a block goes on in the next row."""
    torch = importlib.import_module("torch")
    functional = importlib.import_module("bitsandbytes.functional")
    kernels = importlib.import_module("bitsandbytes.backends.default.ops")
    torch.manual_seed(2)
    config = {"quant_method": "bitsandbytes", "load_in_4bit": True}

    def four(name: str, shape: tuple[int, ...], kind: str, **options: Any) -> Case:
        weight = torch.randn(shape)
        codes, state = functional.quantize_4bit(weight, quant_type=kind, **options)
        absmax = state.absmax
        if state.nested:
            absmax = functional.dequantize_blockwise(absmax, state.state2) + state.offset
        raw = codes.view(torch.uint8).reshape(-1)
        plain = kernels._dequantize_4bit_compute(raw, absmax, state.code, state.blocksize, shape, torch.float32)
        parts = {f"a.weight.{key}": value for key, value in state.as_dict(packed=True).items()}
        return Case(name, config, {"a.weight": codes, **parts}, {"a.weight": plain})

    for kind in ("nf4", "fp4"):
        yield four(f"bnb-{kind}", (6, 64), kind)
        yield four(f"bnb-{kind}-double", (5, 3392), kind, compress_statistics=True)
    yield four("bnb-nf4-across-rows", (7, 100), "nf4", blocksize=128)
    yield four("bnb-nf4-stored-as-bfloat16", (6, 64), "nf4", quant_storage=torch.bfloat16)
    yield four("bnb-nf4-experts", (3, 4, 96), "nf4", compress_statistics=True)
    codes, scales, _ = functional.int8_vectorwise_quant(torch.randn(7, 50).half())
    plain = functional.int8_vectorwise_dequant(codes, scales)
    stored = {"a.weight": codes, "a.SCB": scales, "a.weight_format": torch.tensor(0, dtype=torch.uint8)}
    yield Case("bnb-int8", {"quant_method": "bitsandbytes", "load_in_8bit": True}, stored, {"a.weight": plain})


def auto_round() -> Iterator[Case]:
    """GPTQ as AutoRound packs and computes it, in float16."""
    torch = importlib.import_module("torch")
    torch.manual_seed(3)
    outputs, inputs, group = 64, 96, 32

    def case(name: str, bits: int, *, version: int = 1, symmetric: bool = False, ordered: bool = False) -> Case:
        end = {1: "_zp", 2: ""}[version]
        layer = importlib.import_module(f"auto_round_extension.torch.qlinear_torch{end}").QuantLinear
        plain = torch.nn.Linear(inputs, outputs, bias=False)
        top = 2**bits - 1
        scale = torch.rand(outputs, inputs // group) * 0.1 + 0.01
        zero = torch.randint(1, top + 1, scale.shape).float()
        if symmetric:
            zero = torch.full(scale.shape, float(2 ** (bits - 1)))
        codes = torch.randint(0, top + 1, (outputs, inputs))
        plain.weight.data = ((codes - zero.repeat_interleave(group, 1)) * scale.repeat_interleave(group, 1)).detach()
        packed = layer(bits, group, inputs, outputs, False, g_idx=ordered)
        packed.device = "cpu"
        packed.pack(plain, scale, zero, None, device="cpu")
        if ordered:
            packed.g_idx = packed.g_idx[torch.randperm(inputs)].contiguous()
        weights = packed(torch.eye(inputs)).T
        form = {1: "auto_round:auto_gptq", 2: "auto_round"}[version]
        if ordered:
            config = {
                "quant_method": "gptq",
                "desc_act": True,
                "checkpoint_format": "gptq" if version == 1 else "gptq_v2",
            }
        else:
            config = {"quant_method": "auto-round", "packing_format": form}
        config |= {"bits": bits, "group_size": group, "sym": symmetric}
        names = ("qweight", "qzeros", "scales", *(["g_idx"] if ordered else []))
        return Case(
            name,
            config,
            {f"a.{part}": getattr(packed, part) for part in names},
            {"a.weight": weights},
            "F16",
            name == "gptq-v2-3",
        )

    for bits in range(2, 9):
        yield case(f"gptq-{bits}", bits)
    for bits in (2, 3, 4, 8):
        yield case(f"gptq-{bits}-ordered", bits, ordered=True)
    for bits in (2, 4, 8):
        yield case(f"gptq-v2-{bits}-symmetric", bits, version=2, symmetric=True)
    yield case("gptq-v2-3", 3, version=2)
    yield case("gptq-4-symmetric", 4, symmetric=True)


def autoawq() -> Iterator[Case]:
    torch = importlib.import_module("torch")
    packing = importlib.import_module("awq.utils.packing_utils")
    torch.manual_seed(4)

    def case(name: str, inputs: int, group: int) -> Case:
        kind = name.removeprefix("awq-").partition("-")[0]
        module = getattr(importlib.import_module(f"awq.modules.linear.{kind}"), f"WQLinear_{kind.upper()}")
        outputs = 64
        scale = (torch.rand(outputs, inputs // group) * 0.1 + 0.01).half().float()
        zero = torch.randint(0, 16, scale.shape).float()
        codes = torch.randint(0, 16, (outputs, inputs)).float()
        plain = torch.nn.Linear(inputs, outputs, bias=False)
        plain.weight.data = (codes - zero.repeat_interleave(group, 1)) * scale.repeat_interleave(group, 1)
        given = (scale.T.contiguous(), zero.T.contiguous()) if kind == "gemm" else (scale, zero)
        packed = module.from_linear(plain, 4, group, False, *given)
        parts = {f"a.{part}": getattr(packed, part) for part in ("qweight", "qzeros", "scales")}
        if kind == "gemm":
            weights = packing.dequantize_gemm(packed.qweight, packed.qzeros, packed.scales, 4, group).T.float()
        else:  # its kernel runs on GPUs alone: what was packed
            weights = plain.weight.data.half().float()
        config = {"quant_method": "awq", "bits": 4, "group_size": group, "zero_point": True, "version": kind}
        return Case(name, config, parts, {"a.weight": weights}, "F16")

    def fast(name: str, inputs: int, group: int) -> Case:
        """The original's, whose kernel runs on GPUs alone: what was packed."""
        layer = importlib.import_module("awq.modules.linear.gemv_fast").WQLinear_GEMVFast
        scale = (torch.rand(16, inputs // group) * 0.1 + 0.01).half().float()
        zero = torch.randint(0, 16, scale.shape).float()
        plain = torch.nn.Linear(inputs, 16, bias=False)
        codes = torch.randint(0, 16, (16, inputs)).float()
        offset = -(scale * zero).half().float()
        each = [part.repeat_interleave(group, 1) for part in (scale, offset)]
        plain.weight.data = (codes - zero.repeat_interleave(group, 1)) * each[0]
        packed = layer.from_linear(plain, 4, group, False, scale, zero)
        parts = {f"a.{part}": getattr(packed, part) for part in ("qweight", "qzeros", "scales")}
        config = {"quant_method": "awq", "bits": 4, "group_size": group, "version": "gemv_fast"}
        return Case(name, config, parts, {"a.weight": codes * each[0] + each[1]})

    yield case("awq-gemm", 96, 32)
    yield case("awq-gemv-128", 256, 128)
    yield case("awq-gemv-64", 320, 64)
    yield fast("awq-gemv-fast-128", 256, 128)
    yield fast("awq-gemv-fast-64", 320, 64)


def mlx() -> Iterator[Case]:
    core = importlib.import_module("mlx.core")
    core.set_default_device(core.cpu)
    core.random.seed(5)

    def case(name: str, shape: tuple[int, ...], kind: str, group: int, bits: int, mode: str = "affine") -> Case:
        weight = core.random.normal(shape).astype(getattr(core, kind))
        settings = {"group_size": group, "bits": bits, "mode": mode}
        parts = core.quantize(weight, **settings)
        plain = core.dequantize(*parts, **settings, dtype=getattr(core, kind))
        names = ("weight", "scales", "biases")
        tensors = {f"a.{part}": value for part, value in zip(names, parts, strict=False)}
        tensors["norm.weight"] = core.ones(shape[-1])  # a width that others have tells bits and groups
        weights = np.array(plain.astype(core.float32))
        type = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}[kind]
        return Case(name, settings, tensors, {"a.weight": weights}, type)

    for bits in (2, 3, 4, 5, 6, 8):
        yield case(f"mlx-{bits}", (6, 192), "float32", 64, bits)
    yield case("mlx-4-of-32", (5, 96), "float32", 32, 4)
    yield case("mlx-4-experts", (3, 4, 128), "float32", 128, 4)
    yield case("mlx-mxfp4", (6, 64), "float32", 32, 4, "mxfp4")
    yield case("mlx-nvfp4", (6, 64), "float32", 16, 4, "nvfp4")
    yield case("mlx-mxfp8", (6, 64), "float32", 32, 8, "mxfp8")


def hqq() -> Iterator[Case]:
    torch = importlib.import_module("torch")
    quantize = importlib.import_module("hqq.core.quantize")
    torch.manual_seed(6)

    def case(name: str, bits: int, axis: int, **options: Any) -> Case:
        config = quantize.BaseQuantizeConfig(nbits=bits, group_size=32, axis=axis, **options)
        plain = torch.nn.Linear(96, 24, bias=False)
        layer = quantize.HQQLinear(plain, config, compute_dtype=torch.float32, device="cpu")
        stored = {f"a.{key}": value for key, value in layer.state_dict().items() if value is not None}
        return Case(name, {"quant_method": "hqq"}, stored, {"a.weight": layer.dequantize().detach()})

    for bits in (1, 2, 3, 4, 8):
        yield case(f"hqq-{bits}", bits, 1)
    yield case("hqq-4-axis-0", 4, 0)
    yield case("hqq-3-axis-0", 3, 0)
    yield case("hqq-4-as-float", 4, 1, view_as_float=True)


def transformers() -> Iterator[Case]:
    torch = importlib.import_module("torch")
    torch.manual_seed(7)
    bitnet = importlib.import_module("transformers.integrations.bitnet")
    ternary = torch.randint(-1, 2, (12, 40)).float()
    packed, scale = bitnet.pack_weights(ternary), torch.tensor([0.3]).bfloat16()
    plain = bitnet.unpack_weights(packed, torch.float32)
    tensors = {"a.weight": packed, "a.weight_scale": scale}
    yield Case("bitnet", {"quant_method": "bitnet"}, tensors, {"a.weight": plain / scale.float()})
    config = {"quant_method": "bitnet", "linear_class": "autobitlinear", "quantization_mode": "offline"}
    yield Case("bitnet-auto", config, tensors, {"a.weight": plain * scale.float()}, needs_config=True)
    gemma = importlib.import_module("transformers.integrations.gemma_quant")
    for bits in (2, 4, 8):
        layer = gemma.QuantizedLinear(48, 10, num_bits=bits)
        kind = torch.uint8 if bits < 8 else torch.int8
        layer.weight.data = torch.randint(-100 if bits == 8 else 0, 127 if bits == 8 else 256, layer.weight.shape).to(
            kind
        )
        layer.weight_scale.data = torch.rand(10, 1)
        tensors = {"a.weight": layer.weight.data, "a.weight_scale": layer.weight_scale.data, "norm": torch.ones(48)}
        tensors["a.input_activation_scale"] = torch.tensor(0.5)
        weights = layer._dequantize_weights().detach()
        yield Case(
            f"gemma-{bits}",
            {"quant_method": "gemma", "num_bits": bits},
            tensors,
            {"a.weight": weights},
            needs_config=True,
        )


def nvidia_modelopt() -> Iterator[Case]:
    torch = importlib.import_module("torch")
    qtensor = importlib.import_module("modelopt.torch.quantization.qtensor")
    torch.manual_seed(8)
    weight = torch.randn(6, 64)
    packed, scale, second = qtensor.NVFP4QTensor.quantize(weight, 16)
    plain = packed.dequantize(torch.float32, scale=scale, double_scale=second, block_sizes={-1: 16})
    tensors = {"a.weight": packed._quantized_data, "a.weight_scale": scale, "a.weight_scale_2": second}
    tensors["a.input_scale"] = torch.tensor(0.1)
    yield Case("modelopt-nvfp4", {"quant_method": "modelopt", "quant_algo": "NVFP4"}, tensors, {"a.weight": plain})
    export = importlib.import_module("modelopt.torch.export.quant_utils")
    for name, shape in (("modelopt-int4", (6, 64)), ("modelopt-int4-experts", (3, 4, 64))):
        scale = torch.rand(*shape[:-1], 2) * 0.1 + 0.01
        codes = torch.randint(-8, 8, shape).float()
        weight = codes * scale.repeat_interleave(32, -1)
        tensors = {"a.weight": export.pack_int4_in_uint8(weight, scale, 32), "a.weight_scale": scale}
        if len(shape) == 2:
            tensors["a.pre_quant_scale"] = torch.rand(shape[-1]) + 0.5
            weight = weight * tensors["a.pre_quant_scale"]
        config = {"quant_method": "modelopt", "quant_algo": "W4A16_AWQ"}
        yield Case(name, config, tensors, {"a.weight": weight}, needs_config=len(shape) > 2)


def torchao() -> Iterator[Case]:
    """``Int4Tensor`` packs with MSLK, whose package needs a GPU's compiler for what is not used here."""
    torch = importlib.import_module("torch")
    sys.modules["mslk.quantize.triton.fp8_quantize"] = types.ModuleType("fp8_quantize")
    sys.modules["mslk.quantize.triton.fp8_quantize"].quantize_fp8_row = None  # type: ignore[attr-defined]  # a stand-in
    api = importlib.import_module("torchao.quantization")
    saved = importlib.import_module("torchao.prototype.safetensors.safetensors_support")
    torch.manual_seed(9)

    def case(name: str, tensor: Any, weights: Any = None) -> Case:
        stored, _ = saved.flatten_tensor_state_dict({"a.weight": tensor})
        plain = tensor.dequantize() if weights is None else weights
        return Case(f"torchao-{name}", {"quant_method": "torchao"}, stored, {"a.weight": plain.float()})

    weight = torch.randn(12, 64)
    for name, granularity in (("row", api.PerRow()), ("tensor", api.PerTensor())):
        yield case(f"float8-{name}", api.Float8Tensor.from_hp(weight, granularity=granularity))
        yield case(f"int8-{name}", api.Int8Tensor.from_hp(weight, granularity))
    for bits in (4, 8):
        integers = api.IntxUnpackedToInt8Tensor.from_hp(
            weight, (1, 32), getattr(torch, f"int{bits}"), mapping_type=api.MappingType.ASYMMETRIC
        )
        yield case(f"intx-{bits}", integers)
    shuffle = importlib.import_module("mslk.quantize.shuffle")
    for name, shape in (("int4", (12, 64)), ("int4-experts", (3, 6, 64))):
        weight = torch.randn(shape)
        packed = api.Int4Tensor.from_hp(weight, [*(1 for _ in shape[:-1]), 32])
        numbers, scale, zero = shuffle.int4_row_quantize_zp(weight.reshape(-1, 64), 32)
        each = [part.T.repeat_interleave(32, 1) for part in (scale, zero)]
        yield case(name, packed, (numbers * each[0] + each[1]).reshape(shape))


def gptqmodel() -> Iterator[Case]:
    """What "gptq_p" packs in planes; only that module of the library is imported."""
    torch = importlib.import_module("torch")
    planes = importlib.import_module("gptqmodel.utils.planar_packing")
    torch.manual_seed(10)
    outputs, inputs, group = 64, 96, 32
    for bits in (3, 5, 6, 7):
        codes = torch.randint(0, 2**bits, (inputs, outputs))
        zero = torch.randint(0, 2**bits, (inputs // group, outputs))
        scale = (torch.rand(zero.shape) * 0.1 + 0.01).half()
        tensors = {"a.qweight": planes.planar_pack_rows(codes, bits), "a.qzeros": planes.planar_pack_cols(zero, bits)}
        tensors |= {"a.scales": scale, "a.g_idx": torch.arange(inputs, dtype=torch.int32) // group}
        numbers, points = (
            planes.planar_unpack_rows(tensors["a.qweight"], bits),
            planes.planar_unpack_cols(tensors["a.qzeros"], bits),
        )
        each = [part.repeat_interleave(group, 0) for part in (points, scale.float())]
        config = {"quant_method": "gptq", "bits": bits, "group_size": group, "checkpoint_format": "gptq_p"}
        yield Case(
            f"gptq-p-{bits}", config, tensors, {"a.weight": ((numbers - each[0]) * each[1]).T}, needs_config=True
        )


LIBRARIES: dict[str, Callable[[], Iterator[Case]]] = {
    "compressed-tensors": compressed_tensors,
    "bitsandbytes": bitsandbytes,
    "mlx": mlx,
    "auto-round": auto_round,
    "autoawq": autoawq,
    "hqq": hqq,
    "transformers": transformers,
    "nvidia-modelopt": nvidia_modelopt,
    "torchao": torchao,
    "gptqmodel": gptqmodel,
}


def save(case: Case) -> None:
    """A case's two files."""
    path = CASES / f"{case.name}.safetensors"
    if case.name.startswith("mlx"):
        importlib.import_module("mlx.core").save_safetensors(str(path), case.tensors, {"format": "mlx"})
    else:
        made = {name: value.contiguous() for name, value in case.tensors.items()}
        importlib.import_module("safetensors.torch").save_file(made, path, metadata={"format": "pt"})
    weights: dict[str, Any] = {name: np.asarray(values, np.float32) for name, values in case.weights.items()}
    np.savez_compressed(CASES / f"{case.name}.npz", **weights)


def main() -> None:
    names = sys.argv[1:]
    if not names or not set(names) <= LIBRARIES.keys():
        sys.exit(f"usage: record_quantized.py LIBRARY...\n  {', '.join(LIBRARIES)}")
    CASES.mkdir(exist_ok=True)
    index = CASES / "cases.json"
    known: dict[str, Any] = json.loads(index.read_text()) if index.exists() else {}
    for name in names:
        version = importlib.metadata.version(name)
        for case in LIBRARIES[name]():
            save(case)
            known[case.name] = {"made by": f"{name} {version}", "type": case.type, "config": case.config}
            if case.needs_config:
                known[case.name]["needs config"] = True
            print(case.name)
    index.write_text(json.dumps(dict(sorted(known.items())), indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
