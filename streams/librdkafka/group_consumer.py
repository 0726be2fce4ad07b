"""A worker's consumer over librdkafka; what `streams.kafka.group_consumer` is over kafka-python.

Heartbeats and joins run in the library's own threads; what it has to tell of assignments it tells inside `poll`. So the
hooks are all called by the polling thread, and while a revocation waits for the batch in hand, that thread waits: kept
partitions pause for as long. The library takes no assignor of ours: shares are even, whatever workers can do.
"""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicPartition

from streams.errors import BrokerUnavailable, GenerationChanged, TopicMissing
from streams.librdkafka.configuration import consumer_configuration
from streams.librdkafka.errors import ErrorWatch, translate, translated

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from confluent_kafka import Message

    from streams.kafka.group_consumer import RebalanceHooks
    from streams.kafka.settings import KafkaSettings

log = logging.getLogger(__name__)
_library_log = logging.getLogger("streams.librdkafka.library")

#: Milliseconds between heartbeats, as with kafka-python: how soon a member learns that it should join.
HEARTBEAT_INTERVAL_MS = 250
#: Kilobytes fetched ahead of the polling thread, over all partitions; the library's default of 64 MiB would be a second
#: and much larger buffer before ours.
PREFETCH_KB = 16 * 1024
#: Seconds after which a pause is told to the library. It throws away what it had fetched ahead then, so short pauses,
#: of which a busy worker makes many a second, only leave records where they are.
TELL_PAUSE_S = 0.2
#: Most seconds between two looks at the membership, which changes behind our back.
MEMBERSHIP_S = 0.1
#: Seconds between looks at whether a revoked partition's batch is delivered.
DRAIN_LOOK_S = 0.005
#: Seconds after the first join until a member without partitions is told so; as with kafka-python.
EMPTY_S = 2.0


class Consumed(NamedTuple):
    """A record; see `streams.records.ConsumedRecord`."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]


class GroupConsumer:
    """A static member of a consumer group on one topic; see `streams.kafka.group_consumer.GroupConsumer`.

    Args:
        settings: where the brokers are.
        topic: topic to consume.
        group: consumer group.
        instance_id: stable name of the member.
        hooks: told of assignments; all of them by the polling thread.
        session_timeout_ms: after which a silent member's partitions are given away.
        revoke_drain_s: longest wait for what is in hand of revoked partitions.
        max_poll_records: most records that one poll returns.
        meanwhile: called again and again while a revocation waits, on the polling thread: what it would else have done
            between polls.

    Raises:
        streams.errors.BrokerUnavailable, streams.errors.AuthenticationFailed, streams.errors.TopicMissing: at
            construction.

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
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings, self._topic, self._instance_id = settings, topic, instance_id
        self._hooks, self._drain_s, self._meanwhile = hooks, revoke_drain_s, meanwhile
        self._most = max_poll_records
        self._watch = ErrorWatch(instance_id)
        configuration = consumer_configuration(
            settings,
            {
                "heartbeat.interval.ms": HEARTBEAT_INTERVAL_MS,
                "fetch.wait.max.ms": 500,
                "fetch.error.backoff.ms": 50,
                "queued.max.messages.kbytes": PREFETCH_KB,
                # How soon fetching goes on when the above was reached; the default of a second would starve the model.
                "fetch.queue.backoff.ms": 20,
            },
            {
                "client.id": instance_id,
                "group.id": group,
                "group.instance.id": instance_id,
                "group.protocol": "classic",
                "partition.assignment.strategy": "cooperative-sticky",
                "session.timeout.ms": session_timeout_ms,
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "earliest",
                "allow.auto.create.topics": False,
                # Also makes the client ask for stable offsets (KIP-447).
                "isolation.level": "read_committed",
                "error_cb": self._watch,
            },
        )
        with translated("set up the group's consumer; check kafka.client and kafka.librdkafka"):
            self._consumer = Consumer(configuration, logger=_library_log)
        #: Since when, of a monotonic clock, we are to be paused; `None` = we are not.
        self._paused_s: float | None = None
        self._pause_told = False
        self._joined_s, self._told = math.inf, False
        self._membership: Any = None
        try:
            self._meet(topic)
            self._consumer.subscribe([topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost)
        except BaseException:
            self._consumer.close()
            raise
        log.info("group.even_shares", extra={"member": instance_id, "why": "librdkafka takes no assignor of ours"})

    def _meet(self, topic: str) -> None:
        """See a broker and the topic, or say why not: the library would try for ever and only log."""
        deadline = time.monotonic() + self._settings.bootstrap_timeout_ms / 1000
        action = f"connect the group's consumer at {', '.join(self._settings.servers)}"
        while True:
            left_s = deadline - time.monotonic()
            try:
                found = self._consumer.list_topics(topic, timeout=max(0.1, min(1.0, left_s)))
            except KafkaException as error:
                self._consumer.poll(0)
                if self._watch.refused is not None or left_s <= 0:
                    raise translate(self._watch.explain(error.args[0]), action) from error
                continue
            failure = found.topics[topic].error
            if failure is None:
                return
            raise translate(failure, f"read {topic}")

    def poll(self, timeout_s: float) -> dict[int, list[Consumed]]:
        """Wait up to `timeout_s` for records; also where assignments are told.

        Returns:
            records in offset order, by partition; none is empty.

        Raises:
            streams.errors.Fenced: another process joined under the same instance id: this one must stop.
            streams.errors.TopicMissing, streams.errors.NotAuthorized: what was there at the start is no more.

        """
        now_s = time.monotonic()
        if not self._told and now_s - self._joined_s > EMPTY_S:
            self._tell_assigned(())
        if self._paused_s is not None and not self._pause_told:
            if now_s - self._paused_s < TELL_PAUSE_S:
                time.sleep(timeout_s)
                return {}
            self._consumer.pause(self._consumer.assignment())
            self._pause_told = True
        first = self._wait(timeout_s)
        if first is None:
            return {}
        # `consume` by itself waits for the number to be full, or for the whole of its time.
        rest = self._consumer.consume(self._most - 1, timeout=0) if self._most > 1 else []
        found: dict[int, list[Consumed]] = {}
        for message in (first, *rest):
            failure = message.error()
            if failure is not None:
                self._check(failure)
                continue
            partition: Any = message.partition()
            offset: Any = message.offset()
            record = Consumed(
                self._topic,
                partition,
                offset,
                message.timestamp()[1],
                message.key(),
                message.value(),
                _headers(message),
            )
            if partition in found:
                found[partition].append(record)
            else:
                found[partition] = [record]
        return found

    def _wait(self, timeout_s: float) -> Message | None:
        """The next message; takes note of the membership on the way."""
        deadline = time.monotonic() + timeout_s
        while True:
            left_s = deadline - time.monotonic()
            first = self._consumer.poll(max(min(left_s, MEMBERSHIP_S), 0.0))
            if self._watch.fatal is not None:
                raise translate(self._watch.fatal, "poll")
            self._note_membership()
            if first is not None or left_s <= MEMBERSHIP_S:
                return first

    def _check(self, failure: Any) -> None:
        error = translate(self._watch.fatal or failure, "poll")
        # A broker that is away comes back; of a topic that is not there the library tells at each look for metadata,
        # also while a broker is only starting.
        if failure.fatal() or not isinstance(error, (BrokerUnavailable, TopicMissing)):
            raise error
        log.info("group.poll_failed", extra={"member": self._instance_id, "error": str(error)[:300]})

    def set_paused(self, paused: bool) -> None:
        """Stop or resume handing out records; cheap to call when nothing changes."""
        if paused:
            if self._paused_s is None:
                self._paused_s = time.monotonic()
            return
        self._paused_s = None
        if self._pause_told:
            self._consumer.resume(self._consumer.assignment())
            self._pause_told = False

    def commit(self, offsets: Mapping[int, int]) -> None:
        """Commit next offsets by partition, outside any transaction.

        Raises:
            streams.errors.GenerationChanged: a rebalance came between; what was committed is not known.

        """
        with translated("commit offsets", self._settings):
            self._consumer.commit(
                offsets=[TopicPartition(self._topic, p, offset) for p, offset in offsets.items()], asynchronous=False
            )

    def metadata(self) -> Any:
        """Snapshot of the membership for a transaction's fencing (KIP-447). Callable from any thread.

        As of the last poll: asked by another thread while one polls, the library never answers (confluent-kafka 2.16).
        The broker refuses an old one, so it need not be fresh, only older than the look at what is owned.

        Raises:
            streams.errors.GenerationChanged: we are no member now; see the other client's.

        """
        if self._membership is None:
            raise GenerationChanged("this worker is no member of its group at the moment; it is joining again")
        return self._membership

    def _note_membership(self) -> None:
        self._membership = self._consumer.consumer_group_metadata() if self._consumer.memberid() else None

    def close(self) -> None:
        """Revoke what is owned and disconnect; a static member stays in the group (`Admin.remove_static_members`)."""
        with translated("close the consumer", self._settings):
            self._consumer.close()

    # --- told by the library, inside poll and close

    def _assigned(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        consumer.incremental_assign(places)
        if self._pause_told and places:
            consumer.pause(places)
        self._joined_s = time.monotonic()
        # Before the worker can hold a record of them.
        self._note_membership()
        if places:
            self._tell_assigned({place.partition for place in places})

    def _tell_assigned(self, partitions: Any) -> None:
        self._told = True
        self._hooks.assigned(partitions)

    def _revoked(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        partitions = {place.partition for place in places}
        self._hooks.revoking(partitions)
        deadline = time.monotonic() + self._drain_s
        while not self._hooks.drained(partitions) and time.monotonic() < deadline:
            # The join that took them has given us a new generation; under the old one no commit is accepted.
            self._note_membership()
            self._meanwhile()
            time.sleep(DRAIN_LOOK_S)
        self._hooks.revoked(partitions)
        consumer.incremental_unassign(places)

    def _lost(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self._hooks.revoked({place.partition for place in places})
        consumer.incremental_unassign(places)


def _headers(message: Message) -> list[tuple[str, bytes]]:
    try:
        return message.headers() or []  # type: ignore[return-value] # values are bytes, and null on the wire is None
    except UnicodeDecodeError:
        # A stranger's header whose name is no text. The library gives none of them then; without `content-type` the
        # request is taken for JSON, and refused with its reason if it is not.
        return []
