"""A stable name for each autoscaler process of a host: the lowest number whose lock is free.

A process that was killed and started again gets the number, and so the name, of before, and Kafka gives it its
partitions back at once instead of after the session time-out.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import socket
from typing import TYPE_CHECKING

from penstock.errors import PenstockError

if TYPE_CHECKING:
    from pathlib import Path

#: More autoscalers of one pipeline on one host than anybody has a use for.
_MOST = 32
#: Characters of the state directory's digest: two directories of one host do not share names.
_DIGEST = 8


class Member:
    """Holds one name until `release`, or until the process ends.

    Args:
        state_dir: Shared by the autoscalers of this host.
        pipeline: Whose.

    Raises:
        PenstockError: all names are taken, or the directory cannot be written to.
    """

    def __init__(self, state_dir: Path, pipeline: str) -> None:
        self._root = state_dir / "autoscaler"
        self._pipeline = pipeline
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            self._handle, number = self._take()
        except OSError as error:
            raise PenstockError(
                f"the state directory {state_dir} cannot be used: {error}", "check its owner and the disk's space"
            ) from error
        host = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())
        place = hashlib.sha256(str(state_dir.resolve()).encode()).hexdigest()[:_DIGEST]
        #: The member's name, also its `group.instance.id`.
        self.name = f"{host}-{place}-{number}"

    def alone(self) -> bool:
        """Whether no other process holds a name of this pipeline in this directory."""
        held = 0
        for number in range(_MOST):
            if self._path(number).exists():
                handle = os.open(self._path(number), os.O_RDWR)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    held += 1
                finally:
                    os.close(handle)
        return held <= 1

    def release(self) -> None:
        """Give the name back."""
        os.close(self._handle)

    def _take(self) -> tuple[int, int]:
        for number in range(_MOST):
            handle = os.open(self._path(number), os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
            else:
                return handle, number
        raise PenstockError(
            f"{_MOST} autoscalers of pipeline {self._pipeline!r} run on this state directory", "stop some of them"
        )

    def _path(self, number: int) -> Path:
        return self._root / f"{self._pipeline}-{number}.lock"
