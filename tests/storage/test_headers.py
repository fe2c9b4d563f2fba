"""Headers of answers, well-formed and not."""

from __future__ import annotations

import pytest

from qconv.errors import InputError
from qconv.storage.headers import content_range, redirected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("bytes 0-9/100", (0, 100)),
        ("bytes 5-9/*", (5, None)),
        ("bytes */100", (None, 100)),
        ("bytes -5-9/100", (None, 100)),
        ("lines 0-9/100", (None, None)),
        ("bytes", (None, None)),
        ("", (None, None)),
    ],
)
def test_content_range(text: str, expected: tuple[int | None, int | None]) -> None:
    """RFC 9110, 14.4."""
    assert content_range({"content-range": text}) == expected


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("https://store.example/x?sig=1", "https://store.example/x?sig=1"),
        ("/other/name", "https://hub.example/other/name"),
        ("http://hub.example/x", "is not secure"),
        ("file:///etc/passwd", "is not secure"),
        ("https://store.example:99999/x", "is none"),
        ("https://[::1/x", "is none"),
    ],
)
def test_where_a_redirect_leads(location: str, target: str) -> None:
    if target.startswith("https:"):
        assert redirected("https://hub.example/a/b", location, "hf://a/b") == target
    else:
        with pytest.raises(InputError, match=f"hf://a/b: leads to an address that {target}"):
            redirected("https://hub.example/a/b", location, "hf://a/b")
