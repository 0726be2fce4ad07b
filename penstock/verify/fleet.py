"""The workers of a verification: real processes, started, killed, frozen and watched one by one."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from autoscaler.actuators.launchers import SubprocessLauncher
from penstock.demo.surroundings import environment
from penstock.verify.errors import CannotVerify

if TYPE_CHECKING:
    from pathlib import Path

    from penstock.template_launcher import TemplateLauncher

#: Seconds for a worker from asked to ready, with TensorFlow to be imported, on a busy machine.
READY_S = 90.0
#: Seconds from SIGTERM to the end: a drain takes 20 at most.
STOP_S = 40.0
#: Seconds between looks at a log or a process.
LOOK_S = 0.01
_READY = b'"worker.ready"'


@dataclass(slots=True)
class Worker:
    """One worker process."""

    slot: str
    pid: int
    log_path: Path
    asked_at_s: float

    def ready(self) -> bool:
        """Whether it has said so."""
        try:
            return _READY in self.log_path.read_bytes()
        except OSError:
            return False

    def alive(self) -> bool:
        """Whether its process runs, frozen or not."""
        try:
            return bool(psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; one that is gone already gets none."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def said(self) -> str:
        """The end of its log, for messages."""
        return self.log_path.read_text(encoding="utf-8", errors="replace").strip()[-800:]


class Fleet:
    """Workers of one pipeline by slot.

    Args:
        config: the pipeline's settings file.
        launcher: forks workers from a template.
        logs: directory for their logs, one file a process.
        clock: file of `penstock.verify.shifted_clock`, whose clock the workers then have; those start
            as whole processes.
    """

    def __init__(self, config: Path, launcher: TemplateLauncher, logs: Path, *, clock: Path | None = None) -> None:
        self._config, self._template, self._logs, self._clock = config, launcher, logs, clock
        self._whole = SubprocessLauncher()
        self._started = 0
        self._workers: dict[str, Worker] = {}

    @property
    def workers(self) -> list[Worker]:
        """Those that are meant to run, in the order of their slots."""
        return [self._workers[slot] for slot in sorted(self._workers)]

    def start(self, slot: str, *, state_dir: Path | None = None) -> Worker:
        """Start a worker in a slot; it takes the place of the one that was there.

        Args:
            slot: stable name.
            state_dir: where it keeps its locks; another one makes it a worker as on another host.
        """
        self._started += 1
        log_path = self._logs / f"{slot}.{self._started}.log"
        given = environment(os.environ) | {"PENSTOCK_ASKED_AT_S": str(time.time())}
        if state_dir is not None:
            given["PENSTOCK_STATE_DIR"] = str(state_dir)
        command = ["worker", "--config", str(self._config), "--slot", slot]
        asked_at_s = time.monotonic()
        if self._clock is None:
            pid = self._template.launch([sys.executable, "-m", "penstock", *command], given, log_path)
        else:
            argv = [sys.executable, "-m", "penstock.verify.shifted_clock", str(self._clock), *command]
            log_path.parent.mkdir(parents=True, exist_ok=True)
            pid = self._whole.launch(argv, given, log_path)
        self._workers[slot] = Worker(slot, pid, log_path, asked_at_s)
        return self._workers[slot]

    def wait_ready(self, worker: Worker) -> float:
        """Wait until a worker is ready; when that was seen, by the monotonic clock.

        Raises:
            CannotVerify: it has ended, or takes too long.
        """
        deadline = time.monotonic() + READY_S
        while not worker.ready():
            if not worker.alive() or time.monotonic() > deadline:
                raise CannotVerify(f"the worker {worker.slot} does not become ready: {worker.said()}", "see its log")
            time.sleep(LOOK_S)
        return time.monotonic()

    def kill(self, worker: Worker) -> None:
        """SIGKILL, and wait until it is gone."""
        worker.signal(signal.SIGKILL)
        self.wait_ended(worker, STOP_S)

    def stop(self, worker: Worker) -> None:
        """SIGTERM: it drains, leaves the group and is no longer meant to run."""
        self._workers.pop(worker.slot, None)
        worker.signal(signal.SIGTERM)

    def wait_ended(self, worker: Worker, timeout_s: float) -> bool:
        """Wait for the end of a worker's process; whether it came."""
        deadline = time.monotonic() + timeout_s
        while worker.alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(LOOK_S)
        self.exit_code(worker)
        return True

    def exit_code(self, worker: Worker) -> int | None:
        """The exit code of a worker that has ended; `None` = it has not, or nobody knows. Told once."""
        return (self._template if self._clock is None else self._whole).exit_code(worker.pid)

    def mend(self) -> list[str]:
        """Replace workers that have ended although nobody asked them to; what they said at the end."""
        dead = [worker for worker in self.workers if not worker.alive()]
        for worker in dead:
            self.exit_code(worker)
            self.start(worker.slot)
        for worker in self.workers:
            self.wait_ready(worker)
        return [f"{worker.slot} ended unasked: {worker.said()[-300:]}" for worker in dead]

    def end(self) -> None:
        """Kill all: their topics are thrown away."""
        for worker in self.workers:
            self.kill(worker)
        self._workers.clear()
