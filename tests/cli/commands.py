"""Running commands and scripts as a user does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
Run = Callable[..., subprocess.CompletedProcess[str]]


def environment(**extra: str) -> dict[str, str]:
    """What a command runs in: 80 columns, no colours asked for or forbidden."""
    kept = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "TERM")}
    return kept | {"COLUMNS": "80"} | extra


def make_checkpoint(directory: Path, *options: str) -> Path:
    """A small Llama checkpoint; the same options give the same bytes everywhere."""
    script = ROOT / "scripts" / "make_checkpoint"
    subprocess.run([sys.executable, script, directory, *options], check=True, stdout=subprocess.DEVNULL)
    return directory


_WATCH = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
process.returncode = os.waitstatus_to_exitcode(status)
print(process.returncode, usage.ru_maxrss * 1024)
"""
"""Starts a command from a small process: what the kernel counts for a process begins with what its parent held."""


def peak(*arguments: str, env: dict[str, str] | None = None) -> tuple[int, int]:
    """Of ``qconv`` with arguments: its exit code, and the largest resident memory the kernel saw, in bytes."""
    watched = [sys.executable, "-c", _WATCH, sys.executable, "-m", "qconv", *arguments]
    code, most = subprocess.check_output(watched, text=True, env=env).split()
    return int(code), int(most)
