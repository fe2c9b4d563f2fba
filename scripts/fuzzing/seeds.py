"""Valid files to start from, and the words a format gives a meaning."""

from __future__ import annotations

import json
import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from small_tokenizer import byte_alphabet
from tokenizer_parts import pieces, sentencepiece

from fuzzing.forms import FORMS
from fuzzing.targets import NAMES, TENSORS, TESTS, WIDTHS
from qconv import checkpoints, formats
from qconv.architectures import registry
from qconv.calibration import (
    HessiansInfo,
    Measurements,
    Sensitivity,
    TensorSums,
    write_calibration,
    write_hessians,
)
from qconv.checkpoints.quantized import table as quantizations
from qconv.cli import app
from qconv.policy.conditions import CONDITIONS
from qconv.policy.roles import members
from tests.mistral import models as mistral

HOSTILE = TESTS / "hostile" / "files"
VOCABULARY = 280
"""Tokens in the tokenizer files: a few less than the recorded models have, as their classes add some."""

_COMMANDS = [
    "convert x.safetensors --type q4_k_m",
    "convert model --type q8_0,f16 --output . --pre llama-bpe --json",
    "convert a.gguf --mix m.toml --imatrix imatrix --allow-requantize --override-kv general.name=str:a",
    "convert model -t q5_k_m --pre llama-bpe --split-max-size 100K --tensor-type attn_v=q6_k --pure --strict -o y.gguf",
    "convert a.gguf -t q4_0 --allow-requantize --part 1/2 --memory 1G --threads 2 --output-tensor-type f16",
    "info a.gguf x.safetensors model --json --tensors --metadata --context 100",
    "info cut.gguf pointer.gguf --debug",
    "compare a.gguf b.gguf --all --json --threads 1",
    "compare model a.gguf",
    "verify a.gguf --against x.safetensors --progress none --quiet",
    "architectures llama --json",
    "architectures",
    "convert --help",
]


def seeds(target: str) -> list[bytes]:
    """Valid inputs of ``target``, a rich one first, and files that were attacks once."""
    write = FORMS[target].write
    match target:
        case "gguf":
            return [write(_gguf()), write({**_gguf(), "version": 2}), *_hostile(".gguf")]
        case "safetensors":
            tensors = {name: {"dtype": "F32", "shape": [2, 32]} for name in ("a", "model.layers.0.mlp.up_proj.weight")}
            header = {"__metadata__": {"format": "pt"}, **tensors, "c": {"dtype": "BF16", "shape": []}}
            return [write({"header": header, "data": "\1\2" * 300, "placed": True}), *_hostile(".safetensors")]
        case "plan":
            return [write(model) for model in [*recorded(), *projectors(), *_tokenizers(), *_mistral(), *_beside()]]
        case "adapter":
            return [write(each) for each in _adapters()]
        case "quantized":
            return [write(each) for each in _quantized()]
        case "imatrix":
            return [write(_imatrix()), _dat()]
        case "calibration":
            return [_calibration()]
        case "hessians":
            return [_hessians()]
        case "evaluations":
            return [write(_EVALUATION)]
        case "mix":
            mine = b'extends = "q4_k_m"\n[[rules]]\nrole = ["attn_v"]\nuse = "Q8_0"\nwhen = "more_bits"\n'
            return [mine, *(path.read_bytes() for path in sorted((formats.ROOT / "mixes").glob("*.toml")))]
        case "table":
            tables = sorted((formats.ROOT / "architectures").glob("*.toml"), key=lambda path: path.stem != "llama")
            return [path.read_bytes() for path in tables]
    return [line.replace(" ", "\0").encode() for line in _COMMANDS]


def words(target: str) -> list[str]:
    """Texts that ``target`` gives a meaning."""
    types = [*formats.block_types()]
    match target:
        case "gguf":
            return [
                "general.architecture",
                "general.alignment",
                "split.count",
                "split.no",
                "split.tensors.count",
                "llama",
            ]
        case "safetensors":
            return ["F64", "F32", "F16", "BF16", "F8_E4M3", "F4", "I64", "U8", "BOOL", "__metadata__", "dtype", "shape"]
        case "plan":
            return [
                *NAMES,
                *_PARAMS,
                "BF16",
                "F16",
                "F32",
                "I64",
                "BPE",
                "ByteLevel",
                "Sequence",
                "Split",
                "llama",
                "bos_token",
            ]
        case "quantized":
            endings = [end for method in quantizations().values() for mark in method.marks for end in mark]
            methods = [said for method in quantizations().values() for said in method.methods]
            return [*methods, *(f"a{end}" for end in endings), *WIDTHS, "bits", "group_size", "quant_method", "format"]
        case "adapter":
            parts = ("lora_A", "lora_B", "lora_embedding_A", "lora_magnitude_vector", "lora_a", "lora_b", "m")
            return [*parts, *_LORA, *NAMES, "weight", "bias", "base_layer", "modules_to_save", "BF16", "F32", "LORA"]
        case "imatrix":
            return [t.name + end for t in TENSORS for end in (".in_sum2", ".counts")]
        case "calibration":
            return [
                t.name + end for t in TENSORS for end in (".in_sum", ".in_sum2", ".counts", ".peaks", ".sensitivity")
            ]
        case "hessians":
            return [t.name + end for t in TENSORS for end in (".hessian", ".counts")]
        case "evaluations":
            return [*_EVALUATION]
        case "mix":
            return [
                *types,
                *CONDITIONS,
                *members(),
                "rules",
                "role",
                "use",
                "when",
                "unless",
                "type",
                "extends",
                "file_type",
            ]
        case "table":
            steps = [name for kind in ("operation", "combination", "derivation") for name in registry.known(kind)]
            return [
                "from",
                "do",
                "or",
                "make",
                "when",
                "optional",
                "store",
                "count",
                "derive",
                "value",
                "{layer}",
                *steps,
            ]
    options = "json tensors context all threads against type mix part finish memory imatrix strict pure arch pre output"
    names = ["a.gguf", "b.gguf", "cut.gguf", "x.safetensors", "model", "m.toml", "imatrix", ".", "..", "--", "-h"]
    return [*app.COMMANDS, *names, *(f"--{name}" for name in options.split()), "q4_k_m", "iq2_xxs", "1", "1/2", "0"]


def _hostile(ending: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted(HOSTILE.rglob(f"*{ending}"))]


def _gguf() -> dict[str, Any]:
    keys = [
        ["general.architecture", 8, "llama"],
        ["general.alignment", 4, 32],
        ["general.file_type", 4, 1],
        ["llama.block_count", 4, 2],
        ["llama.context_length", 4, 4096],
        ["llama.embedding_length", 4, 256],
        ["llama.attention.head_count", 4, 4],
        ["llama.attention.head_count_kv", 9, [5, [2, 2]]],
        ["llama.rope.freq_base", 6, 0x461C4000],
        ["tokenizer.ggml.tokens", 9, [8, ["a", "b"]]],
        ["tokenizer.ggml.scores", 9, [6, [0, 0x3F800000]]],
        ["tokenizer.ggml.add_bos_token", 7, 1],
    ]
    names = ["token_embd", "blk.0.attn_v", "blk.0.ffn_down", "blk.1.attn_q", "output"]
    tensors = [[f"{n}.weight", [256, 2], kind, 0] for n, kind in zip(names, (1, 8, 12, 0, 30), strict=True)]
    tensors.append(["output_norm.weight", [256], 0, 0])
    return {"version": 3, "keys": keys, "tensors": tensors, "data": "", "placed": True}


def _imatrix() -> dict[str, Any]:
    keys = [
        ["general.type", 8, "imatrix"],
        ["imatrix.datasets", 9, [8, ["calibration.txt"]]],
        ["imatrix.chunk_count", 4, 100],
        ["imatrix.chunk_size", 4, 512],
    ]
    sums = [(t.name, t.shape[-1], t.shape[-3] if len(t.shape) == 3 else 1) for t in TENSORS[2:4] + TENSORS[-1:]]
    tensors = [
        part for name, n, m in sums for part in ([f"{name}.in_sum2", [n, m], 0, 0], [f"{name}.counts", [1, m], 0, 0])
    ]
    ones = struct.pack("<f", 1).decode("latin-1")
    return {"version": 3, "keys": keys, "tensors": tensors, "data": ones * 5000, "placed": True}


def _dat() -> bytes:
    entries = [
        struct.pack("<i", len(t.name)) + t.name.encode() + struct.pack("<ii512f", 4, 512, *range(512))
        for t in TENSORS[2:4]
    ]
    return struct.pack("<i", len(entries)) + b"".join(entries) + struct.pack("<ii", 100, 4) + b"text"


def _calibration() -> bytes:
    """Of two tensors, as an interrupted run leaves it."""
    info = Measurements(
        "model", "text", 1024, 512, "F16", "job", 512, 1.5, {TENSORS[2].name: Sensitivity(0.1, 0.01, 3)}
    )
    sums = {
        t.name: TensorSums(
            np.ones((1, t.shape[-1]), np.float32),
            np.ones((1, t.shape[-1]), np.float32),
            np.array([1024]),
            np.ones(t.shape[-1] // 32),
        )
        for t in TENSORS[2:4]
    }
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "c.gguf"
        write_calibration(path, sums, info, ["text.txt"])
        return path.read_bytes()


def _hessians() -> bytes:
    """Of two matrices of 40 columns."""
    info = HessiansInfo("model", "text", 1024, 512, "F16", "job")
    squares = [np.eye(40, dtype=np.float32) + np.float32(each) for each in (0.5, 2)]
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "h.gguf"
        write_hessians(path, info, [TENSORS[2].name], 40, [512, 512], squares, {0.01: 1.0, 0.1: 2.0})
        return path.read_bytes()


_EVALUATION = {
    "file": "a-Q4_K_M.gguf",
    "bytes": 1000,
    "kl_divergence": {"mean": 0.01, "standard_error": 0.001},
    "perplexity": {"value": 12.5, "standard_error": 0.5},
}


def recorded() -> list[dict[str, Any]]:
    """Every recorded model of an ordinary size, with tokenizer files that fit it."""
    letters = byte_alphabet()
    bpe = {
        "version": "1.0",
        "added_tokens": [{"id": VOCABULARY - 1, "content": f"<{VOCABULARY - 1}>", "special": True}],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "vocab": {letters[i]: i for i in range(256)} | {f"<{i}>": i for i in range(256, VOCABULARY)},
            "merges": [],
        },
    }
    spm = sentencepiece(pieces(*(f"w{i}" for i in range(VOCABULARY - 259))), 2).decode("latin-1")
    files = {"tokenizer.json": bpe, "tokenizer.model": spm, "tokenizer_config.json": {"bos_token": "<257>"}}
    seeds = []
    for path in sorted((TESTS / "architectures" / "goldens").glob("*.json")):
        golden = json.loads(path.read_text("utf-8"))
        if len(golden["tensors"]) < 150:
            model = {"config.json": golden["config"], **files}
            seeds.append({"files": model, "tensors": golden["tensors"], "type": "q4_k_m"})
    return seeds


def projectors() -> list[dict[str, Any]]:
    """Every recorded multimodal model, to make the projector of."""
    seeds = []
    for path in sorted((TESTS / "projectors" / "goldens").glob("*.json")):
        golden = json.loads(path.read_text("utf-8"))
        files = {"config.json": golden["config"]} | {k: v for k, v in golden.items() if k.endswith(".json")}
        seeds.append({"files": files, "tensors": golden["tensors"], "mmproj": "q8_0"})
    return seeds


def _beside() -> list[dict[str, Any]]:
    """A Llama with each of the files that say of some models how they are quantized or what follows them."""
    llama = next(
        model for model in recorded() if model["files"]["config.json"]["architectures"] == ["LlamaForCausalLM"]
    )
    return [{**llama, "files": {**llama["files"], name: value}} for name, value in _BESIDE.items()]


_BESIDE = {
    "quantize_config.json": {"bits": 4, "group_size": 128, "desc_act": False, "sym": True, "checkpoint_format": "gptq"},
    "quant_config.json": {"zero_point": True, "q_group_size": 128, "w_bit": 4, "version": "GEMM"},
    "hf_quant_config.json": {
        "producer": {"name": "modelopt", "version": "0.40"},
        "quantization": {
            "quant_algo": "MIXED_PRECISION",
            "kv_cache_quant_algo": "FP8",
            "group_size": 16,
            "exclude_modules": ["lm_head", "model.layers.0*"],
            "quantized_layers": {"model.layers.1.mlp.up_proj": {"quant_algo": "NVFP4", "group_size": 16}},
        },
    },
    "modules.json": [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Dense", "type": "sentence_transformers.models.Dense"},
    ],
}


def _mistral() -> list[dict[str, Any]]:
    """Models in Mistral's own format."""
    seeds = []
    for make in mistral.CASES.values():
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            make(folder)
            files: dict[str, Any] = {path.name: json.loads(path.read_text()) for path in folder.glob("*.json")}
            texts = [*folder.glob("*.jinja"), *folder.glob("tokenizer.model.v*")]
            files |= {path.name: path.read_bytes().decode("latin-1") for path in texts}
            with checkpoints.open(folder) as opened:
                tensors = {name: [t.dtype, list(t.shape)] for name, t in opened.stored.items()}
        seeds.append({"files": files, "tensors": tensors, "type": "q8_0"})
    return seeds


def _quantized() -> list[dict[str, Any]]:
    """What libraries made for the tests, data included."""
    folder = TESTS / "checkpoints" / "quantized"
    cases = []
    for name, case in json.loads((folder / "cases.json").read_text("utf-8")).items():
        data = (folder / f"{name}.safetensors").read_bytes()
        start = 8 + int.from_bytes(data[:8], "little")
        tensors = {}
        for tensor, place in json.loads(data[8:start]).items():
            if tensor != "__metadata__":
                first, last = place["data_offsets"]
                text = data[start + first : start + last][:_MOST_DATA].decode("latin-1")
                tensors[tensor] = [place["dtype"], place["shape"], text]
        cases.append({"config": case["config"], "tensors": tensors})
    on_grid = struct.pack("<32e", *(i % 16 - 8 for i in range(32))).decode("latin-1")
    cases.append({"config": None, "tensors": {"a.weight": ["F16", [1, 32], on_grid]}})
    return sorted(cases, key=lambda case: len(str(case)))


_MOST_DATA = 4000
"""Bytes of a tensor that a seed holds."""

_PARAMS = ("moe", "yarn", "llama_4_scaling", "quantization", "qformat_weight", "fp8_e4m3", "kv_lora_rank", "v3", "v13")
_LORA = {
    "peft_type": "LORA",
    "r": 2,
    "lora_alpha": 4,
    "use_rslora": False,
    "use_dora": False,
    "fan_in_fan_out": False,
    "rank_pattern": {},
    "alpha_pattern": {"q_proj": 3, ".*down": 1},
    "init_lora_weights": True,
    "target_parameters": ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"],
    "trainable_token_indices": {"embed_tokens": [3, 1]},
    "alora_invocation_tokens": None,
    "lora_parameters": {"rank": 2, "scale": 20.0},
}
"""What an adapter's configuration may say."""


def _adapters() -> list[dict[str, Any]]:
    """A Llama's adapter of each kind of part, and one of experts that are stored together."""
    golden = json.loads((TESTS / "architectures" / "goldens" / "llama3-bpe.json").read_text("utf-8"))
    layer, shapes = "base_model.model.model.layers.0", golden["tensors"]
    q, e = (shapes[f"model.{name}.weight"][1] for name in ("layers.0.self_attn.q_proj", "embed_tokens"))
    own = {
        f"{layer}.self_attn.q_proj.lora_A.weight": ["F32", [2, q[1]]],
        f"{layer}.self_attn.q_proj.lora_B.weight": ["F32", [q[0], 2]],
        f"{layer}.self_attn.q_proj.lora_magnitude_vector": ["F32", [q[0]]],
        "base_model.model.model.embed_tokens.lora_embedding_A": ["F16", [2, e[0]]],
        "base_model.model.model.embed_tokens.lora_embedding_B": ["F16", [e[1], 2]],
        "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta": ["BF16", [2, e[1]]],
        f"{layer}.input_layernorm.weight": ["F32", [q[1]]],
    }
    plain = {name: about for name, about in own.items() if ".lora_A" in name or ".lora_B" in name}
    base = {"config": golden["config"], "tensors": shapes}
    experts = {"model.layers.0.mlp.experts.gate_up_proj": ["F32", [4, 16, 32]]}
    experts |= {"model.layers.0.mlp.experts.down_proj": ["F32", [4, 32, 8]]}
    outer = f"{layer}.mlp.experts"
    fused = {f"{outer}.lora_A.weight": ["F32", [8, 8]], f"{outer}.lora_B.weight": ["F32", [32, 8]]}
    inner = f"{outer}.base_layer"
    fused |= {f"{inner}.lora_A.weight": ["F32", [8, 32]], f"{inner}.lora_B.weight": ["F32", [16, 8]]}
    name = "layers.0.self_attn.q_proj"
    mlx = {f"{name}.lora_a": ["F32", [q[1], 2]], f"{name}.lora_b": ["F32", [2, q[0]]]}
    peft = {key: value for key, value in _LORA.items() if key != "lora_parameters"}
    return [
        {**base, "adapter": own, "adapter_config": {**peft, "use_dora": True}},
        {**base, "adapter": plain, "adapter_config": peft, "weight": 0.5},
        {"config": {}, "tensors": experts, "adapter": fused, "adapter_config": peft},
        {**base, "adapter": mlx, "adapter_config": {"lora_parameters": {"scale": 20.0}, "fine_tune_type": "lora"}},
    ]


def _tokenizers() -> list[dict[str, Any]]:
    """Tiny tokenizers of every kind."""
    seeds = []
    for case in sorted((TESTS / "tokenizers" / "cases").glob("*/case.json")):
        files = {}
        for path in case.parent.iterdir():
            if path.name in NAMES:
                data = path.read_bytes()
                files[path.name] = json.loads(data) if path.suffix == ".json" else data.decode("latin-1")
        seeds.append({**json.loads(case.read_text("utf-8")), "files": files})
    return seeds
