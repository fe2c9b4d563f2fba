"""The command line on models of the Hub: what it prints, what it reads, and that no secret gets out."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.commands import Run, environment
from tests.storage.hub_server import SIGNATURE, TOKEN, HubServer, running

NAME = "acme/Noise-Instruct"


@pytest.fixture
def hub(checkpoint: Path) -> Iterator[HubServer]:
    with running() as server:
        server.add(NAME, checkpoint)
        yield server


@pytest.fixture
def env(hub: HubServer, tmp_path: Path) -> dict[str, str]:
    """A process that knows this Hub, a token, and no cache."""
    return environment(HF_ENDPOINT=hub.url, HF_HOME=str(tmp_path / "hf"), HF_TOKEN=TOKEN, HF_HUB_OFFLINE="0")


def test_convert(hub: HubServer, env: dict[str, str], qconv: Run, q8_0: Path, tmp_path: Path) -> None:
    output = tmp_path / "hub.gguf"
    made = qconv("convert", f"hf://{NAME}", "--type", "q8_0", "--output", output, "--json", env=env)
    assert made.returncode == 0, made.stderr
    assert json.loads(made.stdout)["source"] == f"hf://{NAME}"
    assert output.read_bytes() == q8_0.read_bytes()


def test_a_dry_run_and_info_read_headers(hub: HubServer, env: dict[str, str], qconv: Run) -> None:
    dry = qconv("convert", f"hf://{NAME}", "--type", "q4_k_m", "--dry-run", env=env)
    assert dry.returncode == 0, dry.stderr
    assert "blk.0.ffn_down.weight" in dry.stdout
    told = qconv("info", f"hf://{NAME}", "--json", env=env)
    assert told.returncode == 0, told.stderr
    about = json.loads(told.stdout)
    assert about["path"] == f"hf://{NAME}"
    assert about["name"] == "Noise-Instruct"
    assert hub.sent["store"] < 120_000  # of 6.8 MB, twice


@pytest.mark.parametrize("fault", ["etag", "404", "gated"])
def test_no_secret_gets_out(
    fault: str, hub: HubServer, env: dict[str, str], qconv: Run, checkpoint: Path, tmp_path: Path
) -> None:
    if fault == "404":
        hub.store += "/nowhere"
    elif fault == "gated":
        hub.repositories[NAME].gated = True
        env["HF_TOKEN"] = TOKEN + "-of-someone-else"
    hub.fault = lambda request: fault if request.host == "store" and request.number > 10 else None
    output = tmp_path / "hub.gguf"
    made = qconv(
        "convert", f"hf://{NAME}", "-t", "q8_0", "-o", output, "--manifest", "--debug", "--json", "--no-resume", env=env
    )
    assert made.returncode == 1
    texts = [made.stdout, made.stderr, *(f.read_bytes().decode("latin-1") for f in tmp_path.rglob("*") if f.is_file())]
    assert not any(TOKEN in text or SIGNATURE in text for text in texts)


def test_a_signature_in_an_address_is_not_repeated(hub: HubServer, env: dict[str, str], qconv: Run) -> None:
    address = f"{hub.store}/model.safetensors?Signature={SIGNATURE}"
    told = qconv("info", address, "--debug", "--json", env=env)
    assert told.returncode == 1
    assert f"{hub.store}/model.safetensors: is not there" in told.stderr
    assert SIGNATURE not in told.stdout + told.stderr


def test_a_gated_model_names_its_page(hub: HubServer, env: dict[str, str], qconv: Run) -> None:
    hub.repositories[NAME].gated = True
    told = qconv("info", f"hf://{NAME}", env=env | {"HF_TOKEN": ""})
    assert told.returncode == 1
    assert "is gated" in told.stderr
    assert f"{hub.url}/{NAME}" in told.stderr
