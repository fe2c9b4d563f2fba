"""Fields of blocks: every row of ``formats/blocks.toml`` adds up, and what does not is refused."""

from __future__ import annotations

import msgspec
import pytest

from qconv.blocks.layout import Field, fields, offsets
from qconv.errors import TableError
from qconv.formats import BlockType, block_types

TYPES = block_types()


@pytest.mark.parametrize("name", TYPES)
def test_every_block_type_is_fields_without_gaps(name: str) -> None:
    end = 0
    for field in fields(TYPES[name]).values():
        assert field.offset == end
        end += field.size
    assert end == TYPES[name].bytes


def test_offsets_are_those_of_ggml() -> None:
    assert fields(TYPES["Q4_K"]) == {
        "d": Field("d", "f16", 1, 0, 2),
        "dmin": Field("dmin", "f16", 1, 2, 2),
        "scales": Field("scales", "(u6 scale, u6 min)", 8, 4, 12),
        "qs": Field("qs", "u4", 256, 16, 128),
    }
    assert fields(TYPES["F16"]) == {"": Field("", "f16", 1, 0, 2)}
    assert offsets("Q6_K") == (0, 128, 192, 208, 210)
    assert offsets("Q6_K")._fields == ("ql", "qh", "scales", "d", "end")


def test_a_field_asked_for_and_not_there_has_no_offset() -> None:
    assert offsets("Q4_0", "d", "m", "qh", "qs")._asdict() == {"d": 0, "m": None, "qh": None, "qs": 2, "end": 18}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (["d: f16", "qs: u4[31]"], r"'qs: u4\[31\]' has 124 bits, not whole bytes"),
        (["d: f16", "qs: u4[30]"], "fields of 17 bytes in a block of 18"),
        (["d: f16", "d: u4[32]"], r"'d: u4\[32\]' needs a name of its own"),
        (["d: f16", "u4[32]"], r"'u4\[32\]' needs a name of its own"),
        (["d: f16", "qs: q4[32]"], "unknown field type 'q4'"),
        (["d: f16", "qs: u0[32]"], "unknown field type 'u0'"),
        (["d: f16", "qs: (u4, u4 min)[16]"], r"unknown field type '\(u4, u4 min\)'"),
        (["d: f16", "qs: u4 [32]"], r"'qs: u4 \[32\]' is not 'name: type\[count\]'"),
        (["d: f16", "qs: u4[0]"], r"'qs: u4\[0\]' is not"),
        (["d:f16", "qs: u4[32]"], "'d:f16' is not"),
        ([], "fields of 0 bytes in a block of 18"),
    ],
)
def test_fields_that_do_not_add_up_are_refused(row: list[str], message: str) -> None:
    layout: BlockType = msgspec.structs.replace(TYPES["Q4_0"], fields=tuple(row))
    with pytest.raises(TableError, match=rf"blocks\.toml: Q4_0: {message}"):
        fields(layout)
