"""Have the source files stayed as they were when the plan was made?"""

from __future__ import annotations

import os
from collections.abc import Iterable

from qconv.errors import InputError
from qconv.plan import Plan


def check_unchanged(plans: Iterable[Plan]) -> None:
    """Raises InputError when a source file is gone, or its size or time is not the plan's."""
    for path, size, modified in dict.fromkeys(s for plan in plans for s in plan.sources):
        try:
            found = os.stat(path)
        except OSError as e:
            raise InputError(f"cannot be read: {e.strerror}", file=path) from e
        if (found.st_size, found.st_mtime_ns) != (size, modified):
            raise InputError("has changed since the conversion began", file=path, hint="run the same command again")
