"""BERT's and T5's families where llama.cpp's converter gives up, and what must not slip through."""

from __future__ import annotations

from pathlib import Path

import pytest

from qconv import architectures
from qconv.architectures.derivations.bert import labels, trained_positions_nomic
from qconv.architectures.derivations.pooling import pooling_type
from qconv.architectures.model import ModelContext
from qconv.errors import PlanError
from qconv.storage import LocalFolder
from qconv.types import TensorInfo
from tests.architectures.test_resolve import Headers, golden


def add(checkpoint: Headers, name: str, dtype: str, *shape: int) -> None:
    checkpoint.tensors[name] = TensorInfo(name, dtype, shape)


def test_a_masked_language_models_decoder_is_left_out() -> None:
    checkpoint = golden("modernbert-mlm")
    expected = [output.name for output in architectures.resolve(checkpoint).tensors]
    add(checkpoint, "decoder.bias", "BF16", 288)
    model = architectures.resolve(checkpoint)
    assert [output.name for output in model.tensors] == expected
    assert [source for source, _ in model.dropped] == ["decoder.bias"]


def test_t5_takes_one_of_its_token_embeddings() -> None:
    checkpoint = golden("umt5")
    model = architectures.resolve(checkpoint)
    (embedding,) = (output for output in model.tensors if output.name == "token_embd.weight")
    assert embedding.tensor.sources == ("decoder.embed_tokens.weight",)
    assert {source for source, _ in model.dropped} == {"encoder.embed_tokens.weight", "shared.weight"}


def test_a_decoder_has_its_own_number_of_layers() -> None:
    checkpoint = golden("flan-t5")
    assert checkpoint.config is not None
    assert (checkpoint.config["num_layers"], checkpoint.config["num_decoder_layers"]) == (2, 1)
    names = {output.name for output in architectures.resolve(checkpoint).tensors}
    assert "enc.blk.1.attn_q.weight" in names
    assert "dec.blk.1.attn_q.weight" not in names
    with pytest.raises(PlanError, match=r"decoder\.block\.0"):
        architectures.resolve(checkpoint.without("decoder.block.0.layer.1.EncDecAttention.k.weight"))


@pytest.mark.parametrize("padding", [66, 1000, -2, "one"])
def test_positions_behind_the_last_are_refused(padding: object) -> None:
    checkpoint = golden("xlm-roberta-bare")
    assert checkpoint.config is not None
    checkpoint.config["pad_token_id"] = padding
    with pytest.raises(PlanError):
        architectures.resolve(checkpoint)


def test_further_layers_of_deepseek_are_left_out() -> None:
    model = architectures.resolve(golden("deepseek3-mtp"))
    assert all(source.startswith("model.layers.2.") for source, _ in model.dropped)
    assert len(model.dropped) > 10


@pytest.mark.parametrize("classes", [{"a": "yes"}, {"": "yes", "1": "no"}])
def test_classes_have_numbers(classes: dict[str, str]) -> None:
    with pytest.raises(PlanError, match="'id2label' does not number classes"):
        labels({"id2label": classes})
    assert labels({"id2label": {"10": "c", "2": "b", "0": {}}}) == ["{}", "b", "c"]


def test_a_distilled_classifiers_layers_have_places_of_their_own() -> None:
    """Without names for its classes llama.cpp's converter gives both layers the same name, and fails."""
    checkpoint = golden("distilbert-labels")
    assert checkpoint.config is not None
    del checkpoint.config["id2label"]
    names = {output.name for output in architectures.resolve(checkpoint).tensors}
    assert {"cls.weight", "cls.bias", "cls.output.weight", "cls.output.bias"} <= names


@pytest.mark.parametrize(("promised", "trained"), [(8192, 2048), (2048, 512)])
def test_nomics_positions_are_those_it_was_trained_for(promised: int, trained: int) -> None:
    # llama.cpp's converter, NomicBertModel: versions 1 and 1.5 were trained for 2048 positions, version 2 for 512
    assert trained_positions_nomic(ModelContext({"n_positions": promised})) == trained
    assert trained_positions_nomic(ModelContext({"max_position_embeddings": trained})) == trained
    with pytest.raises(PlanError, match="4096"):
        trained_positions_nomic(ModelContext({"n_positions": 4096}))


@pytest.mark.parametrize(
    "setting", [{"prenorm": True}, {"rotary_emb_interleaved": True}, {"rotary_emb_scale_base": 512}], ids=str
)
def test_nomics_models_are_of_one_kind(setting: dict[str, object]) -> None:
    """llama.cpp's converter asserts that they are."""
    with pytest.raises(PlanError, match=next(iter(setting))):
        trained_positions_nomic(ModelContext({"n_positions": 8192, **setting}))


def test_pooling_of_embedding_config(tmp_path: Path) -> None:
    model = ModelContext({}, folder=LocalFolder(tmp_path))
    assert pooling_type(model) is None
    (tmp_path / "embedding_config.json").write_text('{"pooling": "last_token"}')
    assert pooling_type(model) == 3  # gguf's PoolingType.LAST
    (tmp_path / "embedding_config.json").write_text('{"pooling": "weird"}')
    with pytest.raises(PlanError, match="pools by 'weird'"):
        pooling_type(model)
