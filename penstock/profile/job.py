"""What one measuring process is asked, and what it answers: values that travel as JSON."""

from __future__ import annotations

from dataclasses import dataclass

from autoscaler.model import ServiceCurve  # noqa: TC001 - read back by these annotations
from autoscaler.planning.service_fit import SizeTimes  # noqa: TC001 - read back by these annotations


@dataclass(frozen=True, slots=True)
class Job:
    """One device with one setting."""

    #: `models/<name>`, and the version in it.
    model: str
    version: str | None
    #: `cpu` or `gpu:N`.
    device: str
    threads: int
    xla: bool
    #: Largest batch tried, in rows.
    most_rows: int
    #: Memory of the process, in bytes, above which no larger batch is tried.
    memory_bytes: int
    #: Seconds for the batches, and for each open-loop run.
    seconds: float
    open_loop_s: float
    #: Slowest batch that is of use, in seconds.
    slowest_s: float
    seed: int
    #: Seconds that a stated curve holds each batch for: an emulated device, on top of the real model.
    emulated: ServiceCurve | None = None


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """Requests of one row at Poisson moments, each waited for from when it was due."""

    #: Requests a second that were due, and the share of the measured closed-loop throughput that this is.
    rate_per_s: float
    share: float
    max_batch: int
    requests: int
    p50_s: float
    p99_s: float
    #: The same from the fitted curve and the padding, by exact replay of the same moments.
    foretold_p50_s: float
    foretold_p99_s: float


@dataclass(frozen=True, slots=True)
class Noise:
    """How quiet the machine was."""

    #: Typical spread of one size's medians over twelve stretches of the time: interquartile range over median.
    round_spread: float
    #: Share of processor time that the hypervisor gave to others; `None` = not known.
    steal: float | None
    #: Cores that other programs kept busy, on average.
    other_cores: float
    #: Longest the process was kept from running while it measured, as a share: 1 - processor time / time, where it
    #: should be computing all the time; `None` = it was not (a device that waits).
    kept_waiting: float | None
    #: Rounds over all sizes that were left out, since those before took too long.
    rounds_left_out: int = 0
    #: Relative half width of the 95 % interval of the least known size's seconds; `None` = an older file.
    known_within: float | None = None


@dataclass(frozen=True, slots=True)
class Measured:
    """What one process found."""

    job: Job
    #: Seconds from the process's start until TensorFlow was imported, the model loaded, every size warmed.
    import_s: float
    load_s: float
    warm_s: float
    #: Resident bytes after the import, after loading, and the most of all.
    imported_bytes: int
    loaded_bytes: int
    peak_bytes: int
    #: Bytes on the GPU at most; `None` = no GPU.
    gpu_bytes: int | None
    sizes: tuple[SizeTimes, ...]
    #: Why no larger batch was tried.
    stopped_by: str
    open_loop: tuple[OpenLoop, ...]
    noise: Noise

    @property
    def boot_s(self) -> float:
        """Seconds from the start of the process to a warm model; joining the group comes on top."""
        return self.import_s + self.load_s + self.warm_s
