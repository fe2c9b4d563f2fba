"""Options as a manifest records them, and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qconv.errors import FormatError
from qconv.options import ConvertOptions

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
            imatrix=Path("/x/m\udcff.imatrix"),
            imatrix_name="m\udcff.imatrix",
            split_max_size=2_000_000,
        ),
    ],
)
def test_there_and_back(options: ConvertOptions) -> None:
    assert ConvertOptions.recorded(json.loads(json.dumps(options.record())), "q8_0", FILE) == options


def test_a_mix_file_takes_the_place_of_the_type() -> None:
    assert ConvertOptions.recorded({"mix": "/mine.toml"}, "mine", FILE) == ConvertOptions(mix=Path("/mine.toml"))


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
        {"types": ["q8_0"]},
        {"colour": "red"},
    ],
    ids=str,
)
def test_what_is_no_option_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(FormatError, match=r"x\.gguf\.json: records an option"):
        ConvertOptions.recorded(options, "q8_0", FILE)
