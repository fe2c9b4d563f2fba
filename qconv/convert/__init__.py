"""Carries plans out: row blocks are read, encoded and written to their places by a pool of threads (see ``run``)."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from qconv.convert.call import convert
from qconv.convert.options import Options, Part, Progress, Result
from qconv.convert.run import finish, run

__all__ = ["Options", "Part", "Progress", "Result", "convert", "finish", "run"]


class _Callable(ModuleType):
    """This room under the name of the function ``qconv.convert``, so that both mean what they say."""

    def __call__(self, *arguments: Any, **options: Any) -> list[Path]:
        """``qconv.convert.call.convert``."""
        return convert(*arguments, **options)


sys.modules[__name__].__class__ = _Callable
