"""Vocabularies in files of a model's own: what no recording shows, and what a user sees when the files are wrong."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qconv import architectures, tokenizers
from qconv.errors import FormatError, TokenizerError
from qconv.storage import LocalFolder
from qconv.tokenizers import tiktoken
from qconv.types import Metadata, Value

CASES = Path(__file__).parent / "cases"
BYTES = {bytes([b]): b for b in range(256)}


@pytest.fixture
def copy(tmp_path: Path) -> Callable[[str], Path]:
    def copied(name: str) -> Path:
        return Path(shutil.copytree(CASES / name, tmp_path / name))

    return copied


def convert(folder: Path, **changes: Any) -> Metadata:
    kind = json.loads((folder / "case.json").read_text())["kind"]
    config = json.loads((folder / "config.json").read_text())
    return tokenizers.metadata(LocalFolder(folder), {**config, **changes}, kind=kind)


def test_merges_are_those_of_the_lowest_ranks() -> None:
    ranks = {**BYTES, b"ab": 256, b"bc": 257, b"abc": 258, b"abcabc": 259, b"zzz": 260}
    # "abc" is "ab" and "c" as "ab" ranks before "bc"; nothing makes "zzz"
    assert tiktoken.merges(ranks) == [b"a b", b"b c", b"ab c", b"abc abc"]


@pytest.mark.parametrize("template", [None, "file"])
def test_an_architectures_chat_template(copy: Callable[[str], Path], template: str | None) -> None:
    folder = copy("bpe-added")
    said = json.loads((folder / "tokenizer_config.json").read_text())
    config = {k: v for k, v in said.items() if k != "chat_template"} | ({"chat_template": template} if template else {})
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    keys = tokenizers.metadata(LocalFolder(folder), {}, kind="gpt2", options={"chat_template": "set"}, pre="gpt-2")
    assert keys["tokenizer.chat_template"].data == "set"


def test_merges_spell_bytes_as_letters() -> None:
    assert tiktoken.merges({**BYTES, b" \xc3": 256}) == ["Ġ Ã".encode()]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "has no tokens"),
        (b"YQ==", "line 1 is not a token in base64"),
        (b"YQ== 0\n!! 1", "line 2 is not a token in base64"),
        (b"YQ== 0\nYg== 0", "two of one rank"),
        (b"YQ== -1", "line 1: a token of 1 bytes of rank -1"),
        (base64.b64encode(bytes(1025)) + b" 0", "line 1: a token of 1025 bytes"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
    ],
)
def test_damaged_ranks(tmp_path: Path, text: bytes, why: str) -> None:
    (tmp_path / "qwen.tiktoken").write_bytes(text)
    with pytest.raises(FormatError, match=why):
        tokenizers.metadata(LocalFolder(tmp_path), {}, kind="qwen_tiktoken")


def test_numbered_tokens_end_with_the_embedding(copy: Callable[[str], Path]) -> None:
    keys = convert(copy("qwen"), vocab_size=256 + 8 + 3 + 2)
    assert keys["tokenizer.ggml.tokens"].data[-2:] == [b"<|extra_0|>", b"<|extra_1|>"]


def test_the_named_ones_must_fit(copy: Callable[[str], Path]) -> None:
    with pytest.raises(TokenizerError, match="token id 266 lies beyond the model's 266 rows"):
        convert(copy("qwen"), vocab_size=256 + 8 + 2)


def test_glm_4_has_ranks_under_sentencepieces_name(tmp_path: Path) -> None:
    """``tokenizer.model`` of glm-4-9b, which llama.cpp's converter has no way to read."""
    tokens = [*(bytes([b]) for b in range(256)), b"he", b" he"]
    lines = [base64.b64encode(text) + b" %d" % rank for rank, text in enumerate(tokens)]
    (tmp_path / "tokenizer.model").write_bytes(b"\n".join(lines))
    special = {"<|endoftext|>": 258, "[gMASK]": 259, "<|user|>": 260}
    decoder = {str(i): {"content": text, "special": True} for text, i in special.items()}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"added_tokens_decoder": decoder}))
    keys = tokenizers.metadata(LocalFolder(tmp_path), {"vocab_size": 1, "padded_vocab_size": 262}, kind="chatglm")
    assert keys["tokenizer.ggml.model"].data == "gpt2"
    assert keys["tokenizer.ggml.pre"].data == "chatglm-bpe"
    last = [b"he", "Ġhe".encode(), b"<|endoftext|>", b"[gMASK]", b"<|user|>", b"[PAD261]"]
    assert keys["tokenizer.ggml.tokens"].data[256:] == last
    assert list(keys["tokenizer.ggml.token_type"].data[256:]) == [1, 1, 3, 3, 3, 5]
    assert keys["tokenizer.ggml.merges"].data == [b"h e", "Ġ he".encode()]
    ids = {name: keys[f"tokenizer.ggml.{name}_token_id"].data for name in ("eos", "eot", "unknown")}
    assert ids == {"eos": 258, "eot": 260, "unknown": 258}


@pytest.mark.parametrize(
    "line", ["1 'a'", "1 a 1", "1 'ab' 1", r"1 '\q' 1", "1 b'é' 2 3", r"1 '\ud800' 3", "1 'a\" 1", r"1 '\U99999999' 1"]
)
def test_damaged_rwkv_vocabulary(copy: Callable[[str], Path], line: str) -> None:
    folder = copy("rwkv")
    (folder / "rwkv_vocab_v20230424.txt").write_text(f"1 'a' 1\n{line}\n")
    with pytest.raises(FormatError, match=r"rwkv_vocab_v20230424\.txt: line 2 is not an id, text and length"):
        convert(folder)


def test_plamo_names_a_token_that_is_missing(copy: Callable[[str], Path]) -> None:
    folder = copy("plamo2")
    (folder / "tokenizer.jsonl").write_text('["<|plamo:bos|>", 0.0, "CONTROL"]\n')
    with pytest.raises(TokenizerError, match=r"tokenizer\.jsonl: no token is '<\|plamo:eos\|>', its 'eos'"):
        convert(folder)


def test_plamo_wants_a_class_it_knows(copy: Callable[[str], Path]) -> None:
    folder = copy("plamo2")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "LlamaTokenizer"}')
    with pytest.raises(TokenizerError, match="names the class 'LlamaTokenizer', which is not one of PLaMo's"):
        convert(folder)


def test_xverse_has_a_token_for_every_row(copy: Callable[[str], Path]) -> None:
    with pytest.raises(TokenizerError, match="has 268 tokens for the model's 300 rows of embedding"):
        convert(copy("xverse"), vocab_size=300)


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("", {}),
        (None, {}),
        ([], {}),
        ([{"name": "default", "template": ""}], {}),
        ([{"name": "default", "template": "x"}], {"": "x"}),
        # the converter lists the name of an empty one, and writes no key for it
        (
            [{"name": "default", "template": ""}, {"name": "tool_use", "template": "t"}],
            {"s": ["tool_use"], ".tool_use": "t"},
        ),
        ([{"name": "rag", "template": ""}, {"name": "default", "template": "x"}], {"s": ["rag"], "": "x"}),
        (" ", {"": " "}),
    ],
)
def test_empty_chat_templates_are_none(
    copy: Callable[[str], Path], template: object, expected: dict[str, object]
) -> None:
    """As gguf-py's ``add_string``, which writes no empty text."""
    folder = copy("bpe-added")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": template}))
    said = {key: value.data for key, value in convert(folder).items() if key.startswith("tokenizer.chat_template")}
    assert said == {f"tokenizer.chat_template{end}": value for end, value in expected.items()}


@pytest.mark.parametrize("name", ["chat_template.jinja", "chat_template.json"])
def test_empty_files_of_chat_templates_are_none(copy: Callable[[str], Path], name: str) -> None:
    folder = copy("bpe-added")
    config = json.loads((folder / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / name).write_text('{"chat_template": ""}' if name.endswith(".json") else "")
    assert not any(key.startswith("tokenizer.chat_template") for key in convert(folder))
    folder = copy("minimax-template")
    (folder / "chat_template.jinja").write_text("")
    assert convert(folder).get("tokenizer.chat_template", Value.string("none")).data


def test_types_of_tokens_stand_behind_a_byte_level_vocabulary() -> None:
    folder = LocalFolder(CASES / "bpe-roberta")
    keys = tokenizers.metadata(folder, {"type_vocab_size": 1}, kind="roberta", pre="gpt-2")
    assert list(keys.items())[-1] == ("tokenizer.ggml.token_type_count", Value.uint32(1))
    jina = tokenizers.metadata(folder, {"type_vocab_size": 1}, kind="jina_bert", pre="gpt-2")
    assert list(jina) == list(keys)
    assert jina["tokenizer.ggml.token_type_count"] == Value.uint32(2)  # whatever the config says


def test_jinas_vocabulary_of_words(copy: Callable[[str], Path]) -> None:
    folder = copy("bpe-roberta")
    file = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(file | {"pre_tokenizer": {"type": "Whitespace"}}))
    keys = tokenizers.metadata(LocalFolder(folder), {}, kind="jina_bert")
    assert (keys["tokenizer.ggml.model"].data, keys["tokenizer.ggml.pre"].data) == ("whitespace", "whitespace")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "T5Tokenizer"}')
    with pytest.raises(TokenizerError, match="names the tokenizer class 'T5Tokenizer', known here are BertTokenizer"):
        tokenizers.metadata(LocalFolder(folder), {}, kind="jina_bert")


def kimi(folder: Path) -> LocalFolder:
    """Bytes, one merge, and special tokens from 257 on, of which two have names."""
    tokens = [*BYTES, b"ab"]
    lines = (base64.b64encode(token) + b" %d" % rank for rank, token in enumerate(tokens))
    (folder / "tiktoken.model").write_bytes(b"\n".join(lines) + b"\n")
    named = {"257": {"content": "[BOS]", "special": True}, "259": {"content": "<|im_end|>", "special": True}}
    config = {"added_tokens_decoder": named, "eos_token": "<|im_end|>", "tokenizer_class": "TikTokenTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "config.json").write_text('{"bos_token_id": 257, "eos_token_id": 258}')
    return LocalFolder(folder)


def test_kimis_reserved_tokens(tmp_path: Path) -> None:
    # by the code beside the file, and llama.cpp's DeepseekV2Model.set_vocab
    keys = tokenizers.metadata(kimi(tmp_path), {"vocab_size": 261}, kind=["gpt2", "kimi_tiktoken"])
    assert keys["tokenizer.ggml.pre"] == Value.string("kimi-k2")
    texts = [bytes(token) for token in keys["tokenizer.ggml.tokens"].data]
    assert texts[256:] == [b"ab", b"[BOS]", b"<|reserved_token_258|>", b"<|im_end|>", b"<|reserved_token_260|>"]
    assert keys["tokenizer.ggml.token_type"].data[256:].tolist() == [1, 3, 3, 3, 3]
    assert [bytes(merge) for merge in keys["tokenizer.ggml.merges"].data] == [b"a b"]
    assert keys["tokenizer.ggml.eos_token_id"] == Value.uint32(258)


def test_kimi_linear_ends_by_name(tmp_path: Path) -> None:
    keys = tokenizers.metadata(kimi(tmp_path), {"vocab_size": 261}, kind="kimi_linear_tiktoken")
    assert keys["tokenizer.ggml.bos_token_id"] == Value.uint32(257)
    assert keys["tokenizer.ggml.eos_token_id"] == Value.uint32(259)


@pytest.mark.parametrize(
    ("cls", "folder", "digest"),
    [  # of llama.cpp's models/templates/: Kimi-K3, deepseek-ai-DeepSeek-V4, deepseek-ai-DeepSeek-V4-Flash-0731
        ("KimiK3ForConditionalGeneration", "any", "4578103bf225f58d"),
        (
            "DeepseekV4ForCausalLM",
            "DeepSeek-V4-Pro",
            "7bd4fbdf0c06cd73",
        ),
        (
            "DeepseekV4ForCausalLM",
            "DeepSeek-V4-Flash-0731",
            "aec3d906bce80d43",
        ),
    ],
)
def test_templates_of_models_without_one(tmp_path: Path, cls: str, folder: str, digest: str) -> None:
    options = architectures.find_table({"architectures": [cls]}).tokenizer_options
    (tmp_path / folder).mkdir()
    files = kimi(tmp_path / folder)
    given = {"template_if_none": options["template_if_none"]}
    keys = tokenizers.metadata(files, {"vocab_size": 261}, kind="kimi_linear_tiktoken", options=given)
    template = keys["tokenizer.chat_template"].data
    assert hashlib.sha256(template.encode()).hexdigest().startswith(digest)
    (tmp_path / folder / "tokenizer_config.json").write_text('{"chat_template": "own", "eos_token": "<|im_end|>"}')
    keys = tokenizers.metadata(LocalFolder(tmp_path / folder), {"vocab_size": 261}, kind="kimi_tiktoken", options=given)
    assert keys["tokenizer.chat_template"].data == "own"


def test_kimi_k3_ends_as_its_config_says(tmp_path: Path) -> None:
    """A turn's end, where the tokenizer names a document's (llama.cpp: ``KimiK3Model.set_vocab``)."""
    files = kimi(tmp_path)
    config = {"architectures": ["KimiK3ForConditionalGeneration"], "eos_token_id": 258, "vocab_size": 261}
    kinds, options, full = architectures.vocabulary_of(config, files)
    keys = tokenizers.metadata(files, full, kind=kinds, options=options)
    assert keys["tokenizer.ggml.eos_token_id"] == Value.uint32(258)
