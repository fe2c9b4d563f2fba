"""Small checkpoints and importance matrices for them: the same bytes wherever they are made.

``scripts/record_imatrix.py`` gives them to llama.cpp, the tests beside to qconv.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
from numpy.typing import NDArray

from tests.architectures.tiny import weights
from tests.cli.commands import make_checkpoint

F32 = NDArray[np.float32]
EXPERTS = 8

MODELS: dict[str, tuple[str, ...]] = {
    # eight layers: the first of them is an eighth, where some types choose otherwise with a matrix
    "Dense": ("--layers", "8", "--ffn", "256", "--vocab", "288"),
    # rows of 320 and 288 fit no super-block; five query heads share a key and value head
    "Misfit": ("--layers", "2", "--hidden", "320", "--heads", "5", "--kv-heads", "1", "--ffn", "288", "--untied"),
    "Experts": ("--layers", "2", "--ffn", "256", "--vocab", "288"),
}
"""Names, and the options of ``scripts/make_checkpoint`` they are made with; experts are put into the last."""


def make(name: str, directory: Path) -> Path:
    """The checkpoint ``name`` in a folder of its own under ``directory``."""
    made = make_checkpoint(directory / name, *MODELS[name])
    if name == "Experts":
        _put_experts(made)
    return made


def _put_experts(checkpoint: Path) -> None:
    """Makes a Mixtral of a Llama: eight feed-forward parts a layer, chosen among by a gate."""
    config = json.loads((checkpoint / "config.json").read_text("utf-8"))
    config |= {"architectures": ["MixtralForCausalLM"], "model_type": "mixtral"}
    config |= {"num_local_experts": EXPERTS, "num_experts_per_tok": 2}
    (checkpoint / "config.json").write_text(json.dumps(config), "utf-8")
    file = checkpoint / "model.safetensors"
    data = file.read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    hidden, ffn = config["hidden_size"], config["intermediate_size"]
    parts: dict[str, tuple[list[int], bytes]] = {}
    for tensor, about in json.loads(data[8:begin]).items():
        if tensor != "__metadata__" and ".mlp." not in tensor:
            start, stop = (begin + offset for offset in about["data_offsets"])
            parts[tensor] = about["shape"], data[start:stop]
    for layer in range(config["num_hidden_layers"]):
        start_of = f"model.layers.{layer}.block_sparse_moe."
        shapes = {"gate": [EXPERTS, hidden]}
        for expert in range(EXPERTS):
            for part, shape in (("w1", [ffn, hidden]), ("w2", [hidden, ffn]), ("w3", [ffn, hidden])):
                shapes[f"experts.{expert}.{part}"] = shape
        for part, shape in shapes.items():
            tensor = f"{start_of}{part}.weight"
            parts[tensor] = shape, weights(tensor, "BF16", tuple(shape))
    header, offset = {}, 0
    for tensor, (shape, raw) in parts.items():
        header[tensor] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, offset + len(raw)]}
        offset += len(raw)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(raw for _, raw in parts.values()))


@dataclass(frozen=True)
class Entry:
    """Sums of squares, a row for each matrix of the tensor, and how many tokens each matrix saw."""

    sums: F32
    counts: F32


def entries(name: str) -> dict[str, Entry]:
    """The importance of a model's tensors, by the names they have in GGUF.

    Some columns are never active, some experts never chosen, a tensor may be left out, and the embedding's entry has a
    size that fits nothing.
    """
    options = dict(zip(MODELS[name][::2], MODELS[name][1::2], strict=False))
    hidden, ffn = int(options.get("--hidden", 256)), int(options["--ffn"])
    matrix = {"token_embd.weight": _entry("token_embd.weight", 1, 7)}
    if "--untied" in MODELS[name]:
        matrix["output.weight"] = _entry("output.weight", 1, hidden)
    for layer in range(int(options["--layers"])):
        for part in ("attn_q", "attn_k", "attn_v", "attn_output"):
            matrix[f"blk.{layer}.{part}.weight"] = _entry(f"blk.{layer}.{part}.weight", 1, hidden)
        for part, columns in (("gate", hidden), ("up", hidden), ("down", ffn)):
            experts = EXPERTS if name == "Experts" else 1
            tensor = f"blk.{layer}.ffn_{part}{'_exps' if experts > 1 else ''}.weight"
            matrix[tensor] = _entry(tensor, experts, columns)
    if name != "Dense":  # q2_k_s needs them all
        del matrix["blk.1.attn_v.weight"]
    return matrix


def _entry(name: str, matrices: int, columns: int) -> Entry:
    """Made of integers and products of float32, so that no function of a library decides a bit."""
    random = np.random.PCG64(zlib.crc32(name.encode()))
    raw = random.random_raw(matrices * columns).astype(np.uint64).reshape(matrices, columns)
    level = (raw & np.uint64(0xFFFF)).astype(np.float32) * np.float32(2**-14)
    scale = (np.uint64(1) << (raw >> np.uint64(16)) % np.uint64(7)).astype(np.float32)
    sums = np.where((raw >> np.uint64(32)) % np.uint64(19) == 0, np.float32(0), level * level * scale)
    counts = (random.random_raw(matrices) % 700 + 1).astype(np.float32)
    if matrices > 1:
        counts[[2, 5]] = 0  # experts that no token chose
        sums[2] = 0
    return Entry(sums, counts)


def write_gguf(path: Path, matrix: Mapping[str, Entry]) -> None:
    """The matrix as llama-imatrix writes it today."""
    writer = gguf.GGUFWriter(path, "")
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", ["calibration-naïve.txt", "code.txt"])
    writer.add_uint32("imatrix.chunk_count", 3)
    writer.add_uint32("imatrix.chunk_size", 512)
    for name, entry in matrix.items():
        writer.add_tensor(f"{name}.in_sum2", entry.sums)
        writer.add_tensor(f"{name}.counts", entry.counts.reshape(-1, 1))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_dat(path: Path, matrix: Mapping[str, Entry], *, end: bytes | None = None) -> None:
    """The matrix as llama-imatrix wrote it once: means times calls, one number of calls for all of a tensor's matrices.

    ``end``: what follows the entries; by default the chunks and the data set.
    """
    calls = 5
    parts = [struct.pack("<i", len(matrix))]
    for name, entry in matrix.items():
        counts = np.maximum(entry.counts, 1).reshape(-1, 1)
        values = np.where(entry.counts.reshape(-1, 1) > 0, entry.sums / counts, 1) * np.float32(calls)
        text = name.encode()
        parts += [struct.pack("<i", len(text)), text, struct.pack("<ii", calls, values.size)]
        parts += [values.astype("<f4").tobytes()]
    dataset = b"wiki.train.raw"
    parts += [struct.pack("<ii", 40, len(dataset)) + dataset if end is None else end]
    path.write_bytes(b"".join(parts))


def write_matrices(directory: Path, name: str) -> None:
    """Every file of importances that ``RUNS`` name, for the model."""
    matrix = entries(name)
    write_gguf(directory / "imatrix.gguf", matrix)
    write_dat(directory / "imatrix.dat", matrix)
    write_dat(directory / "ends early.dat", matrix, end=b"")
    write_dat(directory / "torn.dat", matrix, end=b"\x05\x01")
    (directory / LONG).parent.mkdir()
    write_gguf(directory / LONG, matrix)


LONG = "the folder/" + "é" * 64 + ".gguf"
"""Longer than the 127 bytes llama-quantize keeps, which end inside a character."""

ALL = (
    *("q2_k", "q2_k_s", "q3_k_s", "q3_k_m", "q3_k_l", "q4_0", "q4_1", "q4_k_s", "q4_k_m"),
    *("q5_0", "q5_1", "q5_k_s", "q5_k_m", "q6_k", "q8_0", "iq4_nl", "iq4_xs", "f16"),
)
SOME = ("q2_k", "q3_k_m", "q4_k_m", "iq4_nl", "iq4_xs")


@dataclass(frozen=True)
class Run:
    """One or more types made with a matrix; ``options`` are those of both command lines."""

    model: str
    imatrix: str
    types: tuple[str, ...]
    options: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return " ".join((self.model, self.imatrix, *self.options))


def runs() -> Iterator[Run]:
    for name in MODELS:
        yield Run(name, "imatrix.gguf", ALL)
        yield Run(name, "imatrix.dat", SOME)
    yield Run("Misfit", "ends early.dat", ("q4_0",))
    yield Run("Misfit", "torn.dat", ("q4_0",))
    yield Run("Misfit", LONG, ("q4_0",))
    yield Run("Misfit", ".//imatrix.gguf", ("q4_0",))
    for name in ("Dense", "Experts"):
        yield Run(name, "imatrix.gguf", SOME, ("--include-weights", "ffn_down", "--include-weights", "attn_"))
        yield Run(name, "imatrix.gguf", SOME, ("--exclude-weights", "attn_k", "--exclude-weights", "blk.0."))
    yield Run("Dense", "imatrix.gguf", SOME, ("--include-weights", "no such tensor"))
    yield Run("Experts", "imatrix.dat", ("q4_k_m",), ("--exclude-weights", "_exps"))
    yield Run("Experts", "imatrix.gguf", ("q3_k_m",), ("--pure",))
    yield Run("Dense", "imatrix.gguf", ("iq4_xs",), ("--tensor-type", "ffn_=q2_k", "--token-embedding-type", "q4_k"))
    yield Run("Dense", "imatrix.gguf", ("q5_0",), ("--override-kv", "quantize.imatrix.file=str:mine"))


RUNS = tuple(runs())
