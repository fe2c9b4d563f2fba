"""SentencePiece's vocabularies without ``tokenizer.model``, which transformers 5 saves no more.

What llama.cpp's converter makes of a real one's ``tokenizer.model`` is compared in ``test_tokenizer_references.py``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qconv import tokenizers
from qconv.errors import TokenizerError, UsageError
from qconv.storage import LocalFolder
from qconv.types import Metadata

SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>", "▁▁"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
MERGED = ["▁t", "he", "▁the"]
TOKENS = [*SPECIAL, *BYTES, *MERGED, "▁", "t", "h", "e"]
MERGES = [["▁", "▁"], ["▁", "t"], ["h", "e"], ["▁t", "he"]]
FIRST = len(SPECIAL) + len(BYTES)


def tokenizer(**changes: Any) -> dict[str, Any]:
    """A ``tokenizer.json`` as Gemma's: pieces with ▁, bytes to fall back on."""
    added = [{"id": i, "content": text, "special": text != "▁▁", "normalized": False} for i, text in enumerate(SPECIAL)]
    model = {
        "type": "BPE",
        "unk_token": "<unk>",
        "byte_fallback": True,
        "fuse_unk": True,
        "vocab": {text: i for i, text in enumerate(TOKENS)},
        "merges": MERGES,
    }
    return {
        "added_tokens": added,
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"String": " "},
            "behavior": "MergedWithPrevious",
            "invert": False,
        },
        "post_processor": None,
        "decoder": {"type": "Sequence", "decoders": []},
        "model": model | changes,
    }


def convert(folder: Path, file: dict[str, Any], kind: str, *, pre: str | None = None, **config: Any) -> Metadata:
    (folder / "tokenizer.json").write_text(json.dumps(file), "utf-8")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "GemmaTokenizer", "bos_token": "<bos>", "eos_token": "<eos>"})
    )
    return tokenizers.metadata(LocalFolder(folder), config, kind=kind, pre=pre)


@pytest.mark.parametrize("kind", ["gemma", "gemma2", "gemma3"])
@pytest.mark.parametrize("lists", [True, False])
def test_gemma_without_its_model(tmp_path: Path, kind: str, lists: bool) -> None:
    """Added tokens score -1000 and are control tokens or the user's, whose ▁ is a space; pieces score by their rank."""
    merges = MERGES if lists else [" ".join(merge) for merge in MERGES]
    keys = convert(tmp_path, tokenizer(merges=merges), kind, vocab_size=len(TOKENS) + 2)
    data = {key.removeprefix("tokenizer.ggml."): value.data for key, value in keys.items()}
    assert (data["model"], data["pre"], data["add_space_prefix"]) == ("llama", "default", False)
    assert list(data["tokens"]) == [
        text.encode() for text in [*SPECIAL[:4], "  ", *TOKENS[5:], f"[PAD{len(TOKENS)}]", f"[PAD{len(TOKENS) + 1}]"]
    ]
    ranks = [-float(FIRST + i) for i in range(len(MERGED) + 4)]
    np.testing.assert_array_equal(data["scores"], [-1000.0] * 5 + [0.0] * 256 + ranks + [-10000.0] * 2)
    normal = [1] * (len(MERGED) + 4)
    np.testing.assert_array_equal(data["token_type"], [3, 3, 3, 3, 4] + [6] * 256 + normal + [5, 5])
    assert (data["bos_token_id"], data["eos_token_id"]) == (2, 1)


def test_ids_that_are_not_in_the_order_of_merges(tmp_path: Path) -> None:
    """The runtime merges what scores highest, so the order of merges counts."""
    turned = [MERGES[0], MERGES[2], MERGES[1], MERGES[3]]
    scores = convert(tmp_path, tokenizer(merges=turned), "gemma2")["tokenizer.ggml.scores"].data
    by_piece = dict(zip(TOKENS, scores, strict=True))
    assert by_piece["he"] > by_piece["▁t"] > by_piece["▁the"] > by_piece["e"]


def test_pieces_past_the_embedding_are_told(tmp_path: Path) -> None:
    notes: list[str] = []
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer()), "utf-8")
    keys = tokenizers.metadata(LocalFolder(tmp_path), {"vocab_size": len(TOKENS) - 1}, kind="gemma2", note=notes.append)
    assert len(keys["tokenizer.ggml.tokens"].data) == len(TOKENS) - 1
    assert f"'e' ({len(TOKENS) - 1})" in notes[0]


@pytest.mark.parametrize("kind", ["gemma", "gemma2"])
@pytest.mark.parametrize("changes", [{"byte_fallback": False}, {"type": "Unigram", "vocab": [["a", 0.0]]}])
def test_other_vocabularies_say_which_file_to_copy(tmp_path: Path, kind: str, changes: dict[str, Any]) -> None:
    with pytest.raises(TokenizerError, match=r"no tokenizer\.model, nor .*copy tokenizer\.model from the base model"):
        convert(tmp_path, tokenizer(**changes), kind)


@pytest.mark.parametrize("pre", [None, "llama-bpe", "default"])
def test_no_byte_level_bpe_is_made_of_it(tmp_path: Path, pre: str | None) -> None:
    """Whatever --pre says: llama.cpp cannot load such a file."""
    with pytest.raises(TokenizerError, match=r"holds SentencePiece's BPE.*copy tokenizer\.model from the base model"):
        convert(tmp_path, tokenizer(), "gpt2", pre=pre)


def test_pre_takes_only_what_bpe_knows(tmp_path: Path) -> None:
    """These two are names of vocabularies of words (llama.cpp's ``llama-vocab.cpp`` knows neither)."""
    for name in ("bert-bge-large", "jina-v2-en"):
        with pytest.raises(UsageError, match=f"no pre-tokenizer is called '{name}'"):
            tokenizers.check_pre(name)


def test_no_guess_that_is_far_off(tmp_path: Path) -> None:
    split = {"type": "Split", "pattern": {"Regex": "."}, "behavior": "Isolated", "invert": False}
    letters = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    file = tokenizer(byte_fallback=False)
    for steps in ([split, letters], [split], []):
        file["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": steps}
        with pytest.raises(TokenizerError, match="unknown pre-tokenizer") as caught:
            convert(tmp_path, file, "gpt2")
        assert "nearest" not in str(caught.value)
        assert "if the base model's tokenizer files convert, use those" in str(caught.value)
