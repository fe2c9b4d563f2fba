"""Dense modules of sentence-transformers: written when asked for, told as left out otherwise.

Names, keys and their order are those of llama.cpp's converter with ``--sentence-transformers-dense-modules``: the
tensors before all others, the keys between the window and the pooling.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qconv import gguf, plan
from qconv.errors import InputError, QconvError, UnsupportedError
from qconv.options import ConvertOptions
from tests.architectures import tiny
from tests.checkpoints import packing
from tests.cli.commands import Run

HERE = Path(__file__).parents[1]
OPTION = "--sentence-transformers-dense-modules"
IDENTITY = {
    "in_features": 192,
    "out_features": 64,
    "bias": False,
    "activation_function": "torch.nn.modules.linear.Identity",
}
FIRST, SECOND = packing.numbers(64, 192), packing.numbers(192, 64, seed=1)


@pytest.fixture
def embedding(tmp_path: Path) -> Path:
    """A tiny EmbeddingGemma with its tokenizer and modules."""
    folder = tmp_path / "Embedding"
    golden = json.loads((HERE / "architectures" / "goldens" / "embeddinggemma.json").read_text("utf-8"))
    tiny.write(folder, golden["config"], golden["tensors"])
    (folder / "tokenizer.json").unlink()
    for name in ("tokenizer.model", "tokenizer_config.json"):
        shutil.copy(HERE / "tokenizers" / "cases" / "gemma" / name, folder)
    kinds = ("Transformer", "Pooling", "Dense", "Dense", "Normalize")
    paths = ("", "1_Pooling", "2_Dense", "3_Dense", "4_Normalize")
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(zip(kinds, paths, strict=True))
    ]
    write(folder / "modules.json", modules)
    write(folder / "1_Pooling" / "config.json", {"pooling_mode_mean_tokens": True})
    for name, weight in (("2_Dense", FIRST), ("3_Dense", SECOND)):
        write(folder / name / "config.json", IDENTITY)
        packing.save(folder / name / "model.safetensors", {"linear.weight": weight})
    return folder


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value))


def planned(folder: Path, **options: Any) -> plan.Plan:
    wanted = ConvertOptions(types=("f32",), **options)
    with plan.open_source(folder, wanted) as checkpoint:
        (made,) = plan.make(checkpoint, wanted)
    return made


def test_they_are_written_when_asked_for(embedding: Path, qconv: Run) -> None:
    file = embedding / "x.gguf"
    made = qconv("convert", embedding, "--type", "f32", OPTION, "--output", file)
    assert made.returncode == 0, made.stderr
    assert "left out" not in made.stderr
    header = gguf.read(file)
    keys = [key.removeprefix("gemma-embedding.") for key in header.metadata]
    at = keys.index("attention.sliding_window")
    assert keys[at + 1 : at + 6] == [
        *("dense_2_feat_in", "dense_2_feat_out", "dense_3_feat_in", "dense_3_feat_out"),
        "pooling_type",
    ]
    sizes = [header.metadata[f"gemma-embedding.{key}"] for key in keys[at + 1 : at + 5]]
    assert [(size.type.name, size.data) for size in sizes] == [("UINT32", n) for n in (192, 64, 64, 192)]
    assert list(header.tensors)[:3] == ["dense_2.weight", "dense_3.weight", "token_embd.weight"]
    for name, weight in (("dense_2.weight", FIRST), ("dense_3.weight", SECOND)):
        tensor = header.tensors[name]
        assert tensor.info.shape == weight.shape
        assert file.read_bytes()[tensor.offset : tensor.offset + tensor.size] == weight.tobytes()


def test_they_are_told_as_left_out(embedding: Path) -> None:
    made = planned(embedding)
    assert made.tensors[0].name == "token_embd.weight"
    (said,) = made.warnings
    assert said.startswith(
        "sentence-transformers' modules are left out, so embeddings will be others: 2_Dense, 3_Dense ("
    )
    assert f"{OPTION} writes them" in said


def test_modules_that_have_no_place(embedding: Path, checkpoint: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "Noise"))
    for name in ("modules.json", "1_Pooling", "2_Dense", "3_Dense"):
        shutil.move(embedding / name, folder)
    assert any("2_Dense, 3_Dense (llama.cpp has no place for them here)" in text for text in planned(folder).warnings)
    with pytest.raises(QconvError, match=r"no use for 2_Dense\.linear\.weight, .*convert without the Dense modules"):
        planned(folder, sentence_transformers_dense_modules=True)


def test_other_kinds_of_modules_are_told(embedding: Path) -> None:
    modules = json.loads((embedding / "modules.json").read_text())
    modules[2]["type"] = "sentence_transformers.models.LayerNorm"
    write(embedding / "modules.json", modules)
    (said,) = planned(embedding).warnings
    assert "2_Dense, 3_Dense (llama.cpp has no place for them here)" in said


@pytest.mark.parametrize("text", ["[]", "{}", "[1]", "nothing"])
def test_no_modules(checkpoint: Path, tmp_path: Path, text: str) -> None:
    folder = Path(shutil.copytree(checkpoint, tmp_path / "Noise"))
    (folder / "modules.json").write_text(text)
    assert planned(folder).warnings == ()
    with pytest.raises(InputError, match=r"has no Dense modules in its modules\.json"):
        planned(folder, sentence_transformers_dense_modules=True)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"activation_function": "torch.nn.modules.activation.Tanh"}, "has the activation 'torch.nn.*Tanh'"),
        ({"activation_function": None}, "has the activation 'None'"),
    ],
)
def test_what_the_runtime_cannot_do_is_refused(embedding: Path, change: dict[str, Any], said: str) -> None:
    write(embedding / "2_Dense" / "config.json", IDENTITY | change)
    with pytest.raises(UnsupportedError, match=rf"2_Dense/config\.json: {said}"):
        planned(embedding, sentence_transformers_dense_modules=True)


def test_a_bias_is_refused(embedding: Path) -> None:
    bias = np.zeros(64, np.float32)
    packing.save(embedding / "2_Dense" / "model.safetensors", {"linear.weight": FIRST, "linear.bias": bias})
    with pytest.raises(UnsupportedError, match=r"tensor 'linear\.bias': is in a Dense module"):
        planned(embedding, sentence_transformers_dense_modules=True)


def test_modules_outside_the_folder_are_refused(embedding: Path) -> None:
    modules = json.loads((embedding / "modules.json").read_text())
    modules[2]["path"] = "../2_Dense"
    write(embedding / "modules.json", modules)
    with pytest.raises(InputError, match="names a folder outside its own"):
        planned(embedding, sentence_transformers_dense_modules=True)


def test_pickled_modules_are_never_opened(embedding: Path) -> None:
    (embedding / "3_Dense" / "model.safetensors").rename(embedding / "3_Dense" / "pytorch_model.bin")
    with pytest.raises(UnsupportedError, match=r"3_Dense/pytorch_model\.bin: holds pickled PyTorch weights"):
        planned(embedding, sentence_transformers_dense_modules=True)
    assert "2_Dense, 3_Dense" in planned(embedding).warnings[0]
