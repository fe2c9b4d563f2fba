"""Says in the summary when no real vocabularies, which live outside the repository, were named to be checked."""

from __future__ import annotations

import pytest

from tests.tokenizers.recordings import REFERENCES

collect_ignore = ["test_tokenizer_references.py"] if REFERENCES is None else []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if REFERENCES is None:
        terminalreporter.section("real vocabularies not checked")
        terminalreporter.line("the variable QCONV_SHARED may name a folder that holds them in its folder 'tokenizers'")
