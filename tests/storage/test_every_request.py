"""Each thing that can go wrong on the way, at every request of a conversion in turn.

What passes when it is tried again leaves no trace in the output.  What does not is an error that leaves the final name
alone, and the next run completes the file.  Neither an error nor a file has a secret in it.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

import qconv
from qconv.errors import InputError, QconvError
from qconv.storage import http, read_ahead, retries
from tests.cli.commands import make_checkpoint
from tests.storage.hub_server import SIGNATURE, STALL, TOKEN, HubServer, Request

NAME = "acme/Noise"
PASSING = ("reset", "429", "503", "500", "short", "shifted", "packed", "stall", "200", "expired")
"""What passes when it is tried again."""
CHANGED = ("etag", "size", "416")
"""What means that the file is another one now."""
REFUSED = ("403", "404", "page")
"""What no second attempt helps with."""
OLD = b"what had this name before"
SMALL = ("--layers", "1", "--shards", "2", "--hidden", "64", "--heads", "2", "--kv-heads", "1", "--ffn", "128")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of two files, 140 KB together: its conversion takes about twenty requests."""
    return make_checkpoint(tmp_path_factory.mktemp("small") / "Noise", *SMALL, "--vocab", "512")


@pytest.fixture(scope="module")
def whole(small: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file made from the folder."""
    (made,) = qconv.convert(small, "q8_0", output=tmp_path_factory.mktemp("whole") / "whole.gguf")
    return made.read_bytes()


@pytest.fixture
def convert(
    hub: HubServer, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[Request], str | None]], QconvError | None]:
    """Converts it from the Hub over what has ``OLD`` in it, with faults; returns the error there was."""
    monkeypatch.setattr(read_ahead, "_LARGEST", 1 << 15)
    monkeypatch.setattr(read_ahead, "_SMALLEST", 1 << 15)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.add(NAME, small, private=True)

    def run(fault: Callable[[Request], str | None]) -> QconvError | None:
        hub.requests.clear()
        hub.sent["store"] = 0
        hub.fault = fault
        try:
            qconv.convert(f"hf://{NAME}", "q8_0", output=tmp_path / "x.gguf", force=True)
        except QconvError as e:
            secrets_are_kept("".join(traceback.format_exception(e)).encode())
            return e
        finally:
            secrets_are_kept(*(path.read_bytes() for path in tmp_path.glob("x.*")))
        return None

    return run


def secrets_are_kept(*texts: bytes) -> None:
    assert not any(secret.encode() in text for secret in (TOKEN, SIGNATURE) for text in texts)


def once(number: int, fault: str) -> Callable[[Request], str | None]:
    """The fault at that request only."""
    return lambda request: fault if request.number == number else None


def lasting(number: int, fault: str) -> Callable[[Request], str | None]:
    """The fault at that request and at all after it."""
    return lambda request: fault if request.number >= number else None


STAYING = [(fault, lasting) for fault in PASSING if fault != "stall"]  # which is a slow "short"
STAYING += [(fault, when) for fault in (*CHANGED, *REFUSED) for when in (once, lasting)]


@pytest.mark.parametrize("fault", PASSING)
def test_a_fault_that_passes(
    fault: str,
    convert: Callable[[Callable[[Request], str | None]], QconvError | None],
    hub: HubServer,
    small: Path,
    whole: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The file is the same, and what came before the fault is not paid for again."""
    output = tmp_path / "x.gguf"
    needed = sum(file.stat().st_size for file in small.glob("*.safetensors"))
    number, reached = 0, True
    if fault == "stall":
        monkeypatch.setattr(http, "_READ", STALL / 3)
        monkeypatch.setattr(retries, "WAITS", [0.001] * 20)  # a busy machine may stall by itself
    while reached:
        output.write_bytes(OLD)
        assert convert(once(number, fault)) is None
        assert output.read_bytes() == whole
        if fault not in ("200", "shifted", "packed", "stall"):  # where a body comes that is not taken
            assert hub.sent["store"] <= needed + 2 * http._LEAST_BEGINNING
        reached, number = len(hub.requests) > number, number + 1
    assert number > 15


@pytest.mark.parametrize(("fault", "when"), STAYING)
def test_a_fault_that_may_stay(
    fault: str,
    when: Callable[[int, str], Callable[[Request], str | None]],
    convert: Callable[[Callable[[Request], str | None]], QconvError | None],
    hub: HubServer,
    whole: bytes,
    tmp_path: Path,
) -> None:
    """Either no request that the fault concerns came, or the final name is as it was; the next run completes it."""
    output = tmp_path / "x.gguf"
    failed = number = 0
    reached = True
    while reached:
        output.write_bytes(OLD)
        error = convert(when(number, fault))
        reached, number = len(hub.requests) > number, number + 1
        if error is None:
            assert output.read_bytes() == whole
            continue
        failed += 1
        assert isinstance(error, InputError)
        assert output.read_bytes() == OLD
        assert convert(lambda _: None) is None
        assert output.read_bytes() == whole
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith("x.")] == ["x.gguf"]
    assert number > 15
    assert failed
