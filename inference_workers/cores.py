"""How many processor cores this process may use."""

from __future__ import annotations

import math
import os
from pathlib import Path

#: Quota and period of the control group in microseconds: version 2 in one file, version 1 in two.
_CGROUP_2 = Path("/sys/fs/cgroup/cpu.max")
_CGROUP_1 = (Path("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), Path("/sys/fs/cgroup/cpu/cpu.cfs_period_us"))


#: Threads inside an operation where nobody says: the second nearly doubles what a large batch serves, and a worker's
#: own threads need the other cores.
USUAL_THREADS = 2


def usual_threads() -> int:
    """Threads inside one TensorFlow operation where nobody says how many."""
    return min(usable_cores(), USUAL_THREADS)


def usable_cores() -> int:
    """Cores that the process may run on, and no more than a container's limit lets it use; at least 1."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    most = limit(_read(_CGROUP_2) or " ".join(map(_read, _CGROUP_1)))
    return max(cores if most is None else min(cores, most), 1)


def limit(said: str) -> int | None:
    """Cores of a quota, `QUOTA PERIOD` in microseconds; `None` where there is none (`max`, -1 or nothing).

    A part of a core counts as one: a limit of 1.5 is used by two threads.
    """
    quota, _, period = said.strip().partition(" ")
    if not quota.isdigit() or not period.strip().isdigit() or int(period) == 0:
        return None
    return math.ceil(int(quota) / int(period))


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""
