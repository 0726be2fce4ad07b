"""One start of a directory's services: adopt what is well, end what is not, start what is missing."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Protocol

from penstock.errors import AlreadyRunning, ServiceFailed
from penstock.local import kafka_node, ports, redis_node, security, state
from penstock.local.files import write_atomically
from penstock.local.kafka_node import KafkaNode
from penstock.local.kafka_properties import BrokerSpec, Voter
from penstock.local.redis_node import RedisNode
from penstock.local.security import SecuritySpec

if TYPE_CHECKING:
    from penstock.local.java import Java
    from penstock.local.paths import Layout
    from penstock.local.process import ProcessRef
    from penstock.local.state import State

log = logging.getLogger(__name__)

#: A free port may be taken by someone else before the server has it; then others are chosen.
_PORT_ATTEMPTS = 3
#: The one node of an embedded cluster.
_NODE_ID = 1


class Node(Protocol):
    """What both services have in common."""

    def ready(self) -> bool:
        """Whether it serves."""
        ...

    def find_leftover(self) -> ProcessRef | None:
        """A process of it that nobody noted."""
        ...


def kafka_of(layout: Layout, note: State, java: Java) -> KafkaNode:
    """The broker that a note describes."""
    return KafkaNode(broker_spec(layout, note), java, note.cluster_id)


def broker_spec(layout: Layout, note: State) -> BrokerSpec:
    """The ports and folders of the broker that a note describes."""
    voters = (Voter(_NODE_ID, note.controller_port),)
    return BrokerSpec(layout.kafka, note.kafka_port, _NODE_ID, voters, security_of(layout, note))


def security_of(layout: Layout, note: State) -> SecuritySpec | None:
    """The locks of the broker that a note describes, if it has any."""
    return SecuritySpec(layout.security, note.mutual_port) if note.mutual_port else None


def redis_of(layout: Layout, note: State, password: str) -> RedisNode:
    """The Redis-protocol server that a note describes."""
    return RedisNode(layout.redis, note.redis_port, password, redis_node.redis_executable())


def known_password(layout: Layout) -> str | None:
    """The password of an earlier start, or None."""
    return redis_node.password_in(layout.redis_url)


@dataclasses.dataclass(frozen=True, slots=True)
class Starter:
    """What one start needs to know. The directory's lock is held by the caller.

    Attributes:
        layout: the directory.
        java: the runtime with Kafka's jars.
        kafka_port: the port asked for, or None for any.
        redis_port: the port asked for, or None for any.
        secure: whether the broker is to have locks.
    """

    layout: Layout
    java: Java
    kafka_port: int | None
    redis_port: int | None
    secure: bool = False

    def run(self) -> tuple[State, RedisNode]:
        """Bring both services up.

        Raises:
            LocalServicesError: with cause and cure; what this call started is stopped again.
        """
        password = known_password(self.layout) or redis_node.new_password()
        note = state.load(self.layout.state) or self._first_note()
        adopted = dataclasses.replace(
            note,
            kafka=_adopt(kafka_of(self.layout, note, self.java), note.kafka, kafka_node.STOP_TIMEOUT_S),
            redis=_adopt(redis_of(self.layout, note, password), note.redis, redis_node.STOP_TIMEOUT_S),
        )
        self._refuse_other_ports(adopted)
        self._refuse_other_locks(adopted)
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            planned = self._with_ports(adopted)
            try:
                return self._start_missing(planned, password), redis_of(self.layout, planned, password)
            except ServiceFailed:
                if attempt == _PORT_ATTEMPTS or not self._lost_a_port(planned, adopted):
                    raise
                log.warning("ports.lost", extra={"attempt": attempt})
        raise AssertionError  # the loop returns or raises

    def _first_note(self) -> State:
        """No note, or an unreadable one: the cluster id of data that is there, else a new one; no ports yet."""
        cluster_id = kafka_node.cluster_id_in(self.layout.kafka / "data") or kafka_node.new_cluster_id()
        return state.State(cluster_id, kafka_port=0, controller_port=0, redis_port=0)

    def _refuse_other_ports(self, adopted: State) -> None:
        running = (
            ("--kafka-port", self.kafka_port, adopted.kafka_port, adopted.kafka),
            ("--redis-port", self.redis_port, adopted.redis_port, adopted.redis),
        )
        for option, wanted, has, process in running:
            if process and wanted not in (None, has):
                raise AlreadyRunning(
                    f"{option} {wanted}: it runs in {self.layout.directory} already, on port {has}",
                    "run `penstock down` there first, or leave the option out",
                )

    def _refuse_other_locks(self, adopted: State) -> None:
        if adopted.kafka and bool(adopted.mutual_port) != self.secure:
            has, option = ("secured", "add") if adopted.mutual_port else ("not secured", "leave out")
            raise AlreadyRunning(
                f"Kafka runs in {self.layout.directory} already, and it is {has}",
                f"{option} --secure, or run `penstock down` there first",
            )

    def _with_ports(self, adopted: State) -> State:
        """The ports of what runs stay; what is missing gets those asked for, those of last time, or free ones."""
        kafka, controller, redis = adopted.kafka_port, adopted.controller_port, adopted.redis_port
        mutual = adopted.mutual_port
        spoken_for = {port for port in (self.kafka_port, self.redis_port) if port}
        if not adopted.redis:
            avoid = frozenset({kafka, controller} if adopted.kafka else spoken_for - {self.redis_port})
            redis = ports.pick(self.redis_port, "--redis-port", last=redis, avoid=avoid)
        if not adopted.kafka:
            kafka = ports.pick(self.kafka_port, "--kafka-port", last=kafka, avoid=frozenset({redis}))
            controller = ports.pick(None, "", last=controller, avoid=frozenset({redis, kafka}))
            taken = frozenset({redis, kafka, controller})
            mutual = ports.pick(None, "", last=mutual, avoid=taken) if self.secure else 0
        return dataclasses.replace(
            adopted, kafka_port=kafka, controller_port=controller, redis_port=redis, mutual_port=mutual
        )

    def _start_missing(self, planned: State, password: str) -> State:
        """Start both, then wait for both; the note is written before the waiting, so that a kill leaves a trace."""
        kafka, redis = kafka_of(self.layout, planned, self.java), redis_of(self.layout, planned, password)
        started: list[ProcessRef] = []
        now = planned
        try:
            if not planned.redis:
                redis.configure()
                write_atomically(self.layout.redis_url, redis.url + "\n", mode=0o600)
                now = dataclasses.replace(now, redis=redis.start())
                started += [now.redis] if now.redis else []
                state.save(self.layout.state, now)
            if not planned.kafka:
                kafka.format()
                now = dataclasses.replace(now, kafka=kafka.start())
                started += [now.kafka] if now.kafka else []
                state.save(self.layout.state, now)
            if now.redis:
                redis.wait_ready(now.redis)
            if now.kafka:
                kafka.wait_ready(now.kafka)
            locks = security_of(self.layout, planned)
            if locks and not planned.kafka:
                security.create_users(locks, planned.kafka_port)
        except BaseException:
            for process in started:
                process.stop(timeout_s=redis_node.STOP_TIMEOUT_S)
            raise
        return now

    def _lost_a_port(self, planned: State, adopted: State) -> bool:
        """Whether a port that nobody asked for by number was taken between our choice and the server's bind."""
        ours = (
            () if adopted.redis or self.redis_port else (planned.redis_port,),
            () if adopted.kafka else (planned.controller_port,),
            () if adopted.kafka or not planned.mutual_port else (planned.mutual_port,),
            () if adopted.kafka or self.kafka_port else (planned.kafka_port,),
        )
        return any(not ports.is_free(port) for group in ours for port in group)


def _adopt(node: Node, noted: ProcessRef | None, stop_timeout_s: float) -> ProcessRef | None:
    """The node's running process when it serves; one that runs and does not serve is ended. None: there is none now."""
    running = noted if noted and noted.alive() else node.find_leftover()
    if running is None:
        return None
    if node.ready():
        log.info("service.adopted", extra={"pid": running.pid})
        return running
    log.warning("service.leftover_stopped", extra={"pid": running.pid})
    running.stop(timeout_s=stop_timeout_s)
    return None
