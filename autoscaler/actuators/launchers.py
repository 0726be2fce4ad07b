"""Starting a worker as a process of its own."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from autoscaler.actuators.fleet_files import disk_errors
from autoscaler.errors import ActuatorFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

#: Ignored or caught in the parent, but the worker must start with the system's defaults.
_DEFAULTS = (signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Standard streams.
_IN, _OUT, _ERR = 0, 1, 2


class SubprocessLauncher:
    """Starts each worker as a child in a session of its own: what ends this process or its terminal ends no worker."""

    def __init__(self) -> None:
        self._children: set[int] = set()

    def launch(self, argv: Sequence[str], env: Mapping[str, str], log_path: Path) -> int:
        """See `Launcher.launch`. Only the standard streams are passed on."""
        with disk_errors(f"write the log {log_path}"):
            log_path.parent.mkdir(parents=True, exist_ok=True)
            log_path.touch(mode=0o600)
        streams = [
            (os.POSIX_SPAWN_OPEN, _IN, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, _OUT, str(log_path), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600),
            (os.POSIX_SPAWN_DUP2, _OUT, _ERR),
        ]
        try:
            pid = os.posix_spawnp(
                argv[0], list(argv), dict(env), file_actions=streams, setsid=True, setsigmask=(), setsigdef=_DEFAULTS
            )
        except OSError as error:
            raise ActuatorFailed(
                f"cannot start {argv[0]!r}: {error.strerror}; check the worker's command line and this host's limits"
            ) from error
        self._children.add(pid)
        return pid

    def exit_code(self, pid: int) -> int | None:
        """See `Launcher.exit_code`."""
        if pid not in self._children:
            return None
        try:
            done, status = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            # Someone else in this process has waited for it: the code is lost.
            self._children.discard(pid)
            return None
        if not done:
            return None
        self._children.discard(pid)
        return os.waitstatus_to_exitcode(status)
