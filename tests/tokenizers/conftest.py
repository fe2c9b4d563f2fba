"""Says in the summary when the real vocabularies, which live outside the repository, were not there to be checked."""

from __future__ import annotations

import pytest

from tests.tokenizers.recordings import REFERENCES

collect_ignore = [] if REFERENCES.is_dir() else ["test_tokenizer_references.py"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not REFERENCES.is_dir():
        terminalreporter.section("real vocabularies not checked")
        terminalreporter.line(f"there is no {REFERENCES}; the variable QCONV_SHARED may name the folder above it")
