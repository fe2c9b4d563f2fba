"""A cache of the test's own, where temporary models go."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.runtime import models


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "cache" / "qconv"
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: directory)
    return directory


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """As llama-imatrix was given it for the goldens: with one newline more, which is left out."""
    path = tmp_path / "text.txt"
    path.write_text(models.TEXT + "\n")
    return path
