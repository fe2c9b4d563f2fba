"""Real vocabularies, in the folder that QCONV_SHARED names: all keys as llama.cpp's converter wrote them."""

from __future__ import annotations

import json
import lzma
import shutil
from pathlib import Path

import pytest

from qconv import tokenizers
from qconv.storage import LocalFolder
from tests.tokenizers.recordings import REFERENCES, load, same_form

KINDS = {
    "BertModel": "wordpiece",
    "CohereForCausalLM": "gpt2",
    "DeepseekV3ForCausalLM": "gpt2",
    "FalconForCausalLM": "gpt2",
    "GPT2LMHeadModel": "gpt2",
    "GPTNeoXForCausalLM": "gpt2",
    "Gemma2ForCausalLM": "gemma2",
    "GraniteForCausalLM": "llama",
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "llama",
    "ModernBertModel": "modern_bert",
    "Olmo2ForCausalLM": "gpt2",
    "Phi3ForCausalLM": "phi3_or_gpt2",
    "Qwen2ForCausalLM": "sentencepiece_or_gpt2",
    "Qwen3ForCausalLM": "sentencepiece_or_gpt2",
    "Starcoder2ForCausalLM": "gpt2",
    "XLMRobertaModel": "xlm_roberta",
}
assert REFERENCES is not None
FOLDERS = sorted(path.parent for path in REFERENCES.glob("*/reference.json"))
assert FOLDERS, f"there are no vocabularies in {REFERENCES}"


def unpack(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        if file.suffix == ".xz":
            (tmp_path / file.stem).write_bytes(lzma.decompress(file.read_bytes()))
        else:
            shutil.copy(file, tmp_path)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda path: path.name)
def test_keys_are_the_converters(folder: Path, tmp_path: Path) -> None:
    unpack(folder, tmp_path)
    config = json.loads((folder / "config.json").read_text("utf-8"))
    made = same_form(tokenizers.metadata(LocalFolder(tmp_path), config, kind=KINDS[config["architectures"][0]]))
    expected = load(folder / "reference.json")
    assert made == expected
    assert list(made) == list(expected)


@pytest.mark.parametrize("kind", ["gemma", "gemma2", "gemma3"])
def test_gemma_without_its_model_gets_the_same_keys(tmp_path: Path, kind: str) -> None:
    assert REFERENCES is not None
    unpack(REFERENCES / "gemma-32k", tmp_path)
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    expected = tokenizers.metadata(LocalFolder(tmp_path), config, kind=kind)
    (tmp_path / "tokenizer.model").unlink()
    made = tokenizers.metadata(LocalFolder(tmp_path), config, kind=kind)
    assert same_form(made) == same_form(expected)
    if kind == "gemma2":
        assert same_form(made) == load(REFERENCES / "gemma-32k" / "reference.json")
