"""One real Kafka node: format, start, wait until it serves, stop."""

from __future__ import annotations

import base64
import logging
import os
import subprocess
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.errors import ServiceFailed
from penstock.local.files import refuse_full_disk, tail, write_atomically
from penstock.local.kafka_properties import BrokerSpec, logging_properties, server_properties
from penstock.local.paths import make_private
from penstock.local.ports import HOST
from penstock.local.probe import describe_cluster
from penstock.local.process import ProcessRef, find, spawn
from penstock.local.security import ADMIN

if TYPE_CHECKING:
    from pathlib import Path

    from penstock.local.java import Java
    from penstock.local.probe import Cluster

log = logging.getLogger(__name__)

#: File name of the process's executable.
PROGRAM = "java"
#: A cold start takes 2-4 s; after a kill with hundreds of partitions 15 s; on a laden machine a multiple of that.
START_TIMEOUT_S = 120.0
#: SIGTERM takes 0.3-0.5 s when idle; the rest is flushing.
STOP_TIMEOUT_S = 20.0
_FORMAT_TIMEOUT_S = 120.0
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class KafkaNode:
    """A node of a cluster.

    Attributes:
        spec: ports, folder and quorum.
        java: the runtime with Kafka's jars.
        cluster_id: what the storage is formatted with; the same on all nodes.
    """

    spec: BrokerSpec
    java: Java
    cluster_id: str

    def format(self) -> None:
        """Prepare the data folder, once in its life.

        Raises:
            ServiceFailed: Kafka's own tool refuses.
            OSError: the disk is full.
        """
        make_private(self.spec.directory)
        make_private(self.spec.logs)
        if self.spec.security:
            self.spec.security.prepare()
        # For its owner alone: a secured broker's properties hold passwords.
        write_atomically(self.spec.properties_path, server_properties(self.spec), mode=0o600)
        write_atomically(self.spec.directory / "log4j2.properties", logging_properties(self.spec))
        if (self.spec.data / "meta.properties").exists():
            return
        arguments = ("format", "--cluster-id", self.cluster_id, "--config", str(self.spec.properties_path))
        try:
            done = subprocess.run(
                self.java.command("kafka.tools.StorageTool", *arguments, flags=self._log_flags()),
                capture_output=True,
                text=True,
                timeout=_FORMAT_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ServiceFailed(
                f"Kafka has not prepared {self.spec.data} within {_FORMAT_TIMEOUT_S:g} s, which takes two mostly",
                "see what else this machine does, and start again",
            ) from error
        if done.returncode:
            refuse_full_disk(done.stderr + done.stdout, self.spec.data)
            raise ServiceFailed(
                f"Kafka could not prepare {self.spec.data}: {(done.stderr or done.stdout).strip()[-600:]}",
                "read the message; if the folder holds data of something else, choose another --directory",
            )

    def start(self) -> ProcessRef:
        """Start the broker's process; `wait_ready` tells when it serves."""
        properties = str(self.spec.properties_path)
        command = self.java.command("kafka.Kafka", properties, flags=(*self.java.heap, *self._log_flags()))
        return spawn(command, marker=properties, output=self.spec.logs / "process.log", environment=os.environ)

    def find_leftover(self) -> ProcessRef | None:
        """A broker that runs on this folder although nobody noted it."""
        return find(PROGRAM, str(self.spec.properties_path))

    def ready(self) -> bool:
        """Whether this very node serves: the right cluster answers at its port and counts it among its brokers."""
        cluster = cluster_of(self.spec)
        return cluster is not None and cluster.cluster_id == self.cluster_id and self.spec.node_id in cluster.brokers

    def wait_ready(self, process: ProcessRef, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until it serves.

        Raises:
            ServiceFailed: the process ended, or does not serve in time; the message carries the end of its log.
        """
        started_at_s = time.monotonic()
        while not self.ready():
            if not process.alive():
                refuse_full_disk(self._log_end(), self.spec.data)
                raise ServiceFailed(f"Kafka ended while starting{self._log_end()}", self._cure())
            if time.monotonic() - started_at_s > timeout_s:
                raise ServiceFailed(f"Kafka does not serve after {timeout_s:g} s{self._log_end()}", self._cure())
            time.sleep(_POLL_S)
        log.info("kafka.ready", extra={"port": self.spec.port, "start_s": round(time.monotonic() - started_at_s, 2)})

    def _log_flags(self) -> tuple[str, ...]:
        return (
            f"-Dlog4j2.configurationFile={(self.spec.directory / 'log4j2.properties').as_uri()}",
            f"-Dkafka.logs.dir={self.spec.logs}",
            f"-XX:ErrorFile={self.spec.logs}/hs_err_%p.log",
        )

    def _log_end(self) -> str:
        lines = tail(self.spec.logs / "server.log") or tail(self.spec.logs / "process.log")
        return f"; its log ends with:\n{lines}\n" if lines else ""

    def _cure(self) -> str:
        return f"see {self.spec.logs}; deleting {self.spec.directory} starts it afresh, without its topics"


def cluster_of(spec: BrokerSpec) -> Cluster | None:
    """What the broker at a node's port says of its cluster, or None when none answers there (yet)."""
    if spec.security is None:
        return describe_cluster(HOST, spec.port)
    try:
        context = spec.security.context(ADMIN)
    except OSError:
        return None  # without certificates there is nothing of ours behind the port
    return describe_cluster(HOST, spec.security.mutual_port, context=context)


def cluster_id_in(data: Path) -> str | None:
    """The cluster id that a data folder was formatted with, or None when it was not."""
    try:
        lines = (data / "meta.properties").read_text(encoding="latin-1").splitlines()
    except OSError:
        return None
    return next((line.partition("=")[2].strip() for line in lines if line.startswith("cluster.id=")), None)


def new_cluster_id() -> str:
    """A random id in Kafka's form: 16 bytes in URL-safe base64; one that begins with `-` would read as an option."""
    while True:
        text = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        if not text.startswith("-"):
            return text
