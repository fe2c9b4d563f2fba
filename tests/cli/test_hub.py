"""The command line on models of the Hub: what it prints, what it reads, and that no secret gets out."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.commands import Run, environment, peak
from tests.storage.hub_server import SIGNATURE, TOKEN, HubServer, Request, running
from tests.waiting import wait_until

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


def busy_once(hub: HubServer) -> None:
    """Each file is asked for in vain once, and then after half a second."""
    seen: set[str] = set()

    def fault(request: Request) -> str | None:
        first = request.path not in seen
        seen.add(request.path)
        return "503" if first and request.path.endswith("model.safetensors") else None

    hub.fault = fault


WAITED = f"hf://{NAME}/model.safetensors: the server answers 503; trying again in 0.5 s"


@pytest.mark.parametrize("options", [[], ["--dry-run"], ["--json"]])
def test_a_wait_is_told(options: list[str], hub: HubServer, env: dict[str, str], qconv: Run, tmp_path: Path) -> None:
    busy_once(hub)
    made = qconv("convert", f"hf://{NAME}", "-t", "q8_0", "-o", tmp_path / "x.gguf", *options, env=env)
    assert made.returncode == 0, made.stderr
    assert made.stderr.count(f"qconv: {WAITED}\n") == 1
    if "--json" in options:
        json.loads(made.stdout)


def test_a_wait_is_told_of_in_json(hub: HubServer, env: dict[str, str], qconv: Run, tmp_path: Path) -> None:
    busy_once(hub)
    made = qconv("convert", f"hf://{NAME}", "-t", "q8_0", "-o", tmp_path / "x.gguf", "--progress", "json", env=env)
    assert made.returncode == 0, made.stderr
    objects = [json.loads(line) for line in made.stderr.splitlines() if line.startswith("{")]
    assert objects[0] == {"note": WAITED}
    assert WAITED not in made.stderr.replace(json.dumps(WAITED), "")


def test_a_wait_is_not_told_under_quiet(hub: HubServer, env: dict[str, str], qconv: Run, tmp_path: Path) -> None:
    busy_once(hub)
    made = qconv("convert", f"hf://{NAME}", "-t", "q8_0", "-o", tmp_path / "x.gguf", "--quiet", env=env)
    assert (made.returncode, made.stderr) == (0, "")


@pytest.mark.parametrize(
    ("options", "bar"),
    [((), True), (("--quiet",), False), (("--progress", "none"), False), (("--progress", "json"), False)],
)
def test_the_bar_of_a_download(
    options: tuple[str, ...], bar: bool, env: dict[str, str], qconv: Run, tmp_path: Path
) -> None:
    """huggingface_hub's; ``TQDM_POSITION`` has it shown where there is no terminal."""
    asked = ["convert", f"hf://{NAME}", "-t", "q8_0", "-o", tmp_path / "x.gguf", "--keep-download", *options]
    made = qconv(*asked, env=env | {"TQDM_POSITION": "-1"})
    assert made.returncode == 0, made.stderr
    assert ("model.safetensors: 100%" in made.stderr) == bar
    assert SIGNATURE not in made.stderr


@contextmanager
def half_way(hub: HubServer, env: dict[str, str], output: Path) -> Iterator[subprocess.Popen[str]]:
    """A conversion whose line goes dead when half of the weights have come, some of them encoded and recorded."""
    hub.dead_after = len(hub.repositories[NAME].files["model.safetensors"]) // 2
    command = [sys.executable, "-m", "qconv", "convert", f"hf://{NAME}", "-t", "q8_0", "-o", str(output)]
    journal = output.with_name(f"{output.name}.part.journal")
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until(lambda: hub.hanging > 0 and journal.exists() and b"done" in journal.read_bytes(), process)
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_stopped_and_resumed(
    how: signal.Signals, hub: HubServer, env: dict[str, str], qconv: Run, q8_0: Path, tmp_path: Path
) -> None:
    """Ctrl-C ends a conversion though its line hangs; after it, as after ``kill -9``, little is read again."""
    output = tmp_path / "hub.gguf"
    with half_way(hub, env, output) as process:
        process.send_signal(how)
        _, error = process.communicate(timeout=300)  # the line hangs until it is released below
    if how == signal.SIGINT:
        assert process.returncode == 130, error
    assert not output.exists()
    hub.dead_after = None
    hub.release.set()
    before = hub.sent["store"]
    made = qconv("convert", f"hf://{NAME}", "-t", "q8_0", "-o", output, "--json", env=env)
    assert made.returncode == 0, made.stderr
    assert output.read_bytes() == q8_0.read_bytes()
    assert json.loads(made.stdout)["resumed_bytes"] > 0
    assert hub.sent["store"] - before < len(hub.repositories[NAME].files["model.safetensors"])


@pytest.mark.parametrize("options", [[], ["--memory", "260MB"]])
def test_memory_has_the_same_bound_as_from_a_disk(options: list[str], env: dict[str, str], tmp_path: Path) -> None:
    shapes = json.dumps({f"layer.{n}.weight": [4096, 8192] for n in range(8)})
    command = [sys.executable, str(Path(__file__).parent / "sparse_server.py"), shapes]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            convert = ["convert", address, "-t", "q8_0", "-o", str(tmp_path / "x.gguf"), "--quiet", *options]
            code, most = peak(*convert, env=env)
        finally:
            server.kill()
    assert code == 0
    assert (tmp_path / "x.gguf").stat().st_size > 280_000_000
    assert most <= (260_000_000 if options else 400_000_000)
    (tmp_path / "x.gguf").unlink()
