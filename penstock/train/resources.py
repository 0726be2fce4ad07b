"""What a process takes of the machine while it works: sampled beside it, told as means and peaks."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass
from typing import Self

import psutil

#: Seconds between two samples: fine enough for an epoch of a second, and no load itself.
EVERY_S = 0.5
#: Longest wait for nvidia-smi, in seconds.
ASK_S = 2.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One look."""

    #: Seconds since the watch began.
    at_s: float
    #: Of one core, in per cent, over all threads of the process: 200 = two cores.
    cpu_percent: float
    resident_bytes: int
    #: Of the busiest GPU, in per cent, and its memory in use; `None` = there is none, or nobody to ask.
    gpu_percent: float | None = None
    gpu_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Used:
    """All of it."""

    seconds: float
    cpu_percent_mean: float
    cpu_percent_peak: float
    #: Highest resident size that the system saw, not only the samples.
    peak_bytes: int
    gpu_percent_mean: float | None
    gpu_bytes_peak: int | None


class ResourceWatch:
    """Samples a process from a thread of its own, from `with` to its end.

    Args:
        pid: of the process; it may end before the watch does.
    """

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._gpu = shutil.which("nvidia-smi")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="resources", daemon=True)
        self._began_s = time.monotonic()
        self.samples: list[Sample] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=5)

    def _run(self) -> None:
        with contextlib.suppress(psutil.NoSuchProcess):
            # The first call only begins the measuring.
            self._process.cpu_percent()
            while not self._stop.wait(EVERY_S):
                cpu, resident = self._process.cpu_percent(), self._process.memory_info().rss
                if not resident:
                    # It has ended, and nobody has asked how.
                    return
                gpu, held = gpu_now(self._gpu)
                self.samples.append(Sample(time.monotonic() - self._began_s, float(cpu), int(resident), gpu, held))


def gpu_now(program: str | None) -> tuple[float | None, int | None]:
    """Use in per cent and bytes in use of the busiest GPU, by `nvidia-smi`; `None` = not known."""
    if program is None:
        return None, None
    query = [program, "--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, check=True, timeout=ASK_S).stdout
        return parse_gpus(told)
    except (OSError, subprocess.SubprocessError):
        return None, None


def parse_gpus(told: str) -> tuple[float | None, int | None]:
    """`nvidia-smi`'s lines of use (per cent) and memory (MiB); the busiest counts."""
    found = []
    for line in told.splitlines():
        with contextlib.suppress(ValueError):
            use, memory = line.split(",")
            found.append((float(use), int(memory) * 2**20))
    return max(found) if found else (None, None)


def used(samples: list[Sample], peak_bytes: int) -> Used | None:
    """Means and peaks; `None` = it was over before the first sample."""
    if not samples:
        return None
    gpus = [sample.gpu_percent for sample in samples if sample.gpu_percent is not None]
    held = [sample.gpu_bytes for sample in samples if sample.gpu_bytes is not None]
    cpus = [sample.cpu_percent for sample in samples]
    return Used(
        seconds=samples[-1].at_s,
        cpu_percent_mean=sum(cpus) / len(cpus),
        cpu_percent_peak=max(cpus),
        peak_bytes=max(peak_bytes, *(sample.resident_bytes for sample in samples)),
        gpu_percent_mean=sum(gpus) / len(gpus) if gpus else None,
        gpu_bytes_peak=max(held, default=None),
    )
