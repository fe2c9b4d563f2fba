"""The small pieces: journals, and which part of the work."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qconv.conversion import journal
from qconv.errors import UsageError
from qconv.options import Part
from qconv.pipeline import Ranges

PAIRS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=12)


@given(st.dictionaries(st.integers(0, 10**9 - 1), PAIRS.filter(bool), max_size=4), st.binary(max_size=40), st.data())
def test_a_journal_is_read_up_to_where_it_is_whole(
    done: dict[int, list[tuple[int, int]]], torn: bytes, data: st.DataObject
) -> None:
    ranges: dict[int, Ranges] = {}
    for tensor, pairs in done.items():
        for a, b in pairs:
            ranges.setdefault(tensor, Ranges()).add(a, b)
    first, identity = journal.first_line("ab" * 32)
    whole = first + journal.done_line(ranges.items())
    parsed = journal.parse(whole + torn.replace(b"\n", b""))
    assert parsed is not None
    assert (parsed.fingerprint, parsed.id, parsed.finishing, parsed.size) == ("ab" * 32, identity, False, len(whole))
    assert {t: list(r) for t, r in parsed.done.items()} == {t: list(r) for t, r in ranges.items() if r}
    cut = data.draw(st.integers(0, len(whole) - 1))
    less = journal.parse(whole[:cut])
    assert less is None or (less.size == len(first) and not less.done)


@given(st.binary(max_size=300))
def test_no_bytes_upset_the_journal(data: bytes) -> None:
    assert journal.parse(data) is None


@pytest.mark.parametrize(
    "text", ["", "3", "0/4", "5/4", "-1/4", "1/0", "a/b", "1/2/3", "1 / 2", "1/99999999999999999999"]
)
def test_parts_that_are_none(text: str) -> None:
    with pytest.raises(UsageError):
        Part.parse(text)
