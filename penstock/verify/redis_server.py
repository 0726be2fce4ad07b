"""An embedded Redis-protocol server that can be killed and started again."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from penstock.local import ports, redis_node
from penstock.local.files import write_atomically
from penstock.local.redis_node import RedisNode

if TYPE_CHECKING:
    from pathlib import Path

    from penstock.local.process import ProcessRef


class RedisServer:
    """One server in a folder of its own.

    Args:
        directory: its folder.
    """

    def __init__(self, directory: Path) -> None:
        port = ports.pick(None, "", last=0, avoid=frozenset())
        self._node = RedisNode(directory, port, redis_node.new_password(), redis_node.redis_executable())
        self._process: ProcessRef | None = None
        self._node.configure()
        self.url_file = directory / "redis-url"
        write_atomically(self.url_file, self._node.url + "\n", mode=0o600)

    @property
    def url(self) -> str:
        """Where it serves, password included: a secret."""
        return self._node.url

    def start(self) -> None:
        """Start it and wait until it serves.

        Raises:
            ServiceFailed: it does not.
        """
        self._process = self._node.start()
        self._node.wait_ready(self._process)

    def kill(self) -> None:
        """SIGKILL it, and wait until it is gone; what it held in memory is lost."""
        process = self._process.process() if self._process else None
        if process is not None:
            process.send_signal(signal.SIGKILL)
            process.wait(redis_node.STOP_TIMEOUT_S)
        self._process = None
