"""Is there room on disk?  Asked before anything is written, from the plan's exact sizes."""

from __future__ import annotations

from collections.abc import Iterable

from qconv.convert.failing import failing
from qconv.convert.output import Output
from qconv.errors import OutputError


def check(outputs: Iterable[Output]) -> None:
    """Raises OutputError when the outputs, less what their part files already occupy, do not fit."""
    needed: dict[int, int] = {}
    places: dict[int, Output] = {}
    for output in outputs:
        with failing("written", output.directory):
            device = output.disk.stat(output.directory).st_dev
            places.setdefault(device, output)
            needed[device] = needed.get(device, 0) + sum(_left(output, i) for i in range(len(output.parts)))
    for device, output in places.items():
        with failing("written", output.directory):
            free = output.disk.free(output.directory)
        if needed[device] > free:
            raise OutputError(
                f"{needed[device]:,} bytes are needed and {free:,} are free",
                file=output.directory,
                hint="free some space or choose another place for the output",
            )


def _left(output: Output, number: int) -> int:
    """Bytes of a file that have no place on disk yet."""
    if output.finishing:
        return 0
    try:
        taken = output.disk.stat(output.parts[number]).st_blocks * 512
    except FileNotFoundError:
        taken = 0
    return max(0, output.plan.files[number].size - taken)
