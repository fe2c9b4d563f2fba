"""Carries plans out: row blocks are read, encoded and written to their places by a pool of threads (see ``run``)."""

from qconv.convert.options import Options, Part, Progress, Result
from qconv.convert.run import finish, run

__all__ = ["Options", "Part", "Progress", "Result", "finish", "run"]
