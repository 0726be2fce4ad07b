"""The two seams of acting: an `Actuator` brings a declared fleet about, a `Launcher` starts one process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from autoscaler.model import FleetStatus


@dataclass(frozen=True, slots=True)
class ActuatorSettings:
    """How patient the actuator is with workers."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    #: Seconds from SIGTERM to SIGKILL. Longer than the worker's own drain (20 s), below Kubernetes' 30 s.
    drain_deadline_s: float = 25.0
    #: Seconds before the first restart of a worker that crashed: at once for a person, not a busy loop for a core.
    backoff_initial_s: float = 0.25
    #: Longest pause between two restarts, in seconds; each crash in a row doubles the pause up to here.
    backoff_max_s: float = 60.0
    #: Seconds that a worker must have lived for its earlier crashes to be forgotten: well beyond a model's load.
    stable_after_s: float = 60.0
    #: Crashes in a row from which a slot is called a crash loop: one is bad luck, three are a pattern.
    crash_loop_after: int = 3
    #: Seconds before a worker that refused to run (bad configuration, slot taken) is tried again: nothing changes by
    #: itself, but a person may have mended the file.
    refused_retry_s: float = 30.0
    #: Size in bytes from which a slot's log is set aside (once) before the next start.
    log_limit_bytes: int = 16 * 1024 * 1024

    def __post_init__(self) -> None:
        for name in ("drain_deadline_s", "backoff_initial_s", "backoff_max_s", "stable_after_s", "refused_retry_s"):
            value = getattr(self, name)
            if not value > 0:
                raise ValueError(f"actuator.{name}={value}: must be above 0 seconds; leave it out for the default")
        if self.backoff_max_s < self.backoff_initial_s:
            raise ValueError(
                f"actuator.backoff_max_s={self.backoff_max_s}: must be at least "
                f"backoff_initial_s={self.backoff_initial_s}"
            )
        if self.crash_loop_after < 1 or self.log_limit_bytes < 1:
            raise ValueError(
                f"actuator.crash_loop_after={self.crash_loop_after}, log_limit_bytes={self.log_limit_bytes}: "
                "must be at least 1"
            )


@dataclass(frozen=True, slots=True)
class SlotProblem:
    """A worker that should run and does not stay up."""

    slot: str
    #: Crashes in a row.
    crashes: int
    #: Last exit code, negative for a signal; `None` = not known (its parent was gone).
    exit_code: int | None
    #: When it is started again, in Unix seconds; `None` = it is up at this moment.
    next_start_at_s: float | None
    #: In words.
    meaning: str


class Actuator(Protocol):
    """Brings a declared fleet about. Safe to call from one thread at a time; blocks for milliseconds, not seconds."""

    def declare(self, fleet: Mapping[str, int], epoch: int) -> None:
        """Say how many workers of each type there shall be; `reconcile` makes it so.

        Args:
            fleet: Workers by type name; a type left out shall have none.
            epoch: Offset of the decider's claim.

        Raises:
            StaleDecider: a higher epoch has declared before; nothing was changed.
            ActuatorFailed: the declaration could not be kept.
        """

    def reconcile(self) -> None:
        """Take the next steps towards the declared fleet: start, restart, drain, kill. Meant for once a second.

        Raises:
            ActuatorFailed: the steps could not be taken; try again at the next tick.
        """

    def status(self) -> FleetStatus:
        """What is declared and what runs."""

    def problems(self) -> tuple[SlotProblem, ...]:
        """Workers that do not stay up, worst first."""

    def stop_workers(self) -> None:
        """Drain every worker and wait for their end, at most the drain deadline and a little more."""


class Launcher(Protocol):
    """Starts one process that outlives its starter."""

    def launch(self, argv: Sequence[str], env: Mapping[str, str], log_path: Path) -> int:
        """Start `argv` in a session of its own with the environment `env` (whole), output appended to `log_path`.

        Returns:
            Its pid.

        Raises:
            ActuatorFailed: it could not be started.
        """

    def exit_code(self, pid: int) -> int | None:
        """Exit code of a process that this launcher started and that has ended (negative for a signal).

        `None` = it runs, or it is not ours to know. Asking also frees what the system keeps of an ended child; the code
        is told once.
        """
