"""A Hub on this machine, and nothing of the real one: no token, no cache, no waiting."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import close_session, constants

from qconv.storage import retries
from tests.cli.commands import make_checkpoint
from tests.storage.hub_server import HubServer, running


@pytest.fixture(scope="session")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small checkpoint in two files."""
    return make_checkpoint(tmp_path_factory.mktemp("hub") / "Noise", "--layers", "1", "--shards", "2")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """The server; huggingface_hub of this process and of those it starts asks it."""
    with running() as server:
        home = tmp_path / "hf"
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_HOME", str(home))
        for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        files = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", files)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))
        monkeypatch.setattr(retries, "WAITS", [0.001] * 4)
        yield server
        close_session()
