"""Encoding with the part of a model that a text can meet gives the ids that the whole model gives."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import tokenizers as library

from qconv.storage import LocalFolder
from qconv.tokenizers.excerpt import excerpt
from qconv.tokenizers.files import TokenizerFiles
from qconv.tokenizers.huggingface import HfTokenizer
from qconv.tokenizers.tables import tables

CASE = Path(__file__).parent / "cases" / "bpe-added"


def whole(path: Path) -> dict[str, Any]:
    tokenizer: dict[str, Any] = json.loads((path / "tokenizer.json").read_text("utf-8"))
    return tokenizer


def trained(text: str, **settings: Any) -> dict[str, Any]:
    """A byte-level BPE of 400 tokens learnt from ``text``."""
    made = library.Tokenizer(library.models.BPE(**settings))
    made.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=settings.get("prefix", False))
    alphabet = library.pre_tokenizers.ByteLevel.alphabet()
    trainer = library.trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator([text], trainer)
    tokenizer: dict[str, Any] = json.loads(made.to_str())
    return tokenizer


def test_check_text_has_one_normal_form() -> None:
    text = tables().check_text
    assert {unicodedata.normalize(form, text) for form in ("NFC", "NFD")} == {text}


@pytest.mark.parametrize("ignore_merges", [False, True])
def test_same_ids_with_a_part_of_the_model(tmp_path: Path, ignore_merges: bool) -> None:
    check_text = tables().check_text
    file = trained(check_text + " and a few more words, which the check text does not have; 12345 " * 3)
    file["model"]["ignore_merges"] = ignore_merges
    (tmp_path / "tokenizer.json").write_text(json.dumps(file))
    source = TokenizerFiles(LocalFolder(tmp_path))
    tokenizer = HfTokenizer(source)
    part = excerpt(tokenizer.file, check_text, tokenizer.vocab, source.merges, [])
    assert len(part["merges"]) < len(file["model"]["merges"])
    expected = library.Tokenizer.from_str(json.dumps(file)).encode(check_text).ids
    assert tokenizer.encode(check_text, special=True) == expected


def test_a_model_of_another_kind_stays_whole() -> None:
    source = TokenizerFiles(LocalFolder(CASE.parent / "spm-json"))
    file = source.tokenizer_json
    assert file is not None
    assert excerpt(file, "text", {}, [], []) is file.model
