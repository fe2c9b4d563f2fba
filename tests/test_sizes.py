from __future__ import annotations

import pytest

from qconv.errors import UsageError
from qconv.sizes import Size, parse_bytes


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("400MB", 400_000_000),
        ("400MiB", 400 << 20),
        ("4G", 4_000_000_000),
        ("1.5gib", 3 << 29),
        ("100", 100),
        ("2 KB", 2000),
    ],
)
def test_sizes_are_read(text: str, number: int) -> None:
    assert parse_bytes(text, "--memory") == number


@pytest.mark.parametrize(
    "text", ["", "0", "0.9", "MB", "-4G", "4X", "4GGB", "1e9", "4 G B", "9" * 400, "9" * 19, "9" * 5000 + "G"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--memory"):
        parse_bytes(text, "--memory")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4.5GB", Size("4.5GB", bytes=4_500_000_000)),
        ("4.5bpw", Size("4.5bpw", bits=4.5)),
        (" 4.5 BPW", Size("4.5 BPW", bits=4.5)),
        ("q4_k_m", Size("q4_k_m", mix="Q4_K_M")),
        ("q4_k", Size("q4_k", mix="Q4_K_M")),
    ],
)
def test_a_size_is_bytes_or_bits_or_that_of_a_type(text: str, size: Size) -> None:
    assert Size.parse(text) == size


@pytest.mark.parametrize("text", ["", "q9_k", "0bpw", "33bpw", "bpw", "-1GB", "4.5bpw2"])
def test_no_other_size_is_accepted(text: str) -> None:
    with pytest.raises(UsageError, match="--size"):
        Size.parse(text)
