"""Processes that outlive the one that started them, and how to find the same one again later.

A pid alone is no identity: it is reused. A process is ours when its pid, its time of creation and an argument that only
we give (the path of our own configuration file) all agree.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from penstock.errors import ServiceFailed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

#: The creation time is computed from the boot time, which moves a little when the clock is set.
_CREATION_TOLERANCE_S = 2.0
#: After SIGKILL only the kernel is involved; longer means a process stuck in it.
_KILL_TIMEOUT_S = 5.0
#: The command line of a new process appears within microseconds.
_EXEC_POLL_S = 0.0005
#: Looks at a process that shows none before it counts as gone: one second's worth.
_EXEC_POLLS = 2000
#: Variables that would change a Java process behind our back.
_UNWANTED = frozenset({"JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH"})


@dataclass(frozen=True, slots=True)
class ProcessRef:
    """A process, told apart from every other that may get its pid.

    Attributes:
        pid: process id.
        created_at_s: Unix time of creation as the system tells it.
        marker: an argument of its command line that only we give.
    """

    pid: int
    created_at_s: float
    marker: str

    def process(self) -> psutil.Process | None:
        """The live process, or None when it is gone, dead and not yet collected, or another one."""
        try:
            process = psutil.Process(self.pid)
            if abs(process.create_time() - self.created_at_s) > _CREATION_TOLERANCE_S:
                return None
            for _ in range(_EXEC_POLLS):
                if process.status() == psutil.STATUS_ZOMBIE:
                    with contextlib.suppress(ChildProcessError):
                        os.waitpid(self.pid, os.WNOHANG)
                    return None
                if command := process.cmdline():
                    return process if self.marker in command else None
                # Without a command line it is being started, or it is ending: in a moment it is one or the other.
                time.sleep(_EXEC_POLL_S)
            return None
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            return None  # what we may not look at is not ours

    def alive(self) -> bool:
        """Whether it runs."""
        return self.process() is not None

    def stop(self, *, timeout_s: float) -> bool:
        """Ask it to end with SIGTERM, end it with SIGKILL after `timeout_s`; return whether it obeyed.

        Raises:
            ServiceFailed: it does not even go away when killed.
        """
        process = self.process()
        if process is None:
            return True
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGCONT)  # a frozen process acts on nothing until it goes on
        if _ended(process, timeout_s):
            return True
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
        if _ended(process, _KILL_TIMEOUT_S):
            return False
        raise ServiceFailed(
            f"process {self.pid} does not end, not even by SIGKILL",
            "it hangs in the kernel, as a rule on a disk: look at `ps -o stat,wchan` of it",
        )


def _ended(process: psutil.Process, timeout_s: float) -> bool:
    try:
        process.wait(timeout_s)
    except psutil.TimeoutExpired:
        return False
    except psutil.NoSuchProcess:
        pass
    return True


def spawn(arguments: Sequence[str], *, marker: str, output: Path, environment: Mapping[str, str]) -> ProcessRef:
    """Start a process in a session of its own, so that neither Ctrl-C nor a closed terminal reaches it.

    Args:
        arguments: the command line; the first is an absolute path.
        marker: which of the arguments tells this process from any other.
        output: where its standard output and error are appended.
        environment: variables; those that would change a Java process are dropped.

    Raises:
        OSError: it cannot be started.
    """
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(output), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    kept = {name: value for name, value in environment.items() if name not in _UNWANTED}
    pid = os.posix_spawn(
        arguments[0],
        list(arguments),
        kept,
        file_actions=actions,
        setsid=True,
        setsigmask=(),
        setsigdef=(signal.SIGPIPE,),
    )
    process = psutil.Process(pid)
    # We go on as soon as the child has left our memory; the system shows its command line only a moment later.
    while not process.cmdline() and process.status() != psutil.STATUS_ZOMBIE:
        time.sleep(_EXEC_POLL_S)
    return ProcessRef(pid, process.create_time(), marker)


def find(program: str, marker: str) -> ProcessRef | None:
    """A process of ours that nobody noted: killed between its start and the note, or the note was deleted.

    Args:
        program: file name of the executable; an editor on the same configuration file is not the service.
        marker: the argument that only we give.
    """
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            arguments = process.cmdline()
            if arguments and os.path.basename(arguments[0]) == program and marker in arguments[1:]:  # noqa: PTH119
                return ProcessRef(process.pid, process.create_time(), marker)
    return None
