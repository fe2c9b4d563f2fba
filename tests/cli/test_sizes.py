from __future__ import annotations

import pytest

from qconv.cli.sizes import count, counted, duration, size


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


def test_one_thing_and_several() -> None:
    assert [counted(n, "tensor") for n in (0, 1, 1200)] == ["0 tensors", "1 tensor", "1,200 tensors"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (119.4, "119 s"),
        (119.6, "2 min"),
        (7_100, "118 min"),
        (7_200, "2 h 00 min"),
        (11_110, "3 h 05 min"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
