"""A directory's Kafka and Redis as one thing: start or adopt, look, stop."""

from __future__ import annotations

import dataclasses
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from penstock.errors import AlreadyRunning, DirectoryUnusable
from penstock.local import guard, kafka_node, ports, process, redis_node, state
from penstock.local.files import disk_errors, write_atomically
from penstock.local.jar_lock import pinned
from penstock.local.jars import JarCache, fetch_with_jgo
from penstock.local.java import Java, java_executable
from penstock.local.lock import exclusive
from penstock.local.paths import Layout, cache_directory, make_private
from penstock.local.redis_node import RedisNode
from penstock.local.starter import Starter, broker_spec, security_of

if TYPE_CHECKING:
    import subprocess
    from types import TracebackType

    from penstock.local.process import ProcessRef
    from penstock.local.progress import Progress

log = logging.getLogger(__name__)

#: How long a second `up` or `down` waits for the first: a first start with its download on a slow line.
_LOCK_TIMEOUT_S = 600.0
_BUSY = "starting or stopping services"

Health = Literal["running", "not answering", "stopped"]


@dataclasses.dataclass(frozen=True, slots=True)
class ServiceStatus:
    """One service as seen now.

    Attributes:
        health: whether it runs and answers.
        address: `host:port`, the last one when stopped; None when it was never started here.
        pid: its process; None when stopped.
    """

    health: Health
    address: str | None
    pid: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class LocalStatus:
    """Both services of a directory as seen now.

    Attributes:
        directory: whose they are, absolute.
        redis_url_file: the file with the Redis URL and its password; None when there is none.
    """

    directory: Path
    kafka: ServiceStatus
    redis: ServiceStatus
    redis_url_file: Path | None

    @property
    def running(self) -> bool:
        """Whether both run and answer."""
        return self.kafka.health == self.redis.health == "running"


class LocalServices:
    """Running services of one directory; `start` makes one.

    Attributes:
        directory: whose they are, absolute.
        bootstrap: Kafka's address, `host:port`.
        redis_url: the Redis URL with its password: a secret.
        redacted_redis_url: the same without its password, for people and logs.
        redis_url_file: the file that holds `redis_url`, for its owner alone.
        java: the Java runtime with Kafka's jars, for Kafka's own console tools.
        security: the locks, where Kafka has any; then `bootstrap` is the listener for passwords.
        mutual_bootstrap: the listener for certificates, `host:port`; None without locks.
    """

    def __init__(
        self, layout: Layout, note: state.State, redis: RedisNode, java: Java, watcher: subprocess.Popen[bytes] | None
    ) -> None:
        self.directory = layout.directory
        self.bootstrap = f"{ports.HOST}:{note.kafka_port}"
        self.redis_url = redis.url
        self.redacted_redis_url = redis.redacted_url
        self.redis_url_file = layout.redis_url
        self.java = java
        self.security = security_of(layout, note)
        self.mutual_bootstrap = f"{ports.HOST}:{note.mutual_port}" if note.mutual_port else None
        self._guard = watcher

    @classmethod
    def start(
        cls,
        directory: Path,
        *,
        progress: Progress | None = None,
        kafka_port: int | None = None,
        redis_port: int | None = None,
        ephemeral: bool = False,
        secure: bool = False,
        lean: bool = True,
    ) -> Self:
        """Start both services, or adopt those that run in this directory already.

        Args:
            directory: data goes to `<directory>/.penstock/`.
            progress: shows the one download; silent by default.
            kafka_port: loopback port for Kafka's clients; a free one by default.
            redis_port: loopback port for Redis; a free one by default.
            ephemeral: end them and delete their data with this process, even when it is killed.
            secure: Kafka with TLS, users and an authorizer that denies what nobody allowed; see `security`.
            lean: Kafka small and quick to start; else with the flags of Kafka's own scripts, to be measured.

        Raises:
            LocalServicesError: with cause and cure; nothing that was started by this call is left running.
        """
        layout = Layout.of(directory)
        java = dataclasses.replace(java_with_kafka(progress), lean=lean)
        watcher = None
        try:
            with disk_errors("starting Kafka and Redis", layout.root):
                make_private(layout.root)
                if not (ignore := layout.root / ".gitignore").exists():
                    write_atomically(ignore, "*\n")  # data and secrets do not belong into anybody's repository
                with exclusive(layout.lock, timeout_s=_LOCK_TIMEOUT_S, what=_BUSY):
                    if ephemeral:
                        _refuse_to_delete(layout)
                        watcher = guard.start(layout.directory)
                    note, redis = Starter(layout, java, kafka_port, redis_port, secure).run()
        except BaseException:
            if watcher:  # not under the lock, which the guard needs
                watcher.communicate()
            raise
        return cls(layout, note, redis, java, watcher)

    def stop(self) -> None:
        """End both; ephemeral ones leave no data behind. Stopping twice does no harm."""
        stop(self.directory)
        if self._guard:
            self._guard.communicate()
            self._guard = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def _refuse_to_delete(layout: Layout) -> None:
    if layout.state.exists() or layout.kafka.exists():
        raise AlreadyRunning(
            f"{layout.root} holds services that are meant to stay, and ephemeral ones would delete them",
            "start ephemeral services in an empty directory",
        )


def java_with_kafka(progress: Progress | None = None) -> Java:
    """The Java runtime with Kafka's jars, fetched when this user has none yet.

    Raises:
        LocalServicesError: see `JarCache.ensure` and `java_executable`.
    """
    executable = java_executable()
    directory = cache_directory(os.environ, Path.home()) / "jars"
    if os.pathsep in str(directory):
        raise DirectoryUnusable(
            f"the jar cache {directory} contains {os.pathsep!r}, which separates the entries of a Java class path",
            "set PENSTOCK_CACHE to a directory without it",
        )
    return Java(executable, JarCache(directory, fetch_with_jgo).ensure(pinned(), progress))


def stop(directory: Path) -> bool:
    """End what runs in a directory, cleanly where it obeys; return whether anything ran. Data and ports are kept.

    Raises:
        ServiceFailed: a process does not go away.
        DirectoryBusy: an `up` in this directory does not come to an end.
    """
    layout = Layout.of(directory)
    if not layout.root.is_dir():
        return False
    with (
        disk_errors("stopping Kafka and Redis", layout.root),
        exclusive(layout.lock, timeout_s=_LOCK_TIMEOUT_S, what=_BUSY),
        ThreadPoolExecutor(2, thread_name_prefix="stop") as pool,
    ):
        note = state.load(layout.state)
        kafka, redis = _running(layout, note)
        ending = [
            pool.submit(ref.stop, timeout_s=timeout_s)
            for ref, timeout_s in ((kafka, kafka_node.STOP_TIMEOUT_S), (redis, redis_node.STOP_TIMEOUT_S))
            if ref
        ]
        for future in ending:
            future.result()
        if note:
            try:
                state.save(layout.state, dataclasses.replace(note, kafka=None, redis=None))
            except OSError as error:  # a full disk must not make a stop fail; the note's processes are looked at anyway
                log.warning("note.not_saved", extra={"path": str(layout.state), "error": error.strerror})
    return bool(ending)


def status(directory: Path) -> LocalStatus:
    """Look at a directory's services; nothing is changed."""
    layout = Layout.of(directory)
    note = state.load(layout.state)
    kafka, redis = _running(layout, note)
    # Whoever only looks has no use for Java.
    cluster = kafka_node.cluster_of(broker_spec(layout, note)) if note and kafka else None
    kafka_serves = cluster is not None and note is not None and cluster.cluster_id == note.cluster_id
    password = redis_node.password_in(layout.redis_url)
    redis_serves = bool(note and redis and password and RedisNode(layout.redis, note.redis_port, password, "").ready())
    return LocalStatus(
        layout.directory,
        _service(kafka, note.kafka_port if note else None, serves=kafka_serves),
        _service(redis, note.redis_port if note else None, serves=redis_serves),
        layout.redis_url if layout.redis_url.exists() else None,
    )


def _running(layout: Layout, note: state.State | None) -> tuple[ProcessRef | None, ProcessRef | None]:
    """The live processes of Kafka and Redis, noted or found by their configuration files."""
    noted = (note.kafka, note.redis) if note else (None, None)
    markers = (str(layout.kafka / "server.properties"), str(layout.redis / "redis.conf"))
    live = [ref if ref and ref.alive() else None for ref in noted]
    if not layout.root.is_dir() or all(live):
        return live[0], live[1]
    names = (kafka_node.PROGRAM, redis_node.PROGRAM)
    kafka, redis = (ref or process.find(name, marker) for ref, name, marker in zip(live, names, markers, strict=True))
    return kafka, redis


def _service(ref: ProcessRef | None, port: int | None, *, serves: bool) -> ServiceStatus:
    health: Health = "stopped" if ref is None else "running" if serves else "not answering"
    return ServiceStatus(health, f"{ports.HOST}:{port}" if port else None, ref.pid if ref else None)
