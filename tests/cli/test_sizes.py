from __future__ import annotations

import pytest

from qconv.cli.sizes import count, parse_size, size
from qconv.errors import UsageError


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (1536, "1.50 KiB"),
        (807_694_464, "770 MiB"),
        (1 << 40, "1.00 TiB"),
    ],
)
def test_sizes_are_binary(number: int, text: str) -> None:
    assert size(number) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(999, "999"), (9_999, "9,999"), (10_000, "10.0 K"), (1_235_814_432, "1.24 B"), (999_600, "1.00 M")],
)
def test_counts(number: int, text: str) -> None:
    assert count(number) == text


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
    assert parse_size(text, "--memory") == number


@pytest.mark.parametrize(
    "text", ["", "0", "0.9", "MB", "-4G", "4X", "4GGB", "1e9", "4 G B", "9" * 400, "9" * 19, "9" * 5000 + "G"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--memory"):
        parse_size(text, "--memory")
