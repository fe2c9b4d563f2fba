"""How many cores this process may use: its CPU affinity and the quotas of its control groups."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath


def usable(root: Path = Path("/")) -> int:
    """Cores, at least 1.  ``root`` is where ``proc`` and ``sys`` are found."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(count, quota(root))))


def quota(root: Path) -> float:
    """Cores' worth of time the control groups grant: the least of this group's and its ancestors', or infinity."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return math.inf
    least = math.inf
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if not controllers:
            least = min(least, _least(root / "sys/fs/cgroup", group, _version_2))
        elif "cpu" in controllers.split(","):
            least = min(least, _least(root / "sys/fs/cgroup/cpu", group, _version_1))
    return least


def _least(mount: Path, group: str, read: Callable[[Path], float]) -> float:
    """The least quota from ``group`` up to the mount.

    Inside a container the path may name a group that only the host sees; what is missing grants everything.
    """
    path = PurePosixPath(group.lstrip("/"))
    return min(read(mount / place) for place in (path, *path.parents))


def _version_2(directory: Path) -> float:
    limit, period = _numbers(directory / "cpu.max")
    return limit / period if limit > 0 and period > 0 else math.inf


def _version_1(directory: Path) -> float:
    limit, _ = _numbers(directory / "cpu.cfs_quota_us")
    period, _ = _numbers(directory / "cpu.cfs_period_us")
    return limit / period if limit > 0 and period > 0 else math.inf


def _numbers(path: Path) -> tuple[int, int]:
    """The first two numbers of a file, -1 for what is missing or not a number (``max``)."""
    try:
        words = path.read_text().split()
    except OSError:
        words = []
    first, second, *_ = [int(w) if w.isdigit() else -1 for w in words[:2]] + [-1, -1]
    return first, second
