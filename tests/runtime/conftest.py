"""Sessions that tests share: starting one takes half a second."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from qconv.runtime import Session
from tests.runtime import models

CONTEXT = 64


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.llama(tmp_path_factory.mktemp("models") / "plain.gguf")


@pytest.fixture(scope="session")
def moe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.llama(tmp_path_factory.mktemp("models") / "experts.gguf", experts=True)


@pytest.fixture(scope="session")
def session(plain: Path) -> Iterator[Session]:
    """Of the plain model, writable, two chunks of 64 a batch."""
    with Session(plain, context=CONTEXT, batch=2 * CONTEXT, writable=True, threads=2) as session:
        yield session


@pytest.fixture(scope="session")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


@pytest.fixture(scope="session")
def tokens() -> NDArray[np.int32]:
    """Those of ``models.TEXT``: its bytes, after SentencePiece's mark has taken the place of blanks."""
    data = np.frombuffer(models.TEXT.replace(" ", "\u2581").encode(), np.uint8).astype(np.int32)
    return np.concatenate([[models.BOS], data + models.FIRST_BYTE]).astype(np.int32)
