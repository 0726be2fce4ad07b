"""Processor time of a process with all its children, and of the machine."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

import psutil


def tree_cpu_s(pid: int) -> float:
    """User and system seconds of a process, its living children and those that it has waited for; 0 = it is gone."""
    total = 0.0
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                total += times.user + times.system
                total += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
    return total


def machine_cpu_s() -> float:
    """Seconds that all cores together were busy since the machine started."""
    times = psutil.cpu_times()
    # A guest's time is counted in the user's as well; waiting for a disk is idleness; what the hypervisor gave to its
    # other guests was no program's here.
    beside = ("idle", "iowait", "guest", "guest_nice", "steal")
    idle_s = sum(float(getattr(times, name, 0.0)) for name in beside)
    return float(sum(times)) - idle_s


@dataclass(frozen=True, slots=True)
class Moment:
    """Processor seconds so far, at a time of the monotonic clock."""

    at_s: float
    worker_s: float
    broker_s: float
    own_s: float
    machine_s: float

    def other_cores(self, later: Moment) -> float:
        """Cores that programs outside the benchmark kept busy until `later`, on average."""
        ours: float = sum(getattr(later, name) - getattr(self, name) for name in ("worker_s", "broker_s", "own_s"))
        return max((later.machine_s - self.machine_s - ours) / max(later.at_s - self.at_s, 1e-9), 0.0)
