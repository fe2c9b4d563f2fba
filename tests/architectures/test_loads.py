"""Every golden file's model, its weights noise, is loaded by llama.cpp, and computes eight tokens without a complaint.

What does not is listed in ``loads.toml`` with llama.cpp's own reason.
"""

from __future__ import annotations

import functools
import importlib.metadata
import json
import os
import signal
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import pytest

from qconv import gguf
from qconv.types import Metadata, TensorInfo, Value
from tests.architectures.converted import GOLDENS, Made, converted
from tests.architectures.run_llama_cpp import Answer, Request

ROOT = Path(__file__).parents[2]
LISTED: dict[str, Any] = tomllib.loads((Path(__file__).parent / "loads.toml").read_text("utf-8"))
LAST_LINES = 12
POOLED = ("gemma-embedding",)
"""Architectures for embeddings whose files do not say that attention is not causal."""

pytestmark = pytest.mark.skipif(
    importlib.metadata.version("xllamacpp") != LISTED["xllamacpp"],
    reason="loads.toml lists what another build of llama.cpp does not load",
)


class LlamaCpp:
    """The child process that has llama.cpp, begun again when something has ended it."""

    def __init__(self, log: IO[str]) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._log = log

    def ask(self, request: Request) -> Answer:
        if self._process is None:
            environment = {**os.environ, "PYTHONPATH": str(ROOT), "GGML_NO_BACKTRACE": "1"}
            command = [sys.executable, "-m", "tests.architectures.run_llama_cpp"]
            pipe = subprocess.PIPE
            self._log.seek(0)
            self._log.truncate()
            self._process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=self._log, text=True, env=environment
            )
        requests, answers = cast(IO[str], self._process.stdin), cast(IO[str], self._process.stdout)
        requests.write(json.dumps(request) + "\n")
        requests.flush()
        if line := answers.readline():
            return cast(Answer, json.loads(line))
        return {"failed": f"ended by {self.close()}", "said": self._last_lines()}

    def close(self) -> str:
        """Ends the process; the name of the signal that had ended it before."""
        process, self._process = self._process, None
        if process is None:
            return ""
        process.communicate()
        return signal.Signals(-process.returncode).name if process.returncode < 0 else f"code {process.returncode}"

    def _last_lines(self) -> list[str]:
        self._log.seek(0)
        return [line.strip() for line in self._log.read().splitlines() if line.strip()][-LAST_LINES:]


@pytest.fixture(scope="module")
def llama_cpp() -> Iterator[LlamaCpp]:
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        child = LlamaCpp(log)
        yield child
        child.close()


@functools.cache
def listed() -> dict[str, str]:
    """What llama.cpp says of those it does not load, by golden."""
    return {golden: row["says"] for row in LISTED["refused"] for golden in row["goldens"]}


def write(path: Path, metadata: Metadata, tensors: list[Made]) -> None:
    """A GGUF file of them."""
    layout = gguf.header(metadata, [TensorInfo(t.name, t.stored, t.shape) for t in tensors])
    with path.open("wb") as file:
        file.write(layout.header)
        for tensor in tensors:
            file.seek(layout.tensors[tensor.name].offset)
            file.write(tensor.data)
        file.truncate(layout.size)


def with_tokens(architecture: str, metadata: Metadata, tensors: list[Made]) -> Metadata:
    """The metadata of a whole file without a vocabulary: as many tokens and their kinds as there are rows for."""
    rows = {t.name: t.shape[0] for t in tensors}
    return {
        "general.architecture": Value.string(architecture),
        f"{architecture}.vocab_size": Value.uint32(rows.get("token_embd.weight", 288)),
        **metadata,
        "tokenizer.ggml.model": Value.string("none"),
        "tokenizer.ggml.token_type_count": Value.uint32(rows.get("token_types.weight", 1)),
    }


def test_list_names_goldens_once() -> None:
    named = [golden for row in LISTED["refused"] for golden in row["goldens"]]
    assert sorted(named) == sorted(set(named) & {golden.stem for golden in GOLDENS})


@pytest.mark.parametrize("golden", GOLDENS, ids=lambda path: path.stem)
def test_computes(golden: Path, tmp_path: Path, llama_cpp: LlamaCpp) -> None:
    path = tmp_path / "model.gguf"
    with converted(golden, tmp_path / "hf") as (recorded, model, tensors):
        write(path, with_tokens(model.architecture, model.metadata, tensors), tensors)
        causal = model.metadata.get(f"{model.architecture}.attention.causal")
    pooled = model.architecture in POOLED or (causal is not None and not causal.data)
    answer = llama_cpp.ask({"path": str(path), "pooled": pooled, "further": recorded.get("mtp") == "only"})
    said = [line for line in answer["said"] if not any(part in line for part in LISTED["harmless"])]
    if golden.stem in listed():
        assert answer["failed"] or said, "it computes without a complaint: take it off the list"
        assert any(listed()[golden.stem] in line for line in [answer["failed"], *said])
    else:
        assert (answer["failed"], said) == ("", [])
