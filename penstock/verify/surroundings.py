"""On what a verification ran: the machine and the versions."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

#: Distributions whose version may matter to a result.
_NAMED = ("penstock", "kafka-python", "tensorflow", "tensorflow-cpu", "numpy")


def machine() -> str:
    """Processor, cores and memory in words."""
    model = platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model}, {len(os.sched_getaffinity(0))} cores, {memory_gib:.0f} GiB, {platform.system()}"


def versions(*, embedded: bool) -> dict[str, str]:
    """Versions by name; that of the broker where it is the embedded one."""
    found = {"python": platform.python_version()}
    for name in _NAMED:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    if embedded:
        from penstock.local.jar_lock import pinned  # noqa: PLC0415 - the extra `local`

        found["kafka"] = next(jar.version for jar in pinned() if jar.artifact == "kafka-clients")
    return found
