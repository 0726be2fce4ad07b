"""The processes that the demo starts, and their end."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

from penstock.demo.errors import ProcessDied
from penstock.demo.scenario import PIPELINE
from penstock.demo.surroundings import environment
from penstock.demo.traffic import Progress, TrafficLog

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

log = logging.getLogger(__name__)

#: Seconds from SIGTERM to SIGKILL: the autoscaler may take 15 to end, its workers 30 to drain.
STOP_S = 60.0

#: Last characters of a log that an error message quotes.
QUOTED = 400


class Child:
    """One process in a session of its own, so that Ctrl-C reaches the demo alone and it can stop things in order.

    Args:
        name: for messages and the log's name.
        arguments: of the Python interpreter.
        logs: directory for its log.
        talks: whether its stdin and stdout are ours; else its stdout goes to the log.
    """

    def __init__(self, name: str, arguments: Sequence[str], logs: Path, *, talks: bool = False) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self.name = name
        self.log_path = logs / f"{name}.log"
        with self.log_path.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, *arguments],
                stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talks else output,
                stderr=output,
                env=environment(os.environ),
                start_new_session=True,
                text=True,
            )

    def check(self) -> None:
        """Refuse to go on without it.

        Raises:
            ProcessDied: it has ended.
        """
        code = self.process.poll()
        if code is not None:
            said = self.log_path.read_text(encoding="utf-8", errors="replace").strip()[-QUOTED:]
            cause = f"the demo's {self.name} ended with code {code}" + (f": {said}" if said else "")
            raise ProcessDied(cause, f"read {self.log_path}; the demo stops everything else it started")

    def stop(self, wait_s: float = STOP_S) -> None:
        """SIGTERM, then SIGKILL. Stopping twice does no harm."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(wait_s)
            except subprocess.TimeoutExpired:
                log.warning("demo.killed", extra={"child": self.name, "pid": self.process.pid})
                self.process.kill()
                self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


class Autoscaler(Child):
    """The autoscaler with all its workers; see `penstock.demo.leash`.

    Args:
        config: the demo's settings file.
        state_dir: where the fleet's files are.
        logs: directory for the autoscaler's log.
        pipeline: whose fleet it is.
    """

    def __init__(self, config: Path, state_dir: Path, logs: Path, pipeline: str = PIPELINE) -> None:
        command = ["-m", "penstock", "autoscaler", "--config", str(config)]
        arguments = ["-m", "penstock.demo.leash", str(state_dir), pipeline, *command]
        super().__init__("autoscaler", arguments, logs, talks=True)


class Traffic(Child):
    """The traffic process; see `penstock.demo.load`.

    Args:
        directory: holds its plan and takes its log.
        logs: directory for what it says on stderr.
    """

    def __init__(self, directory: Path, logs: Path) -> None:
        super().__init__("traffic", ["-m", "penstock.demo.load", str(directory)], logs, talks=True)
        self._directory = directory
        self._newest: Progress | None = None
        self._thread = threading.Thread(target=self._read, name="traffic-progress", daemon=True)
        self._thread.start()

    @property
    def newest(self) -> Progress | None:
        """Where it said last that it is; `None` = it has said nothing yet."""
        return self._newest

    def go(self) -> None:
        """Begin the load."""
        if self.process.stdin is not None:
            self.process.stdin.write("go\n")
            self.process.stdin.flush()

    def result(self) -> TrafficLog:
        """What it did and saw; call it after `done`."""
        self.process.wait()
        self._thread.join()
        return TrafficLog.load(self._directory)

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self._newest = Progress.parse(line) or self._newest
