"""The consumer of a worker: one static member of a group, assigned cooperatively, committed by somebody else.

kafka-python's listener runs on the client's I/O thread. It is an async one here, so that heartbeats go on while a
revocation waits for the batch in hand; the hooks themselves must not block. Polling goes on meanwhile
(`streams.kafka.joining`).
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

from kafka import TopicPartition
from kafka import errors as kafka_errors
from kafka.consumer.subscription_state import AsyncConsumerRebalanceListener
from kafka.structs import OffsetAndMetadata

from streams.capacity import Capacity
from streams.errors import BrokerUnavailable, GenerationChanged
from streams.kafka.assignor import StickyFallback, WeightedAssignor
from streams.kafka.joining import JoiningConsumer
from streams.kafka.translate import connect, translated
from streams.partition_loads import PartitionMeter
from streams.placement_review import LOOK_S, PlacementReview

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from streams.kafka.settings import KafkaSettings
    from streams.records import ConsumedRecord

log = logging.getLogger(__name__)

#: Milliseconds between heartbeats. A partition that moves pauses for one or two of them, since members learn by
#: heartbeat that they should join; those that stay do not pause (`streams.kafka.joining`).
HEARTBEAT_INTERVAL_MS = 250
#: Seconds after the first join until a member without partitions is told so: in the first round of a cooperative
#: rebalance a new member has none yet, and where members outnumber partitions it has none for good.
EMPTY_S = 2.0
#: Pause in seconds between polls while no broker can be reached.
AWAY_PAUSE_S = 0.2
#: Seconds between looks at whether a revoked partition's batch is delivered.
DRAIN_LOOK_S = 0.005


class RebalanceHooks(Protocol):
    """What a worker does when its partitions change. Called on the client's I/O thread; must not block."""

    def assigned(self, partitions: Collection[int]) -> None:
        """These partitions are ours from now on. Called by the polling thread, before they are polled first.

        None at all means that we are a member for whom there is no partition.
        """

    def revoking(self, partitions: Collection[int]) -> None:
        """These will be taken away: take nothing more of them, deliver what is in hand."""

    def drained(self, partitions: Collection[int]) -> bool:
        """Whether nothing of these partitions is in hand any more."""

    def revoked(self, partitions: Collection[int]) -> None:
        """These are no longer ours: what is left of them in hand must not be delivered."""


class _Listener(AsyncConsumerRebalanceListener):  # type: ignore[misc] # kafka-python is untyped
    """Bridges kafka-python's callbacks to the hooks, waiting a bounded time for what is in hand."""

    def __init__(self, hooks: RebalanceHooks, drain_s: float, member: str) -> None:
        self._hooks, self._member = hooks, member
        self._drain_s = drain_s
        #: Sleep of kafka-python's own event loop; known once the consumer exists.
        self.sleep: Any = None
        #: Assigned by the join under way, and not announced yet.
        self._untold: set[int] = set()
        #: The I/O thread adds and takes away, the polling thread announces.
        self._telling = threading.Lock()
        self._told = False

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        # Told by the polling thread (`tell_assigned`): a record that it has in its hands must not be stamped as one of
        # an assignment that came after it was read.
        with self._telling:
            self._untold.update(tp.partition for tp in assigned)

    def tell_assigned(self, *, even_nothing: bool = False) -> None:
        """Announce what a join brought."""
        with self._telling:
            told, self._untold = self._untold, set()
        if told or even_nothing:
            self._told = True
            self._hooks.assigned(told)
            log.info("group.assigned", extra={"member": self._member, "partitions": sorted(told)})

    @property
    def told(self) -> bool:
        """Whether anything was ever announced."""
        return self._told

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        # Until the follow-up join these partitions belong to nobody else (KIP-429), and we are a member of the current
        # generation: what is in hand can still be committed, which saves its being computed twice.
        partitions = {tp.partition for tp in revoked}
        with self._telling:
            # What comes and goes between two polls was never announced.
            self._untold -= partitions
        self._hooks.revoking(partitions)
        deadline = time.monotonic() + self._drain_s
        while not self._hooks.drained(partitions) and time.monotonic() < deadline:
            await self.sleep(DRAIN_LOOK_S)
        self._hooks.revoked(partitions)
        if partitions:
            log.info("group.revoked", extra={"member": self._member, "partitions": sorted(partitions)})

    async def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        self.lose(lost)

    def lose(self, lost: Iterable[TopicPartition]) -> None:
        """Somebody else may own them already: no commit would be accepted."""
        partitions = {tp.partition for tp in lost}
        with self._telling:
            self._untold -= partitions
        self._hooks.revoked(partitions)


@contextlib.contextmanager
def _unless_gone() -> Iterator[None]:
    """The I/O thread may take a partition away after it was looked up: then there is nothing to be done with it."""
    with contextlib.suppress(KeyError, kafka_errors.IllegalStateError):
        yield


def offered(weighted: WeightedAssignor, fallback: StickyFallback) -> list[Any]:
    """The ways of sharing out that a member offers, best first.

    The group takes what all of its members offer: while workers that know no weights are in it, shares are even.
    """
    return [weighted, fallback]


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
        capacity: what this member can do now; partitions are shared out in proportion. Called from several threads.

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
        capacity: Callable[[], Capacity] = lambda: Capacity("worker"),
    ) -> None:
        listener = _Listener(hooks, revoke_drain_s, instance_id)
        weighted, fallback = WeightedAssignor(capacity), StickyFallback()
        self._consumer: Any = connect(
            JoiningConsumer,
            settings,
            "connect the group's consumer",
            # The library's own metrics are read by nobody here, and were a third of what a poll costs.
            {"heartbeat_interval_ms": HEARTBEAT_INTERVAL_MS, "fetch_max_wait_ms": 500, "metrics_enabled": False},
            client_id=instance_id,
            group_id=group,
            group_instance_id=instance_id,
            partition_assignment_strategy=offered(weighted, fallback),
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
        weighted.claims = fallback.claims = self._consumer.claims
        self._consumer.on_joined = self._joined
        self._consumer.on_lost = listener.lose
        self._listener, self._weighted, self._instance_id = listener, weighted, instance_id
        self._review = PlacementReview(time.monotonic())
        self._meter, self._metered_s = PartitionMeter(), float("-inf")
        self._joined_s = math.inf
        self._away = False
        self._consumer.subscribe([topic], listener=listener)
        self._settings = settings
        self._topic = topic

    def poll(self, timeout_s: float) -> dict[int, list[ConsumedRecord]]:
        """Wait up to `timeout_s` for records; also drives joins and rebalances.

        While the brokers cannot be reached it gives nothing and goes on trying.

        Returns:
            records in offset order, by partition; none is empty.

        Raises:
            streams.errors.Fenced: another process joined under the same instance id: this one must stop.

        """
        self._look_around(time.monotonic())
        try:
            with translated("poll", self._settings):
                polled: Mapping[TopicPartition, list[ConsumedRecord]] = self._consumer.poll(int(timeout_s * 1000))
        except BrokerUnavailable as error:
            # A broker that restarts is no reason to lose a warm model: what is owned stays owned for the session's
            # time-out, and what was read is answered when it is back.
            if not self._away:
                log.warning("group.broker_away", extra={"member": self._instance_id, "error": str(error)[:300]})
            self._away = True
            time.sleep(min(AWAY_PAUSE_S, timeout_s))
            return {}
        self._away = False
        return {place.partition: records for place, records in polled.items() if records}

    def _joined(self) -> None:
        self._listener.tell_assigned()
        self._joined_s = time.monotonic()
        self._review.joined(self._joined_s)

    def _measure(self, now_s: float) -> None:
        """What comes in on each partition, for the group's leader: by the log's end that came with the last fetch."""
        if now_s - self._metered_s < LOOK_S:
            return
        self._metered_s = now_s
        ends = {}
        for tp in self._consumer.assignment():
            with _unless_gone():
                ends[tp] = self._consumer.highwater(tp)
        self._meter.note({(tp.topic, tp.partition): end for tp, end in ends.items() if end is not None}, now_s)
        self._weighted.measured(self._meter.rates())

    def _look_around(self, now_s: float) -> None:
        self._measure(now_s)
        if not self._listener.told and now_s - self._joined_s > EMPTY_S:
            self._listener.tell_assigned(even_nothing=True)
        if self._review.due(now_s):
            gain = self._weighted.relief_by(self._instance_id)
            if self._review.worth_it(gain, now_s):
                log.info("group.replacement_asked", extra={"member": self._instance_id, "relief": round(gain, 2)})
                self._consumer.rejoin()

    def set_paused(self, paused: bool) -> None:
        """Stop or resume fetching on every partition now assigned; cheap to call when nothing changes."""
        assigned, already = self._consumer.assignment(), self._consumer.paused()
        changed = assigned - already if paused else already & assigned
        for tp in changed:
            with _unless_gone():
                (self._consumer.pause if paused else self._consumer.resume)(tp)

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
        """Snapshot of the membership for a transaction's fencing (KIP-447). Callable from any thread.

        Raises:
            streams.errors.GenerationChanged: we are no member now. A commit without a generation must not be tried: a
                group that happens to be empty takes it from anybody.

        """
        snapshot = self._consumer.group_metadata()
        if snapshot.generation_id < 0:
            raise GenerationChanged("this worker is no member of its group at the moment; it is joining again")
        return snapshot

    def close(self) -> None:
        """Revoke what is owned and disconnect; a static member stays in the group (`Admin.remove_static_members`)."""
        with translated("close the consumer", self._settings):
            self._consumer.close(autocommit=False, timeout_ms=2000)
