"""Finding and opening llama.cpp."""

from __future__ import annotations

import _ctypes
import importlib.util
import shutil
from pathlib import Path

import pytest

from qconv import runtime
from qconv.errors import LlamaCppError
from qconv.runtime.library import VARIABLE, Library, library_path


def test_the_wheel_is_found() -> None:
    assert runtime.available()
    assert library_path().name.startswith("xllamacpp")


def test_without_the_extra_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert not runtime.available()
    with pytest.raises(LlamaCppError, match=r"not installed \(pip install 'qconv\[runtime\]'\)"):
        library_path()


def test_the_variable_names_another(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "libllama.so"))
    with pytest.raises(LlamaCppError, match="QCONV_LLAMA_LIBRARY names no file"):
        library_path()
    (tmp_path / "libllama.so").touch()
    assert library_path() == tmp_path / "libllama.so"


def test_what_is_no_library_is_refused(tmp_path: Path) -> None:
    (tmp_path / "libllama.so").write_text("nothing")
    with pytest.raises(LlamaCppError, match=r"cannot be opened.*pip install"):
        Library(tmp_path / "libllama.so")


def test_another_library_is_refused(tmp_path: Path) -> None:
    shutil.copy(_ctypes.__file__, tmp_path / "libllama.so")
    with pytest.raises(LlamaCppError, match=r"has no function llama_model_default_params.*xllamacpp 2026"):
        Library(tmp_path / "libllama.so")


def test_a_session_tells_what_is_wrong_with_the_library(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, plain: Path
) -> None:
    (tmp_path / "libllama.so").write_text("nothing")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "libllama.so"))
    with pytest.raises(LlamaCppError, match="cannot be opened"):
        runtime.Session(plain)
