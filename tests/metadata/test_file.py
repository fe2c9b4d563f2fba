"""The order of a file's keys, ``--override-kv`` and the names of files."""

from __future__ import annotations

import gguf
import pytest

from qconv.errors import UsageError
from qconv.metadata import assemble, file_name, overridden, parse_override, quantized, stem_of
from qconv.types import Metadata, Value, ValueType

GENERAL = {"general.name": Value.string("X")}
MODEL = {"llama.block_count": Value.uint32(2), "general.file_type": Value.uint32(0)}
TOKENIZER = {"tokenizer.ggml.model": Value.string("gpt2")}


def test_the_converters_order() -> None:
    keys = assemble("llama", GENERAL, MODEL, TOKENIZER, file_type=32)
    assert list(keys) == [
        "general.architecture",
        "general.type",
        "general.name",
        "llama.block_count",
        "general.file_type",
        "general.quantization_version",
        "tokenizer.ggml.model",
    ]
    assert keys["general.file_type"] == Value.uint32(32)


def test_what_an_architecture_leaves_out_or_sets_early() -> None:
    model = {"phi3.a": Value.uint32(1), "general.type": Value.string(""), "phi3.b": Value.uint32(2)}
    keys = assemble("phi3", GENERAL, model, {}, file_type=1)
    assert list(keys) == [
        "general.architecture",
        "phi3.a",
        "general.type",
        "general.name",
        "phi3.b",
        "general.quantization_version",
    ]
    assert keys["general.type"] == Value.string("model")


def test_the_file_type_stays_where_the_architecture_puts_it() -> None:
    model = {"llama.a": Value.uint32(1), "general.file_type": Value.uint32(0), "llama.b": Value.uint32(2)}
    keys = assemble("llama", {}, model, {}, file_type=1)
    assert list(keys)[2:5] == ["llama.a", "general.file_type", "llama.b"]
    assert keys["general.file_type"] == Value.uint32(1)


def test_llama_quantize_sets_keys_at_the_end() -> None:
    source: Metadata = {**assemble("llama", GENERAL, MODEL, TOKENIZER, file_type=1), "split.count": Value.uint32(2)}
    overrides = [parse_override("general.name=str:Y"), parse_override("llama.block_count=int:-3")]
    imatrix = {"quantize.imatrix.file": Value.string("i.gguf")}
    keys = quantized(source, file_type=15, overrides=overrides, imatrix=imatrix)
    assert list(keys) == [
        "general.architecture",
        "general.type",
        "tokenizer.ggml.model",
        "general.quantization_version",
        "general.file_type",
        "general.name",
        "llama.block_count",
        "quantize.imatrix.file",
    ]
    assert keys["general.file_type"].data == 15
    assert keys["llama.block_count"] == Value.uint32(3)
    assert "split.count" in source
    assert list(overridden(GENERAL, overrides)) == ["general.name", "llama.block_count"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=int:5", Value.uint32(5)),
        ("a=int:-5", Value.uint32(5)),
        ("a=float:1e-5", Value.float32(1e-5)),
        ("a=float:.5", Value.float32(0.5)),
        ("a=bool:true", Value.boolean(True)),
        ("a=bool:false", Value.boolean(False)),
        ("a=str:b=c:d", Value.string("b=c:d")),
        ("a=str:", Value.string("")),
    ],
)
def test_overrides(text: str, value: Value) -> None:
    assert parse_override(text) == ("a", value)


@pytest.mark.parametrize(
    "text",
    [
        "a",
        "=int:1",
        "a=int",
        "a=int:x",
        "a=int:1.5",
        "a=int:4294967296",
        "a=float:nan",
        "a=float:1e39",
        "a=float:",
        "a=bool:yes",
        "a=uint:1",
        "a=str:" + "é" * 64,
        "k" * 128 + "=int:1",
    ],
)
def test_malformed_overrides(text: str) -> None:
    with pytest.raises(UsageError, match="malformed metadata override"):
        parse_override(text)


@pytest.mark.parametrize(
    "texts",
    [
        {"basename": "Llama-3", "size_label": "8.0B", "finetune": "Instruct", "version": "v1.0", "name": "Llama 3"},
        {"name": " Some Model/x ", "size_label": "1.2B"},
        {"basename": "a b", "finetune": "c d", "version": "1 0"},
    ],
)
def test_names_follow_the_convention(texts: dict[str, str]) -> None:
    metadata = {f"general.{key}": Value.string(text) for key, text in texts.items()}
    theirs = gguf.naming_convention(
        texts.get("name"),
        texts.get("basename"),
        texts.get("finetune"),
        texts.get("version"),
        texts.get("size_label"),
        "q4_k_m",
    )
    assert file_name(metadata, "q4_k_m") == theirs + ".gguf"


def test_names_when_nothing_is_known() -> None:
    assert file_name({}, "Q4_K_M") == "model-Q4_K_M.gguf"
    assert file_name({"general.size_label": Value.string("1B")}, "q8_0", "mine") == "mine-Q8_0.gguf"


def test_names_that_no_directory_takes() -> None:
    metadata = {"general.name": Value.string("../../a\nb" + "x" * 500)}
    name = file_name(metadata, "q8_0")
    assert name.startswith("a-bxxx")
    assert len(name) <= 205 + len("-Q8_0.gguf")
    assert file_name({"general.name": Value(ValueType.UINT32, 5)}, "q8_0") == "model-Q8_0.gguf"


def test_names_hold_nothing_that_cannot_be_seen() -> None:
    name = Value.string("a\x9b2Jb\u202ec\u2028d\x7fe\x1bf\udcff")
    assert file_name({"general.name": name}, "q8_0") == "a-2Jb-c-d-e-f--Q8_0.gguf"
    assert file_name({"general.basename": Value.string("Größe-模型")}, "q8_0") == "Größe-模型-Q8_0.gguf"
    assert file_name({}, "q8_0", "a\x9bb") == "a-b-Q8_0.gguf"


@pytest.mark.parametrize(
    ("file", "stem"),
    [
        ("model.safetensors", "model"),
        ("model.safetensors.index.json", "model"),
        ("model-00001-of-00003.safetensors", "model"),
        ("Llama-7B-F16.gguf", "Llama-7B"),
        ("llama-7b.Q8_0.gguf", "llama-7b"),
        ("x-q8_0-00001-of-00002.gguf", "x"),
        ("-F16.gguf", "model"),
    ],
)
def test_stems(file: str, stem: str) -> None:
    assert stem_of(file, ["F16", "Q8_0"]) == stem


def test_a_file_made_for_a_size_names_its_bits_before_its_type() -> None:
    name = file_name({"general.name": Value.string("Tiny")}, "Q4_K_M", bits=4.4951)
    assert name == "Tiny-4.50bpw-Q4_K_M.gguf"  # programs take the last part for the type
