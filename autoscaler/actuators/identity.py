"""Which process a pid means: pids are reused, so a pid alone is never signalled."""

from __future__ import annotations

import functools
import os
import signal
from pathlib import Path

import psutil

_PROC = Path("/proc")
#: Fields 3 (state), 20 (threads) and 22 (start in clock ticks since boot) of /proc/<pid>/stat, counted behind the name.
_STATE, _THREADS, _START_TICKS = 0, 17, 19


def birth(pid: int) -> str | None:
    """What tells the process of this pid from earlier and later ones; `None` = no such process, or only its remains.

    On Linux the boot and the start in clock ticks since it: psutil's creation time is wall-clock time and shifts when
    the clock is set, so that a restarted autoscaler would not know its workers again. Elsewhere psutil's creation time.
    """
    if _boot_id():
        try:
            stat = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
        fields = stat.rpartition(")")[2].split()
        # A dead main thread beside living ones looks like a zombie, but has no exit code yet: it is not gone.
        if fields[_STATE] in "ZX" and int(fields[_THREADS]) <= 1:
            return None
        return f"{_boot_id()}:{fields[_START_TICKS]}"
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else f"{process.create_time():.2f}"
    except psutil.Error:
        return None


def alive(pid: int, born: str) -> bool:
    """Whether that very process still runs."""
    return birth(pid) == born


def send(pid: int, born: str, number: signal.Signals) -> bool:
    """Send a signal to that very process, and to no other that has its pid now.

    Returns:
        Whether it was there to get it.
    """
    if not hasattr(os, "pidfd_open"):
        if not alive(pid, born):
            return False
        os.kill(pid, number)
        return True
    try:
        handle = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        # The handle names one process for ever; looked at after it was opened, its birth cannot change any more.
        if not alive(pid, born):
            return False
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(handle)
    return True


def find(asked_at: str, slot: str) -> int | None:
    """The process that was started for a slot at that moment although nobody noted its pid; `None` = there is none."""
    for process in psutil.process_iter():
        try:
            if process.environ().get("PENSTOCK_ASKED_AT_S") == asked_at and slot in process.cmdline():
                return int(process.pid)
        except (psutil.Error, OSError):
            continue
    return None


@functools.cache
def _boot_id() -> str | None:
    try:
        return (_PROC / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None
