from __future__ import annotations

import pytest

from qconv.cli.sizes import count, size


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
