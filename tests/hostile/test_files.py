"""Whole files that once did something else than be read or refused; fuzzing adds to ``files/``."""

import time
from pathlib import Path

import pytest

from qconv import checkpoints
from qconv.errors import QconvError

FILES = sorted(Path(__file__).with_name("files").iterdir())


def test_there_are_files():
    assert FILES


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_is_read_or_refused(path):
    start, message = time.process_time(), ""
    try:
        with checkpoints.open(path) as opened:
            for name, info in opened.tensors.items():
                opened.read(name, 0, min(info.rows, 16))
    except QconvError as error:
        message = str(error)
    assert message.isprintable()
    assert time.process_time() - start < 2
