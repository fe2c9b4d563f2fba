"""What is fuzzed: an input's bytes go in, and any outcome but success or a QconvError with a clean message is a bug.

Needs no atheris, so that the tests carry inputs that were once findings through the same functions.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import math
import os
import re
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any

from qconv import checkpoints, formats, plan, policy, summary, tokenizers
from qconv.architectures.config import complete
from qconv.architectures.metadata import metadata
from qconv.architectures.model import ModelContext
from qconv.architectures.names import canonical_names
from qconv.architectures.schema import Table
from qconv.architectures.tensors import Matcher
from qconv.calibration import read_hessians, read_imatrix, read_measurements, read_sums
from qconv.cli import info
from qconv.cli import run as command
from qconv.errors import QconvError
from qconv.options import ConvertOptions
from qconv.publish import read_evaluations
from qconv.storage import LocalFile, LocalFolder
from qconv.tensors import StoredTensor, TensorLocation
from qconv.tensors.quantized import Lossless, OnGrid, is_on_grid, lossless, may_be_on_grid
from qconv.types import TensorInfo

TESTS = Path(__file__).parents[2] / "tests"
WIDTHS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "I64": 8, "I32": 4, "U8": 1, "BOOL": 1}
WIDTHS |= {"I8": 1, "I16": 2, "U32": 4, "F8_E8M0": 1}
"""Bytes an element, of the storage types the recorded models use."""

NAMES = (
    "config.json",
    "params.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "tokenizer.model.v1",
    "tokenizer.model.v3",
    "spiece.model",
    "sentencepiece.bpe.model",
    "added_tokens.json",
    "special_tokens_map.json",
    "generation_config.json",
    "chat_template.json",
    "chat_template.jinja",
    "merges.txt",
    "vocab.json",
    "vocab.txt",
    "tekken.json",
    "README.md",
    "quantize_config.json",
    "quant_config.json",
    "hf_quant_config.json",
    "modules.json",
    "embedding_config.json",
)
"""The files beside the weights that a folder may hold."""

_LAYER = {"attn_q": (512, 512), "attn_v": (128, 512), "attn_output": (512, 512), "ffn_down": (512, 96)}
TENSORS = tuple(
    [TensorInfo("token_embd.weight", "F16", (288, 512)), TensorInfo("output_norm.weight", "F32", (512,))]
    + [TensorInfo(f"blk.{n}.{name}.weight", "F16", shape) for n in range(2) for name, shape in _LAYER.items()]
    + [TensorInfo("blk.1.ffn_up_exps.weight", "F16", (4, 64, 512))]
)
"""A small model as the policy sees it."""

HPARAMS = policy.HParams("llama", n_layer=2, n_head=8, n_head_kv=2)


def run(target: str, data: bytes, folder: Path) -> None:
    """Carries out one input; ``folder`` is for the files it needs, and may hold those of another input."""
    try:
        TARGETS[target](data, folder)
    except QconvError as error:
        if not str(error).isprintable():
            raise AssertionError(f"a message that is not printable: {error!s}") from error


def _file(path: Path, data: bytes) -> Path:
    """``data`` at ``path``; a file that is there is written over, which is quicker than a new one."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, data)
        os.truncate(descriptor, len(data))
    finally:
        os.close(descriptor)
    return path


def _opened(path: Path, options: ConvertOptions) -> None:
    """A checkpoint as ``info`` and ``convert`` see it: summed up, a few rows of every tensor read, planned."""
    with checkpoints.open(path) as opened:
        info.as_object(summary.describe(opened), opened, True, True)
        for name, tensor in opened.tensors.items():
            opened.read(name, 0, min(tensor.rows, 16))
        plan.make(opened, options)


def gguf_file(data: bytes, folder: Path) -> None:
    """A GGUF file."""
    _opened(_file(folder / "x.gguf", data), ConvertOptions(types=("q4_k_m",), allow_requantize=True))


def safetensors_file(data: bytes, folder: Path) -> None:
    """A safetensors file without a config."""
    _opened(_file(folder / "x.safetensors", data), ConvertOptions(types=("q4_k_m",)))


def model_folder(data: bytes, folder: Path) -> None:
    """A checkpoint folder, written down as a JSON object.

    ``files``: text, or a value for JSON, by name.  ``tensors``: storage type and shape by name.  ``type``: what is
    asked for, ``mmproj``: likewise of the projector; without one, the model is summed up instead. With ``kind``, and
    perhaps ``options``, the files are read as that kind of tokenizer.
    """
    try:
        model = json.loads(data)
    except (ValueError, RecursionError):
        return
    if not isinstance(model, dict):
        return
    files = _files(model, folder)
    kind, options = model.get("kind"), model.get("options")
    if isinstance(kind, str):
        config = files.get("config.json")
        given = options if isinstance(options, dict) else {}
        tokenizers.metadata(LocalFolder(folder), config if isinstance(config, dict) else {}, kind=kind, options=given)
        return
    names = ["model.safetensors", "consolidated.safetensors"]
    name, other = names[::-1] if "params.json" in files else names
    (folder / other).unlink(missing_ok=True)
    _weights(folder / name, model.get("tensors"))
    with checkpoints.open(folder) as opened:
        if isinstance(wanted := model.get("type"), str):
            plan.make(opened, ConvertOptions(types=(wanted,), pre="llama-bpe"))
        elif isinstance(wanted := model.get("mmproj"), str):
            plan.make(opened, ConvertOptions(mmproj=(wanted,)))
        else:
            summary.describe(opened)


def adapter(data: bytes, folder: Path) -> None:
    """An adapter and its base, written down as a JSON object: merged, and made a file of its own.

    ``config`` and ``tensors`` of the base, ``adapter_config`` and ``adapter`` tensors of the adapter; ``files`` lie
    beside the adapter.  ``weight``: the adapter's.
    """
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
        return
    if not isinstance(said, dict):
        return
    base, own = folder / "base", folder / "own"
    for place in (base, own):
        place.mkdir(exist_ok=True)
    _files(said, own)
    _file(base / "config.json", json.dumps(said.get("config")).encode())
    _file(own / "adapter_config.json", json.dumps(said.get("adapter_config")).encode())
    _weights(base / "model.safetensors", said.get("tensors"))
    _weights(own / "adapter_model.safetensors", said.get("adapter"))
    weight = f"={said['weight']}" if isinstance(said.get("weight"), int | float) else ""
    options = ConvertOptions(types=("q4_k_m",), adapter=(f"{own}{weight}",))
    with contextlib.suppress(QconvError), plan.open_source(base, options) as opened:
        for name, tensor in opened.tensors.items():
            if tensor.weights < _MOST_READ:
                opened.read(name, 0, min(tensor.rows, 4))
    with checkpoints.open_adapter(own) as opened:
        plan.make(opened, ConvertOptions(types=("f16",), base=str(base)))


def quantized_weights(data: bytes, folder: Path) -> None:
    """A quantized checkpoint, written down as a JSON object: a few rows of every weight, and what keeps it.

    ``config``: its quantization's.  ``tensors``: storage type, shape and data, in Latin-1, by name; then zeros.
    """
    try:
        said = json.loads(data)
    except (ValueError, RecursionError):
        return
    tensors = said.get("tensors") if isinstance(said, dict) else None
    if not isinstance(tensors, dict):
        return
    config = {"model_type": "llama", "quantization_config": said.get("config")}
    _file(folder / "config.json", json.dumps(config).encode())
    path = folder / "model.safetensors"
    _weights(path, {name: each[:2] for name, each in tensors.items() if isinstance(each, list)})
    with path.open("r+b") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
        file.seek(8)
        for name, place in json.loads(file.read(start - 8)).items():
            filled = tensors[name][2] if len(tensors[name]) > 2 else ""
            first, last = place["data_offsets"]
            file.seek(start + first)
            file.write((filled if isinstance(filled, str) else "").encode("latin-1", "replace")[: last - first])
    with checkpoints.open(folder) as opened:
        for name, tensor in opened.tensors.items():
            if tensor.weights < _MOST_READ:
                opened.read(name, 0, min(tensor.rows, 4))
                opened.read(name, tensor.rows // 2, tensor.rows)
                if may_be_on_grid(opened.lazy[name]) and is_on_grid(opened.lazy[name]):
                    OnGrid(opened.lazy[name]).read(0, tensor.rows)
                kept = lossless(opened.lazy[name])
                if isinstance(kept, Lossless):
                    kept.tensor.read(0, min(tensor.rows, 4))


_MOST_READ = 1 << 16
"""Weights of a tensor that is read; products of larger ones take long."""


def _weights(path: Path, tensors: Any) -> None:
    """A safetensors file of these tensors, whose weights are zero."""
    header, size = _header(tensors)
    text = json.dumps(header).encode()
    _file(path, len(text).to_bytes(8, "little") + text)
    os.truncate(path, 8 + len(text) + size)


def _files(model: dict[str, Any], folder: Path) -> dict[str, Any]:
    listed = model.get("files")
    files: dict[str, Any] = listed if isinstance(listed, dict) else {}
    for name in NAMES:
        value = files.get(name)
        if value is None:
            (folder / name).unlink(missing_ok=True)
        else:
            data = value.encode("latin-1", "replace") if isinstance(value, str) else json.dumps(value).encode()
            _file(folder / name, data)
    return files


def _header(tensors: Any) -> tuple[dict[str, Any], int]:
    """A safetensors header of the tensors that are well-formed, and the size of their data; at most 1 TB."""
    header: dict[str, Any] = {}
    end = 0
    for name, said in tensors.items() if isinstance(tensors, dict) else ():
        match said:
            case [str() as dtype, list() as shape] if dtype in WIDTHS and all(type(n) is int and n >= 0 for n in shape):
                size = math.prod(shape) * WIDTHS[dtype]
                if end + size < 1 << 40:
                    header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
                    end += size
    return header, end


def importance(data: bytes, folder: Path) -> None:
    """An importance matrix of either format, and what a plan takes from it."""
    imatrix = read_imatrix(_file(folder / "imatrix", data))
    imatrix.metadata()
    policy.select_importance(imatrix, _decisions())


@functools.cache
def _decisions() -> tuple[policy.Decision, ...]:
    return policy.quantizer.choose(TENSORS, HPARAMS, policy.find_mix("q4_k_m")).decisions


def calibration(data: bytes, folder: Path) -> None:
    """What ``qconv calibrate`` leaves, and goes on from."""
    path = _file(folder / "calibration.gguf", data)
    read_measurements(path)
    read_sums(path)


def hessians(data: bytes, folder: Path) -> None:
    """A file of Hessians, and factors of small ones."""
    for hessian in read_hessians(_file(folder / "hessians.gguf", data)).by_tensor.values():
        if hessian.columns <= _MOST_COLUMNS:
            hessian.factor(hessian.matrices - 1)


_MOST_COLUMNS = 512


def evaluations(data: bytes, folder: Path) -> None:
    """What a card takes of ``qconv evaluate --json``."""
    read_evaluations(_file(folder / "evaluations.json", data))


def mix_file(data: bytes, folder: Path) -> None:
    """A user's mix, and a small model's types by it."""
    mix = policy.load_mix(_file(folder / "mix.toml", data))
    policy.quantizer.choose(TENSORS, HPARAMS, mix, imatrix=[t.name for t in TENSORS])


def table_file(data: bytes, folder: Path) -> None:
    """An architecture's table, and what it makes of a small Llama."""
    table = formats.load(_file(folder / "table.toml", data), Table)
    given, tensors = _llama()
    config = complete(given, table)
    names = canonical_names(tensors, config, table)
    infos = {name: tensors[source] for name, source in names.items()}
    model = ModelContext(config, infos, LocalFolder(folder), "table")
    with closing(LocalFile(folder / "table.toml")) as no_weights:
        headers = {name: StoredTensor(TensorLocation(info, 0), no_weights) for name, info in tensors.items()}
        Matcher(model, table, names, headers).outputs()
    metadata(model, table)


@functools.cache
def _llama() -> tuple[dict[str, Any], dict[str, TensorInfo]]:
    golden = json.loads((TESTS / "architectures" / "goldens" / "llama3-bpe.json").read_text("utf-8"))
    tensors = {name: TensorInfo(name, dtype, tuple(shape)) for name, (dtype, shape) in golden["tensors"].items()}
    return golden["config"], tensors


def command_line(data: bytes, folder: Path) -> None:
    """Words separated by NUL as a command line, in a folder of a few models; conversions are planned only."""
    given = data.decode("utf-8", "surrogateescape").split("\0")
    if len(given) > 24 or any(_LEADS_OUT.match(word) for word in given):
        return
    words = [part for word in given for part in ([word, "--dry-run"] if word == "convert" else [word])]
    models = folder / "models"
    if not models.is_dir():
        _make_models(models)
    said = io.StringIO()
    with contextlib.chdir(models), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            command.run(words)
        except SystemExit as e:
            if e.code not in (0, None):
                raise
    if "a defect in qconv" in said.getvalue():
        raise AssertionError(said.getvalue())


_LEADS_OUT = re.compile(r"(?!\d+/\d+$).*/|~|--(install|show)-c", re.DOTALL)
"""Words that name a file elsewhere, or change the user's shell; 1/2 is a part."""


def _make_models(folder: Path) -> None:
    from fuzzing.seeds import seeds

    folder.mkdir()
    for target, name in (("gguf", "a.gguf"), ("gguf", "b.gguf"), ("safetensors", "x.safetensors"), ("mix", "m.toml")):
        (folder / name).write_bytes(_valid(seeds(target)))
    (folder / "imatrix").write_bytes(_valid(seeds("imatrix")))
    (folder / "cut.gguf").write_bytes(_valid(seeds("gguf"))[:-300])
    (folder / "pointer.gguf").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    (folder / "model").mkdir()
    model_folder(_valid(seeds("plan")), folder / "model")


def _valid(parts: Iterable[bytes]) -> bytes:
    """The first seed; every target's is a valid file."""
    return next(iter(parts))


TARGETS: dict[str, Callable[[bytes, Path], None]] = {
    "gguf": gguf_file,
    "safetensors": safetensors_file,
    "plan": model_folder,
    "adapter": adapter,
    "quantized": quantized_weights,
    "imatrix": importance,
    "calibration": calibration,
    "hessians": hessians,
    "evaluations": evaluations,
    "mix": mix_file,
    "table": table_file,
    "cli": command_line,
}
