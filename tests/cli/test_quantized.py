"""Quantized checkpoints through the command line: the file that the weights they stand for make, tensor for tensor."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from gguf import GGUFReader, dequantize

from tests.cli.commands import Run, environment
from tests.cli.llama_cpp import complete
from tests.cli.quantized_models import CASES, quantized

RECORDED: dict[str, dict[str, list[str]]] = json.loads((Path(__file__).parent / "quantized.json").read_text())
"""By case what llama.cpp's converter makes: of each tensor its type and the SHA-256 of its data."""
WRONG = ("bitnet-auto",)
"""Read by llama.cpp's converter, but not as they are meant: it divides by this kind's scale too."""


@pytest.mark.parametrize("name", RECORDED)
def test_tensors_are_llama_cpps(qconv: Run, tmp_path: Path, name: str) -> None:
    """To the bit; of NVFP4 those that it carries over."""
    folder, _ = quantized(tmp_path, name)
    file = tmp_path / "out.gguf"
    type = "keep" if name == "nvfp4" else "f32"
    done = qconv("convert", folder, "--type", type, "--output", file, "--progress", "none")
    assert done.returncode == 0, done.stderr
    made = {
        each.name: [each.tensor_type.name, hashlib.sha256(each.data.tobytes()).hexdigest()]
        for each in GGUFReader(file).tensors
    }
    assert made.keys() == RECORDED[name].keys()
    differing = {each for each in made if made[each] != RECORDED[name][each]}
    expected = {each for each in made if "blk." in each and "norm" not in each} if name in WRONG else set()
    assert differing == expected


@pytest.mark.parametrize("name", CASES)
def test_the_file_is_that_of_the_weights(qconv: Run, tmp_path: Path, name: str) -> None:
    made = []
    for folder in quantized(tmp_path, name):
        done = qconv("convert", folder, "--type", "f32", "--output", folder.parent / "out.gguf", "--progress", "none")
        assert done.returncode == 0, done.stderr
        reader = GGUFReader(folder.parent / "out.gguf")
        made.append({tensor.name: (tensor.tensor_type, tensor.data.tobytes()) for tensor in reader.tensors})
    assert len(made[1]) == 12
    assert made[0] == made[1]


@pytest.mark.parametrize(("name", "kind"), [("symmetric", "Q4_0"), ("mlx", "Q4_1"), ("bitsandbytes", "F32")])
def test_kept_weights_are_the_checkpoints(qconv: Run, tmp_path: Path, name: str, kind: str) -> None:
    """Decoded by llama.cpp's own package they are what the plain checkpoint has, to the bit."""
    stored, plain = quantized(tmp_path, name)
    made = []
    for folder, type in ((stored, "keep"), (plain, "f32")):
        done = qconv("convert", folder, "--type", type, "--output", folder.parent / "out.gguf", "--progress", "none")
        assert done.returncode == 0, done.stderr
        reader = GGUFReader(folder.parent / "out.gguf")
        made.append({tensor.name: tensor for tensor in reader.tensors})
    kept, whole = made
    assert {kept[each].tensor_type.name for each in kept if "norm" not in each} == {kind, "F32"}
    for each in whole:
        numbers = dequantize(kept[each].data, kept[each].tensor_type)
        np.testing.assert_array_equal(numbers, whole[each].data)


@pytest.mark.parametrize(("name", "kind"), [("symmetric", "Q4_0"), ("nvfp4", "NVFP4")])
def test_llama_cpp_runs_kept_weights_as_it_runs_the_whole_ones(
    qconv: Run, tmp_path: Path, name: str, kind: str
) -> None:
    """NVFP4's second scales included, which are tensors of their own; activations are rounded to 8 bits on the way."""
    stored, plain = quantized(tmp_path, name)
    likely = []
    for folder, type in ((stored, "keep"), (plain, "f32")):
        file = folder.parent / "out.gguf"
        done = qconv("convert", folder, "--type", type, "--output", file, "--progress", "none")
        assert done.returncode == 0, done.stderr
        likely.append(complete(file, tokens=1, probabilities=5)["logprobs"])
    assert kind in {tensor.tensor_type.name for tensor in GGUFReader(stored.parent / "out.gguf").tensors}
    kept, whole = likely
    shared = kept.keys() & whole.keys()
    assert len(shared) >= 3
    assert max(abs(kept[token] - whole[token]) for token in shared) < 0.1


def test_a_dry_run_says_what_is_kept_and_why_not(qconv: Run, tmp_path: Path) -> None:
    stored, _ = quantized(tmp_path, "bitsandbytes")
    shown = qconv("convert", stored, "--type", "keep", "--dry-run", env=environment(COLUMNS="200"))
    assert shown.returncode == 0, shown.stderr
    assert "not kept: values of a table, which no type holds" in shown.stdout + shown.stderr
    assert "7 quantized tensors are not kept" in " ".join(shown.stderr.split())


def test_a_mix_of_ones_own_keeps_what_it_can(qconv: Run, tmp_path: Path) -> None:
    """The rest as asked."""
    stored, _ = quantized(tmp_path, "symmetric")
    mix = tmp_path / "mine.toml"
    mix.write_text('extends = "q8_0"\nkeep = true\n')
    done = qconv("convert", stored, "--mix", mix, "--output", tmp_path / "out.gguf", "--progress", "none")
    assert done.returncode == 0, done.stderr
    kinds = {tensor.name: tensor.tensor_type.name for tensor in GGUFReader(tmp_path / "out.gguf").tensors}
    assert (kinds["blk.0.attn_q.weight"], kinds["token_embd.weight"]) == ("Q4_0", "Q8_0")


@pytest.mark.parametrize(
    ("base", "told"), [("org/Noise", True), ("org/Noise-bnb-4bit", False), ("org/Gemma-3", True), (None, False)]
)
def test_the_base_that_was_quantized_makes_a_better_file(qconv: Run, tmp_path: Path, base: str, told: bool) -> None:
    stored, plain = quantized(tmp_path, "mlx")
    for folder in (stored, plain):
        (folder / "README.md").write_text(f"---\nbase_model: {base}\n---\n" if base else "")
    said = " ".join(qconv("convert", stored, "--type", "q8_0", "--dry-run").stderr.split())
    assert (f"quantized by 'mlx'; if https://huggingface.co/{base} is what was quantized, convert that" in said) == told
    assert "is what was quantized" not in qconv("convert", plain, "--type", "q8_0", "--dry-run").stderr
