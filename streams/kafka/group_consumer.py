"""The consumer of a worker: one static member of a group, assigned cooperatively, committed by somebody else.

kafka-python's listener runs on the client's I/O thread. It is an async one here, so that heartbeats go on while a
revocation waits for the batch in hand; the hooks themselves must not block.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

from kafka import KafkaConsumer, TopicPartition
from kafka.consumer.subscription_state import AsyncConsumerRebalanceListener
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.structs import OffsetAndMetadata

from streams.kafka.translate import connect, translated

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from streams.kafka.settings import KafkaSettings
    from streams.records import ConsumedRecord

#: Milliseconds between heartbeats. A kept partition pauses about this long in a cooperative rebalance (measured:
#: 300 -> 378 ms, 3,000 -> 3 s), since members learn of the second round by heartbeat.
HEARTBEAT_INTERVAL_MS = 250
#: Seconds between looks at whether a revoked partition's batch is delivered.
DRAIN_LOOK_S = 0.005


class RebalanceHooks(Protocol):
    """What a worker does when its partitions change. Called on the client's I/O thread; must not block."""

    def assigned(self, partitions: Collection[int]) -> None:
        """These partitions are ours from now on."""

    def revoking(self, partitions: Collection[int]) -> None:
        """These will be taken away: take nothing more of them, deliver what is in hand."""

    def drained(self, partitions: Collection[int]) -> bool:
        """Whether nothing of these partitions is in hand any more."""

    def revoked(self, partitions: Collection[int]) -> None:
        """These are no longer ours: what is left of them in hand must not be delivered."""


class _Listener(AsyncConsumerRebalanceListener):  # type: ignore[misc] # kafka-python is untyped
    """Bridges kafka-python's callbacks to the hooks, waiting a bounded time for what is in hand."""

    def __init__(self, hooks: RebalanceHooks, drain_s: float) -> None:
        self._hooks = hooks
        self._drain_s = drain_s
        #: Sleep of kafka-python's own event loop; known once the consumer exists.
        self.sleep: Any = None

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._hooks.assigned({tp.partition for tp in assigned})

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        # Until the follow-up join these partitions belong to nobody else (KIP-429), and we are a member of the current
        # generation: what is in hand can still be committed, which saves its being computed twice.
        partitions = {tp.partition for tp in revoked}
        self._hooks.revoking(partitions)
        deadline = time.monotonic() + self._drain_s
        while not self._hooks.drained(partitions) and time.monotonic() < deadline:
            await self.sleep(DRAIN_LOOK_S)
        self._hooks.revoked(partitions)

    async def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        # Somebody else may own them already: no commit would be accepted.
        self._hooks.revoked({tp.partition for tp in lost})


class GroupConsumer:
    """A static member of a consumer group on one topic. Belongs to one thread, except `metadata`.

    Args:
        settings: where the brokers are.
        topic: topic to consume.
        group: consumer group.
        instance_id: stable name of the member (KIP-345): a restart within the session time-out keeps its partitions.
        hooks: told of assignments.
        session_timeout_ms: after which a silent member's partitions are given away.
        revoke_drain_s: longest wait for what is in hand of revoked partitions.
        max_poll_records: most records that one poll returns.

    Raises:
        streams.errors.BrokerUnavailable, streams.errors.AuthenticationFailed: at construction.

    """

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        topic: str,
        group: str,
        instance_id: str,
        hooks: RebalanceHooks,
        session_timeout_ms: int,
        revoke_drain_s: float,
        max_poll_records: int,
    ) -> None:
        listener = _Listener(hooks, revoke_drain_s)
        self._consumer: Any = connect(
            KafkaConsumer,
            settings,
            "connect the group's consumer",
            {"heartbeat_interval_ms": HEARTBEAT_INTERVAL_MS, "fetch_max_wait_ms": 500},
            client_id=instance_id,
            group_id=group,
            group_instance_id=instance_id,
            partition_assignment_strategy=[CooperativeStickyAssignor()],
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            # Also makes the client ask for stable offsets (KIP-447): without it a new owner could start before the old
            # owner's transaction is decided, and answer its records again.
            isolation_level="read_committed",
            session_timeout_ms=session_timeout_ms,
            max_poll_records=max_poll_records,
        )
        # The only way to wait inside a listener without stopping heartbeats is the client's own loop.
        listener.sleep = self._consumer._net.sleep  # noqa: SLF001
        self._consumer.subscribe([topic], listener=listener)
        self._settings = settings
        self._topic = topic

    def poll(self, timeout_s: float) -> list[ConsumedRecord]:
        """Wait up to `timeout_s` for records; also drives joins and rebalances.

        Returns:
            records in offset order within each partition.

        """
        with translated("poll", self._settings):
            polled: Mapping[TopicPartition, list[ConsumedRecord]] = self._consumer.poll(int(timeout_s * 1000))
        return [record for records in polled.values() for record in records]

    def set_paused(self, paused: bool) -> None:
        """Stop or resume fetching on every partition now assigned; cheap to call when nothing changes."""
        assigned, already = self._consumer.assignment(), self._consumer.paused()
        if paused and (rest := assigned - already):
            self._consumer.pause(*rest)
        elif not paused and already:
            self._consumer.resume(*(already & assigned))

    def commit(self, offsets: Mapping[int, int]) -> None:
        """Commit next offsets by partition, outside any transaction.

        Raises:
            streams.errors.GenerationChanged: a rebalance came between; what was committed is not known.

        """
        with translated("commit offsets", self._settings):
            self._consumer.commit(
                {TopicPartition(self._topic, p): OffsetAndMetadata(offset, "", -1) for p, offset in offsets.items()},
                timeout_ms=10_000,
            )

    def metadata(self) -> Any:
        """Snapshot of the membership for a transaction's fencing (KIP-447). Callable from any thread."""
        return self._consumer.group_metadata()

    def close(self) -> None:
        """Revoke what is owned and disconnect; a static member stays in the group (`Admin.remove_static_members`)."""
        with translated("close the consumer", self._settings):
            self._consumer.close(autocommit=False, timeout_ms=2000)
