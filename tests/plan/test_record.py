"""Options as a manifest records them, and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qconv.errors import FormatError
from qconv.plan import Request
from qconv.plan.record import recorded, request_of

FILE = Path("x.gguf.json")


@pytest.mark.parametrize(
    "request_",
    [
        Request(types=("q8_0",)),
        Request(
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
def test_there_and_back(request_: Request) -> None:
    assert request_of(json.loads(json.dumps(recorded(request_))), "q8_0", FILE) == request_


def test_a_mix_file_takes_the_place_of_the_type() -> None:
    assert request_of({"mix": "/mine.toml"}, "mine", FILE) == Request(mix=Path("/mine.toml"))


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
        request_of(options, "q8_0", FILE)
