"""One thread's own connections to the brokers: requests sent and answered without a thread of the library's.

Each hand-over between threads costs a wake-up and, with Python's one lock, up to a switch interval. A thread that
drives kafka-python's loop itself, only while it waits for an answer, pays neither.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar

from kafka import errors as kafka_errors
from kafka.net.compat import KafkaNetClient
from kafka.net.manager import KafkaConnectionManager
from kafka.protocol.metadata import ApiVersionsRequest, CoordinatorType, FindCoordinatorRequest

from streams.kafka.translate import connect
from streams.kafka.wire import Wires

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kafka.structs import TopicPartition

    from streams.kafka.frames import Frame
    from streams.kafka.settings import KafkaSettings
    from streams.kafka.wire import Wire

#: Seconds between tries while a coordinator is being elected or loads its part of the log.
_COORDINATOR_RETRY_S = 0.02
#: Seconds between looks at what the loop has to do besides: connections that ended, the cluster's state.
_LOOK_S = 0.05
_COORDINATOR_ERRORS = (
    kafka_errors.CoordinatorNotAvailableError,
    kafka_errors.CoordinatorLoadInProgressError,
    kafka_errors.KafkaConnectionError,
    kafka_errors.NodeNotReadyError,
)


class _Client:
    """What `connect` builds: a network client, bootstrapped."""

    DEFAULT_CONFIG: ClassVar[dict[str, Any]] = {
        **KafkaConnectionManager.DEFAULT_CONFIG,
        "bootstrap_timeout_ms": 10_000,
        "kafka_client": KafkaNetClient,
    }

    def __init__(self, **configs: Any) -> None:
        timeout_ms, build = configs.pop("bootstrap_timeout_ms"), configs.pop("kafka_client")
        self.network = build(**configs)
        self.network._manager.bootstrap(timeout_ms)  # noqa: SLF001 - the library's clients do the same


class Link:
    """Requests to brokers and coordinators. Belongs to one thread.

    Args:
        settings: where the brokers are.
        client_id: shown in the broker's logs and quotas.

    Raises:
        streams.errors.BrokerUnavailable, streams.errors.AuthenticationFailed: at construction.

    """

    def __init__(self, settings: KafkaSettings, client_id: str) -> None:
        client: _Client = connect(_Client, settings, "connect for transactions", {}, client_id=client_id)
        self._network = client.network
        self._manager = client.network._manager  # noqa: SLF001 - see `_Client`
        self._timeout_s = settings.request_timeout_ms / 1000
        self._coordinators: dict[tuple[int, str], int] = {}
        self._wires = Wires(client.network)
        self._looked_s = 0.0

    @property
    def cluster(self) -> Any:
        """What is known of topics and brokers."""
        return self._manager.cluster

    def features(self) -> dict[str, int]:
        """Features that the cluster has switched on, with their levels, e.g. `transaction.version`."""
        response = self.call(
            ApiVersionsRequest(
                client_software_name=self._manager.config["client_software_name"],
                client_software_version=self._manager.config["client_software_version"],
                min_version=3,
            )
        )
        return {feature.name: feature.max_version_level for feature in response.finalized_features or ()}

    def call(self, request: Any, node: int | None = None) -> Any:
        """Send one of kafka-python's requests and wait for its answer; to any broker unless `node` says which.

        Raises:
            kafka.errors.KafkaError: it could not be sent or answered.

        """
        future = self._manager.send(request, node_id=node)
        deadline = time.monotonic() + self._timeout_s
        while not future.is_done:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise kafka_errors.RequestTimedOutError
            self._network.poll(timeout_ms=left_s * 1000, future=future)
        if future.failed():
            raise future.exception
        return future.value

    def gather(self, frames: Sequence[tuple[Frame, int]]) -> list[tuple[memoryview, int]]:
        """Send several requests at once and wait for all answers.

        Args:
            frames: each with the broker that it goes to.

        Returns:
            For each its answer, and where its body begins.

        Raises:
            kafka.errors.KafkaError: one could not be sent or answered; of the others nothing is known.

        """
        deadline = time.monotonic() + self._timeout_s
        asked: list[tuple[Wire, int]] = []
        try:
            for frame, node in frames:
                wire = self._wires.to(node, self.cluster.broker_metadata(node), deadline)
                asked.append((wire, node))
                wire.send(frame, deadline)
            return [wire.answer(deadline) for wire, _ in asked]
        except kafka_errors.KafkaError as error:
            # An answer that is still to come must not be taken for that of the next request.
            for wire, node in asked:
                if wire.owes or isinstance(error, kafka_errors.KafkaConnectionError):
                    self._wires.drop(node, error)
            self.cluster.request_update()
            raise

    def idle(self) -> None:
        """Let the loop see closed connections and refresh what it knows of the cluster; does not wait."""
        now_s = time.monotonic()
        if now_s - self._looked_s > _LOOK_S:
            self._looked_s = now_s
            self._network.poll(timeout_ms=0)

    def coordinator(self, kind: CoordinatorType, key: str, deadline: float) -> int:
        """The broker that coordinates a group or a transactional id; asked once, until `forget`.

        Raises:
            kafka.errors.KafkaError: not to be had before `deadline` (monotonic seconds).

        """
        known = self._coordinators.get((kind.value, key))
        if known is not None:
            return known
        while True:
            try:
                response = self.call(FindCoordinatorRequest(key=key, key_type=kind.value, coordinator_keys=[key]))
                found = response.coordinators[0] if response.coordinators else response
                error = kafka_errors.for_code(found.error_code)
                if error is kafka_errors.NoError:
                    self._coordinators[kind.value, key] = int(found.node_id)
                    self._know(int(found.node_id))
                    return int(found.node_id)
                raise error(f"finding the coordinator of {key!r}")
            except _COORDINATOR_ERRORS:
                if time.monotonic() > deadline:
                    raise
                self.pause(_COORDINATOR_RETRY_S)

    def forget(self, kind: CoordinatorType, key: str) -> None:
        """The coordinator has moved, or does not answer: ask again next time."""
        self._coordinators.pop((kind.value, key), None)

    def forget_all(self) -> None:
        """Somebody did not answer: ask anew who coordinates, and who leads; waits a moment for the latter."""
        self._coordinators.clear()
        asked = self.cluster.request_update()
        self._network.poll(timeout_ms=500, future=asked)

    def leader(self, partition: TopicPartition, deadline: float) -> int:
        """The broker that leads a partition.

        Raises:
            kafka.errors.KafkaError: none is known before `deadline` (monotonic seconds), or we may not know.

        """
        while True:
            leader = self.cluster.leader_for_partition(partition)
            if leader is not None and leader != -1:
                return int(leader)
            self._refuse_unauthorized(partition.topic)
            if time.monotonic() > deadline:
                raise kafka_errors.LeaderNotAvailableError(f"{partition.topic}/{partition.partition}")
            self.refresh(partition.topic)

    def partitions(self, topic: str, deadline: float) -> list[int]:
        """The partitions of a topic, in order.

        Raises:
            kafka.errors.UnknownTopicOrPartitionError: it does not exist.
            kafka.errors.TopicAuthorizationFailedError: we may not know.

        """
        while True:
            known = self.cluster.partitions_for_topic(topic)
            if known:
                return sorted(known)
            self._refuse_unauthorized(topic)
            if time.monotonic() > deadline:
                raise kafka_errors.UnknownTopicOrPartitionError(topic)
            self.refresh(topic)

    def _refuse_unauthorized(self, topic: str) -> None:
        """Waiting does not help where a topic may not be seen; the library only logs it."""
        if topic in self.cluster.unauthorized_topics:
            raise kafka_errors.TopicAuthorizationFailedError(topic)

    def refresh(self, topic: str) -> None:
        """Ask the cluster anew, about this topic too; waits a moment for the answer."""
        self.cluster.add_topic(topic)
        asked = self.cluster.request_update()
        self._network.poll(timeout_ms=500, future=asked)
        if not asked.is_done or asked.failed():
            self.pause(_COORDINATOR_RETRY_S)

    def pause(self, seconds: float) -> None:
        """Wait, while the loop goes on."""
        deadline = time.monotonic() + seconds
        while (left_s := deadline - time.monotonic()) > 0:
            self._network.poll(timeout_ms=left_s * 1000)

    def close(self) -> None:
        """Close the connections."""
        self._wires.close()
        self._network.close()

    def _know(self, node: int) -> None:
        """A coordinator may be a broker that has joined since the cluster was last asked."""
        if self.cluster.broker_metadata(node) is None:
            asked = self.cluster.request_update()
            self._network.poll(timeout_ms=self._timeout_s * 1000, future=asked)
