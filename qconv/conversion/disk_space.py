"""Is there room on disk?  Asked before anything is written, from the plan's exact sizes."""

from __future__ import annotations

from collections.abc import Iterable

from qconv.conversion.os_errors import os_errors
from qconv.conversion.part_files import PartFiles
from qconv.errors import OutputError


def check(outputs: Iterable[PartFiles]) -> None:
    """Raises OutputError when the outputs, less what their part files already occupy, do not fit."""
    needed: dict[int, int] = {}
    places: dict[int, PartFiles] = {}
    for output in outputs:
        with os_errors("written", output.directory):
            device = output.disk.stat(output.directory).st_dev
            places.setdefault(device, output)
            needed[device] = needed.get(device, 0) + sum(map(output.unallocated, range(len(output.parts))))
    for device, output in places.items():
        with os_errors("written", output.directory):
            free = output.disk.free(output.directory)
        if needed[device] > free:
            raise OutputError(
                f"{needed[device]:,} bytes are needed and {free:,} are free",
                file=output.directory,
                hint="free some space or choose another place for the output",
            )
