"""The settings of one embedded broker, as Kafka's own properties files. Pure: values in, text out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from penstock.local import security
from penstock.local.ports import HOST

if TYPE_CHECKING:
    from pathlib import Path

    from penstock.local.security import SecuritySpec


@dataclass(frozen=True, slots=True)
class Voter:
    """One node of the controllers' quorum.

    Attributes:
        node_id: positive id.
        controller_port: loopback port of its controller listener.
    """

    node_id: int
    controller_port: int


@dataclass(frozen=True, slots=True)
class BrokerSpec:
    """One node in combined mode (broker and controller).

    Attributes:
        directory: its folder; data and logs lie in it.
        port: loopback port for clients.
        node_id: which of `voters` it is.
        voters: all nodes of the cluster; three make it survive the loss of one.
        security: encrypted listeners, users and an authorizer; None = plain text, and everybody may do everything.
    """

    directory: Path
    port: int
    node_id: int
    voters: tuple[Voter, ...]
    security: SecuritySpec | None = None

    def __post_init__(self) -> None:
        """Check that the node is one of the voters."""
        if self.node_id not in {voter.node_id for voter in self.voters}:
            raise ValueError(f"node_id={self.node_id}: must be one of the voters {self.voters}")

    @property
    def controller_port(self) -> int:
        """The controller port of this node."""
        return next(voter.controller_port for voter in self.voters if voter.node_id == self.node_id)

    @property
    def properties_path(self) -> Path:
        """Where the server's properties are written; also what tells its process from any other."""
        return self.directory / "server.properties"

    @property
    def data(self) -> Path:
        """Kafka's log directory."""
        return self.directory / "data"

    @property
    def logs(self) -> Path:
        """Where the broker's own log goes."""
        return self.directory / "logs"


def server_properties(spec: BrokerSpec) -> str:
    """The text of `server.properties`; with `security` it holds passwords.

    Raises:
        OSError: the files that `security` names are not there.
    """
    copies = min(3, len(spec.voters))
    in_sync = max(1, copies - 1)
    listeners: dict[str, object] = {
        "listeners": f"PLAINTEXT://{HOST}:{spec.port},CONTROLLER://{HOST}:{spec.controller_port}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{spec.port}",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
    }
    if spec.security:
        listeners = security.properties(spec.security, port=spec.port, controller_port=spec.controller_port)
    return _render(
        {
            "process.roles": "broker,controller",
            "node.id": spec.node_id,
            "controller.quorum.voters": ",".join(f"{v.node_id}@{HOST}:{v.controller_port}" for v in spec.voters),
            **listeners,
            "controller.listener.names": "CONTROLLER",
            "log.dirs": spec.data,
            # Half of a broker's memory by default is the log cleaner's buffer (128 MB).
            "log.cleaner.dedupe.buffer.size": 4_194_304,
            "log.cleaner.io.buffer.size": 65_536,
            "num.network.threads": 2,
            "num.io.threads": 2,
            "background.threads": 2,
            "num.recovery.threads.per.data.dir": 2,
            # 50 partitions each by default, all opened at the first commit.
            "offsets.topic.num.partitions": 8,
            "offsets.topic.replication.factor": copies,
            "transaction.state.log.num.partitions": 8,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": in_sync,
            "share.coordinator.state.topic.num.partitions": 1,
            "share.coordinator.state.topic.replication.factor": copies,
            "share.coordinator.state.topic.min.isr": in_sync,
            # A misspelt topic must fail, not appear.
            "auto.create.topics.enable": "false",
            # After a kill, the controller waits out the dead broker's session before it takes the new one: 13 s in all
            # with the default of 9 s.
            "broker.session.timeout.ms": 3_000,
            "broker.heartbeat.interval.ms": 500,
            # The first worker need not wait 3 s for others to join.
            "group.initial.rebalance.delay.ms": 0,
            "group.min.session.timeout.ms": 6_000,
            # A dead worker's open transaction holds up read_committed readers: look for them each second, not each ten.
            "transaction.abort.timed.out.transaction.cleanup.interval.ms": 1_000,
            # A transaction that follows at once finds the markers of the one before still being written, a matter of a
            # millisecond or two; the broker's default of 20 ms between its own tries would be most of the latency.
            "add.partitions.to.txn.retry.backoff.ms": 1,
        }
    )


def logging_properties(spec: BrokerSpec) -> str:
    """The text of `log4j2.properties`: one rolling file, at most 40 MB in all."""
    log = spec.logs / "server.log"
    return _render(
        {
            "status": "error",
            "appender.file.type": "RollingFile",
            "appender.file.name": "file",
            "appender.file.fileName": log,
            "appender.file.filePattern": f"{log}.%i",
            "appender.file.layout.type": "PatternLayout",
            "appender.file.layout.pattern": "%d{ISO8601} %p %m (%c)%n",
            "appender.file.policies.type": "Policies",
            "appender.file.policies.size.type": "SizeBasedTriggeringPolicy",
            "appender.file.policies.size.size": "10MB",
            "appender.file.strategy.type": "DefaultRolloverStrategy",
            "appender.file.strategy.max": 3,
            "logger.server.name": "kafka.server",
            "logger.server.level": "info",
            "rootLogger.level": "warn",
            "rootLogger.appenderRef.file.ref": "file",
        }
    )


def _render(settings: dict[str, object]) -> str:
    return "".join(f"{name}={_escape(str(value))}\n" for name, value in settings.items())


def _escape(value: str) -> str:
    r"""A value in java.util.Properties' form: ASCII with `\\uXXXX` for the rest, backslashes doubled."""
    out = []
    for character in value.replace("\\", "\\\\"):
        if character.isascii():
            out.append(character)
        else:
            units = character.encode("utf-16-be")
            out.extend(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))
    return "".join(out)
