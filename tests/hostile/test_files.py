"""Whole inputs that once did something else than be read or refused, by what they are an input of; fuzzing adds to
``files/``.
"""

from pathlib import Path

import pytest
from fuzzing import targets

from qconv.errors import TableError
from tests.hostile.work import MOST_CALLS, measured

FILES = sorted(Path(__file__).with_name("files").glob("*/*"))


def test_every_file_is_an_input_of_something() -> None:
    assert {path.parent.name for path in FILES} <= set(targets.TARGETS)
    assert len(FILES) > 10


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_is_read_or_refused(tmp_path: Path, path: Path) -> None:
    with measured() as work:
        targets.run(path.parent.name, path.read_bytes(), tmp_path)
    assert work.calls < MOST_CALLS


@pytest.mark.parametrize("path", [p for p in FILES if p.parent.name == "table"], ids=lambda path: path.name)
def test_tables_are_refused_for_what_they_try(tmp_path: Path, path: Path) -> None:
    """And not for a field that has another name since."""
    with pytest.raises(TableError) as caught:
        targets.table_file(path.read_bytes(), tmp_path)
    assert "unknown field" not in str(caught.value)
