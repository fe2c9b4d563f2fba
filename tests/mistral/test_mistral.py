"""Mistral's own format: the bytes that llama.cpp's converter makes with ``--mistral-format``.

``recorded.json`` holds their digests, of b11549 with mistral_common 1.13.1 (``scripts/record_mistral.py``).
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader

import qconv
from qconv import checkpoints, plan
from qconv.errors import QconvError
from tests.checkpoints import packing
from tests.mistral import models

PROJECTORS = json.loads((Path(__file__).parent / "projectors.json").read_text())
RECORDED = json.loads((Path(__file__).parent / "recorded.json").read_text())


@pytest.mark.parametrize("case", RECORDED)
def test_files_are_llama_cpps(tmp_path: Path, case: str) -> None:
    folder = tmp_path / case
    folder.mkdir()
    models.CASES[case](folder)
    (made,) = qconv.convert(folder, "bf16")
    assert [made.name, hashlib.sha256(made.read_bytes()).hexdigest()] == RECORDED[case]


@pytest.mark.parametrize("case", PROJECTORS)
def test_projectors_are_llama_cpps(tmp_path: Path, case: str) -> None:
    """One run of qconv makes what five of llama.cpp's converter do: the text model, and its projector in four types."""
    folder = tmp_path / case
    folder.mkdir()
    models.PROJECTORS[case](folder)
    made = qconv.convert(folder, "bf16", mmproj=models.TYPES)
    assert [[file.name, hashlib.sha256(file.read_bytes()).hexdigest()] for file in made] == [*PROJECTORS[case].values()]


def test_a_text_model_has_no_projector(tmp_path: Path) -> None:
    models.nemo(tmp_path)
    with pytest.raises(QconvError, match="has no projector: there is no 'vision_encoder' in its config"):
        qconv.convert(tmp_path, mmproj="f16")


def test_a_config_beside_is_not_read(tmp_path: Path) -> None:
    """What the weights are called decides: a config of transformers speaks of others."""
    case = "Mistral-Nemo-Instruct-2407"
    folder = tmp_path / case
    folder.mkdir()
    models.CASES[case](folder)
    (folder / "config.json").write_text('{"architectures": ["MistralForCausalLM"], "hidden_size": 1}')
    (folder / "tokenizer.json").write_text("{}")
    (made,) = qconv.convert(folder, "bf16")
    assert hashlib.sha256(made.read_bytes()).hexdigest() == RECORDED[case][1]


def test_experts_scaled_as_in_8_bit_releases(tmp_path: Path) -> None:
    """llama.cpp's converter leaves ``qscale_weight`` of models with experts over, and stops; they mean the same."""
    models.large(tmp_path)
    params = json.loads((tmp_path / "params.json").read_text())
    params["quantization"] = {"qformat_weight": "fp8_e4m3", "qscheme_act": "TENSOR"}
    (tmp_path / "params.json").write_text(json.dumps(params))
    file = tmp_path / "consolidated.safetensors"
    arrays: dict[str, Any] = {}
    dtypes: dict[str, str] = {}
    for name, tensor in models.read(file).items():
        arrays[name], dtypes[name] = tensor, "BF16"
        if ".experts." in name:
            arrays[name], dtypes[name] = np.full(tensor.shape, 0x3C, np.uint8), "F8_E4M3"  # 1.5
            arrays[name.replace("weight", "qscale_weight")] = np.array(float(name.split(".")[3]), np.float32)
    packing.save(file, arrays, dtypes)
    (made,) = qconv.convert(tmp_path, "f32")
    experts = next(t.data for t in GGUFReader(made).tensors if t.name == "blk.1.ffn_up_exps.weight")
    assert [set(each.reshape(-1).tolist()) for each in experts] == [{0.0}, {1.5}, {3.0}, {4.5}]


def test_a_template_that_is_missing_is_told(tmp_path: Path) -> None:
    models.devstral(tmp_path)
    vocabulary = json.loads((tmp_path / "tekken.json").read_text())
    vocabulary["config"]["version"] = "v99"
    (tmp_path / "tekken.json").write_text(json.dumps(vocabulary))
    with checkpoints.open(tmp_path) as opened:
        model = plan.read_model(opened)
    assert "tokenizer.chat_template" not in model.metadata
    said = next(text for text in model.warnings if "there is no chat template: none is known for v99" in text)
    assert said.endswith("and there is no chat_template.jinja beside the model; put one there")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quantization": {"qformat_weight": "int4"}}, "params.json: is quantized to 'int4'; of Mistral's formats fp8"),
        ({"quantization": []}, "params.json: is quantized to 'None'"),
        ({"moe": {"num_experts": 8, "num_experts_per_tok": 2}}, "with experts and without latent attention"),
        ({"moe": 8}, "has a 'moe' that is not an object"),
        ({"n_layers": None}, "params.json has no 'n_layers'"),
        ({"n_layers": 1}, "has no use for layers.1"),
        ({"vocab_size": 100}, "lies beyond the model's 100 rows"),
        ({"yarn": {"factor": "much"}}, "factor"),
    ],
)
def test_what_cannot_be(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    models.nemo(tmp_path)
    params = json.loads((tmp_path / "params.json").read_text())
    (tmp_path / "params.json").write_text(json.dumps({**params, **changes}))
    with pytest.raises(QconvError, match=message):
        qconv.convert(tmp_path, "bf16")


def test_tokenizer_files_that_are_missing_or_no_such(tmp_path: Path) -> None:
    models.third(tmp_path)
    (tmp_path / "tokenizer.model.v3").write_bytes(b"\x00\xff")
    with pytest.raises(QconvError, match=r"tokenizer\.model\.v3: is not a SentencePiece model"):
        qconv.convert(tmp_path, "bf16")
    for file in tmp_path.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(QconvError, match=r"has no tekken\.json or tokenizer\.model"):
        qconv.convert(tmp_path, "bf16")
