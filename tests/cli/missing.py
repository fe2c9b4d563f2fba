"""qconv where a library it could use is not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.cli.commands import ROOT, environment

_CODE = """
import importlib.util, sys
missing, find = sys.argv.pop(1), importlib.util.find_spec
importlib.util.find_spec = lambda name, *more: None if name == missing else find(name, *more)
from qconv.cli import main
main()
"""


def without(module: str, *arguments: str | Path, **extra: str) -> subprocess.CompletedProcess[str]:
    """Runs ``qconv`` with arguments as if ``module`` were not there; ``extra``: environment variables."""
    command = [sys.executable, "-c", _CODE, module, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment(**extra), cwd=ROOT, timeout=300)
