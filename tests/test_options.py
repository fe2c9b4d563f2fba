"""Options as a manifest records them, and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qconv.errors import FormatError, UsageError
from qconv.options import AdapterOption, ConvertOptions, from_manifest, to_manifest

FILE = Path("x.gguf.json")


@pytest.mark.parametrize(
    "options",
    [
        ConvertOptions(types=("q8_0",)),
        ConvertOptions(
            types=("q8_0",),
            tensor_types=(("ffn_down", "q6_k"), ("attn", "q4_k")),
            pure=True,
            override_kv=("a=str:b",),
            adapter=("/a=b/mine=0.5", "/x=1.0"),
            imatrix=Path("/x/m\udcff.imatrix"),
            imatrix_name="m\udcff.imatrix",
            split_max_size=2_000_000,
        ),
    ],
)
def test_there_and_back(options: ConvertOptions) -> None:
    assert from_manifest(json.loads(json.dumps(to_manifest(options))), "q8_0", FILE) == options


def test_a_mix_file_takes_the_place_of_the_type() -> None:
    assert from_manifest({"mix": "/mine.toml"}, "mine", FILE) == ConvertOptions(mix=Path("/mine.toml"))


@pytest.mark.parametrize(
    "options",
    [
        {"split_max_size": "x"},
        {"split_max_size": 1.5},
        {"pure": "no"},
        {"tensor_types": ["ffn"]},
        {"tensor_types": [["ffn", "q4_k", "q6_k"]]},
        {"override_kv": "a=str:b"},
        {"imatrix": 7},
        {"mix": "a\0b"},
        {"search": None},
        {"mtp": "half"},
        {"types": ["q8_0"]},
        {"colour": "red"},
    ],
    ids=str,
)
def test_what_is_no_option_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match=r"x\.gguf\.json: records an option"):
        from_manifest(options, "q8_0", FILE)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lora", AdapterOption("lora")),
        ("lora=0.5", AdapterOption("lora", 0.5)),
        ("r=8/lora", AdapterOption("r=8/lora")),
        ("r=8/lora=-1", AdapterOption("r=8/lora", -1.0)),
    ],
)
def test_adapters_may_have_a_weight(text: str, expected: AdapterOption) -> None:
    assert AdapterOption.parse(text) == expected
    assert AdapterOption.parse(str(expected)) == expected


@pytest.mark.parametrize("text", ["", "lora=nan", "lora=inf"])
def test_no_adapters(text: str) -> None:
    with pytest.raises(UsageError):
        ConvertOptions(types=("q8_0",), adapter=(text,))


def test_manifests_record_whole_paths_of_adapters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lora").mkdir()
    monkeypatch.chdir(tmp_path)
    recorded = to_manifest(ConvertOptions(types=("q8_0",), adapter=("lora", "hf://me/lora=0.5")))
    assert recorded == {"adapter": (f"{tmp_path / 'lora'}=1.0", "hf://me/lora=0.5")}
    assert to_manifest(ConvertOptions(types=("f16",), base="lora")) == {"base": str(tmp_path / "lora")}
