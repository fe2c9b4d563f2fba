"""A session's process: how it ends, and what its errors say."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from qconv.errors import InputError, LlamaCppError, UnsupportedError, UsageError
from qconv.runtime import Session
from qconv.types import Value
from tests.runtime import models
from tests.waiting import wait_until

Tokens = NDArray[np.int32]
ROOT = Path(__file__).parents[2]


def alive(process: int) -> bool:
    """Whether it runs; one that has ended but nobody has asked about does not."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{process}/status")
    return not status.exists() or "State:\tZ" not in status.read_text()


def test_what_a_model_says_of_itself(session: Session, tokens: Tokens) -> None:
    info = session.info
    assert (info.vocabulary, info.columns, info.layers) == (models.VOCABULARY, models.COLUMNS, models.LAYERS)
    assert (info.trained_context, info.bos) == (1024, models.BOS)
    assert "llama" in info.description
    assert session.library.endswith(".so") or session.library.endswith(".dylib")


def test_text_becomes_tokens(session: Session, tokens: Tokens) -> None:
    assert np.array_equal(session.tokenize(models.TEXT), tokens)
    assert np.array_equal(session.tokenize(models.TEXT.encode()), tokens)
    assert session.tokenize("</s>").tolist() == [models.BOS, *(b + models.FIRST_BYTE for b in b"</s>")]
    assert session.tokenize("</s>", special=True).tolist() == [models.BOS, 2]
    assert session.tokenize("").tolist() == [models.BOS]


def test_a_session_leaves_no_process(plain: Path) -> None:
    with Session(plain, context=64) as session:
        process = session._child._process
        assert alive(process.pid)
    assert process.returncode == 0
    assert not alive(process.pid)
    with pytest.raises(LlamaCppError, match="the session is closed"):
        session.tokenize("more")
    forgotten = Session(plain, context=64)
    process = forgotten._child._process
    del forgotten
    assert process.returncode is not None


def test_llama_cpp_s_log_is_kept_off_the_screen(plain: Path, capfd: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []
    with Session(plain, context=64, log=lines.append) as session:
        wait_until(lambda: any("llama" in line for line in session.log))  # a thread of its own reads it
    wait_until(lambda: any("n_ctx" in line for line in lines))
    assert capfd.readouterr() == ("", "")


def test_a_process_that_is_killed_becomes_an_error(plain: Path) -> None:
    with Session(plain, context=64) as session:
        os.kill(session._child._process.pid, signal.SIGKILL)
        with pytest.raises(LlamaCppError, match=r"llama\.cpp's process was ended by SIGKILL: .*\(not enough memory"):
            session.tokenize("text")
        with pytest.raises(LlamaCppError, match="closed"):
            session.tokenize("text")


def test_an_assertion_of_llama_cpp_becomes_an_error(tmp_path: Path, tokens: Tokens) -> None:
    keys = models.metadata() | {"llama.attention.layer_norm_rms_epsilon": Value.float32(-1)}
    path = models.write(tmp_path / "model.gguf", models.weights(), keys)
    with (
        pytest.raises(LlamaCppError, match=r"was ended by SIGABRT: .*GGML_ASSERT\(eps >= 0"),
        Session(path, context=64) as s,
    ):
        s.importance(tokens)


@pytest.mark.parametrize("size", [0, 3, 40, 5000, -4096])
def test_a_truncated_file_is_refused(size: int, plain: Path, tmp_path: Path) -> None:
    data = plain.read_bytes()
    path = tmp_path / "cut.gguf"
    path.write_bytes(data[:size])
    with pytest.raises(InputError, match=r"cut\.gguf: llama\.cpp does not load it: .+") as caught:
        Session(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused_before_anything_is_started(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be opened"):
        Session(tmp_path / "none.gguf")
    with pytest.raises(InputError, match="not a regular file"):
        Session(tmp_path)


def test_a_model_without_a_tokenizer(tmp_path: Path, tokens: Tokens) -> None:
    keys = {k: v for k, v in models.metadata().items() if not k.startswith("tokenizer.")}
    keys["tokenizer.ggml.model"] = Value.string("none")
    with Session(models.write(tmp_path / "m.gguf", models.weights(), keys), context=64) as session:
        assert session.info.bos == -1
        assert len(session.likelihoods(tokens)) == len(tokens) // 64 * 31
        with pytest.raises(UsageError, match="has no tokenizer"):
            session.tokenize("text")


def test_an_encoder_is_refused(tmp_path: Path) -> None:
    keys = {k.replace("llama.", "bert."): v for k, v in models.metadata().items()}
    keys |= {
        "general.architecture": Value.string("bert"),
        "bert.attention.layer_norm_epsilon": Value.float32(1e-5),
        "bert.attention.causal": Value.boolean(False),
    }
    columns, wide = np.zeros(models.COLUMNS, np.float32), np.zeros(models.FEED_FORWARD, np.float32)
    weights = models.weights()
    bert = {"token_embd.weight": weights["token_embd.weight"], "position_embd.weight": np.zeros((1024, 64), np.float32)}
    bert["token_types.weight"] = columns[None]
    bert |= {f"token_embd_norm.{part}": columns for part in ("weight", "bias")}
    square = np.zeros((64, 64), np.float32)
    for i in range(models.LAYERS):
        bert |= {f"blk.{i}.attn_{part}.weight": square for part in ("q", "k", "v", "output")}
        bert |= {f"blk.{i}.attn_{part}.bias": columns for part in ("q", "k", "v", "output")}
        norms = ("attn_output_norm", "layer_output_norm")
        bert |= {f"blk.{i}.{norm}.{part}": columns for norm in norms for part in ("weight", "bias")}
        bert |= {f"blk.{i}.ffn_up.weight": weights["blk.0.ffn_up.weight"], f"blk.{i}.ffn_up.bias": wide}
        bert |= {f"blk.{i}.ffn_down.weight": weights["blk.0.ffn_down.weight"], f"blk.{i}.ffn_down.bias": columns}
    keys |= {
        "bert.attention.head_count_kv": Value.uint32(models.HEADS),
        "tokenizer.ggml.token_type_count": Value.uint32(1),
    }
    with pytest.raises(UnsupportedError, match="is an encoder"):
        Session(models.write(tmp_path / "bert.gguf", bert, keys), context=64)


def test_threads_are_never_more_than_the_cores(plain: Path) -> None:
    with Session(plain, context=64, threads=10_000) as session:
        assert session.threads <= len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else True


ENDLESS = """
import sys
import numpy as np
from qconv.runtime import Session
with Session(sys.argv[1], context=64) as session:
    print(session._child._process.pid, flush=True)
    while True:
        session.importance(np.ones(64 * 512, np.int32))
"""


def endless(plain: Path) -> tuple[subprocess.Popen[str], int]:
    """A program that computes for ever, and the process of its session."""
    program = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, str(plain)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert program.stdout is not None
    return program, int(program.stdout.readline())


def test_ctrl_c_ends_both(plain: Path) -> None:
    program, child = endless(plain)
    time.sleep(0.3)  # it is likely computing by now, which is the harder case
    os.killpg(program.pid, signal.SIGINT)  # as a terminal does: both get it
    wait_until(lambda: program.poll() is not None and not alive(child))
    assert "KeyboardInterrupt" in program.communicate()[1]


def test_the_child_ends_when_its_parent_is_killed(plain: Path) -> None:
    program, child = endless(plain)
    time.sleep(0.3)  # as above
    program.kill()
    program.communicate()
    wait_until(lambda: not alive(child))


def test_files_of_the_working_directory_are_not_imported(plain: Path, tmp_path: Path) -> None:
    for name in ("numpy", "qconv", "msgspec"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported')")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from qconv.runtime import Session; Session(sys.argv[2]).close()"
    )
    subprocess.run([sys.executable, "-P", "-c", code, str(ROOT), str(plain)], cwd=tmp_path, check=True)


def test_the_command_line_imports_none_of_it() -> None:
    code = "import sys; from qconv.cli.app import make_app; make_app(None); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not {"qconv.runtime", "numpy"} & set(modules.split())
