"""Transactions in three requests: the results, the offsets, the end (KIP-890, brokers from 4.0).

kafka-python's producer asks five times and leaves the asking to a thread of its own; measured on one machine, that is
7 ms of CPU and 16 ms of waiting for a small transaction, against 2.3 and 8 here. The broker adds partitions and the
group to the transaction as they are first used, and each end gives the producer its next epoch, so that sequence
numbers start at 0 in each transaction and nothing of one transaction can be taken for a part of another.

What goes wrong is sorted as in `streams.kafka.transactions`. There is no repair: an error that a second try of the
same request cannot cure ends in `OutcomeUnknown`, and `recover` starts anew, which decides the transaction.
"""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING, Any

from kafka import TopicPartition, codec
from kafka import errors as kafka_errors
from kafka.partitioner.default import murmur2
from kafka.protocol.metadata import CoordinatorType
from kafka.protocol.producer import InitProducerIdRequest

from streams.errors import BrokerUnavailable, Fenced, GenerationChanged, KafkaFailure, OutcomeUnknown, RecordTooLarge
from streams.kafka import record_batches, transaction_frames
from streams.kafka.record_batches import Codec
from streams.kafka.transaction_frames import Member, Sealed
from streams.kafka.translate import translate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streams.kafka.frames import Frame
    from streams.kafka.link import Link
    from streams.kafka.record_batches import Batch
    from streams.kafka.settings import KafkaSettings
    from streams.records import Outgoing

log = logging.getLogger(__name__)

#: The level of the cluster's feature `transaction.version` that this needs.
NEEDED_LEVEL = 2
#: Bytes of one batch: well below the 1 MiB that topics take by default, and large enough that its head costs nothing.
BATCH_BYTES = 256 * 1024
#: Bytes of a record's frame and of a batch's head, above key, value and headers.
_FRAME_BYTES = 128
#: Seconds between two tries of a request that the broker cannot serve yet.
RETRY_S = 0.005
MOST_RETRY_S = 0.1

_INIT_VERSION = 5

#: The same request may succeed a moment later, and a broker that had carried it out before says so or does nothing.
_LATER = (
    kafka_errors.ConcurrentTransactionsError,
    kafka_errors.CoordinatorLoadInProgressError,
    kafka_errors.CoordinatorNotAvailableError,
    kafka_errors.NotCoordinatorError,
    kafka_errors.NotLeaderForPartitionError,
    kafka_errors.LeaderNotAvailableError,
    kafka_errors.UnknownTopicOrPartitionError,
    kafka_errors.NotEnoughReplicasError,
    kafka_errors.NotEnoughReplicasAfterAppendError,
    kafka_errors.RequestTimedOutError,
    kafka_errors.KafkaStorageError,
)
_MOVED = (kafka_errors.NotCoordinatorError, kafka_errors.CoordinatorNotAvailableError)
_GENERATION = (
    kafka_errors.IllegalGenerationError,
    kafka_errors.UnknownMemberIdError,
    kafka_errors.RebalanceInProgressError,
    # See `streams.kafka.transactions`: whether it is another process's, the consumer's next heartbeat says.
    kafka_errors.FencedInstanceIdError,
)
_TOO_LARGE = (kafka_errors.MessageSizeTooLargeError, kafka_errors.RecordListTooLargeError)

_CODECS: dict[str | None, Codec] = {
    None: Codec(0, bytes),
    "none": Codec(0, bytes),
    "gzip": Codec(1, codec.gzip_encode),
    "snappy": Codec(2, codec.snappy_encode),
    "lz4": Codec(3, codec.lz4_encode),
    "zstd": Codec(4, codec.zstd_encode),
}


class DirectTransactions:
    """Sends records and consumed offsets atomically, in the calling thread. Belongs to one thread.

    Args:
        link: connections of its own.
        settings: where the brokers are.
        transactional_id: stable name; a new producer of the same name ends the transactions of its predecessor.
        timeout_ms: after which Kafka aborts a transaction nobody ends.
        max_request_bytes: largest record, in bytes.

    Raises:
        streams.errors.KafkaFailure: `compression_type` is none that Kafka has, or its library is not installed.
        streams.errors.BrokerUnavailable: the coordinator does not take the name up in time.
        streams.errors.NotAuthorized: the name, or transactions, are not permitted.

    """

    def __init__(
        self, link: Link, settings: KafkaSettings, *, transactional_id: str, timeout_ms: int, max_request_bytes: int
    ) -> None:
        self._link, self._settings = link, settings
        self._transactional_id = transactional_id
        self._timeout_ms = timeout_ms
        self._max_request_bytes = max_request_bytes
        self._batch_bytes = min(BATCH_BYTES, max_request_bytes)
        self._codec = _codec(settings.client.get("compression_type"))
        self._producer_id = self._epoch = -1
        self._start()

    def send(self, records: Sequence[Outgoing], *, topic: str, group: Any, offsets: Mapping[int, int]) -> None:
        """Write `records` and commit next `offsets`; see `streams.kafka.transactions.TransactionalProducer.send`.

        Raises:
            streams.errors.GenerationChanged: nothing was written; try again under fresh metadata.
            streams.errors.OutcomeUnknown: call `recover`, then ask the group how far it got.
            streams.errors.RecordTooLarge: nothing was written; `.index` says which record.

        """
        for index, record in enumerate(records):
            if record.value is not None and len(record.value) + _FRAME_BYTES > self._max_request_bytes:
                raise self._too_large(record, index, self._max_request_bytes)
        # Half of the time-out, so that there is time left to end what was begun before the broker does.
        deadline = time.monotonic() + self._timeout_ms / 2000
        try:
            self._link.idle()
            self._write(records, topic, group, offsets, deadline)
        except KafkaFailure:
            raise
        except kafka_errors.AuthorizationError as error:
            self._abort()
            raise translate(error, f"write a transaction as {self._transactional_id!r}") from error
        except (kafka_errors.KafkaError, OSError, AssertionError) as error:
            raise self._unknown(error) from error

    def recover(self) -> None:
        """Start anew under the same name. When this returns, the last transaction is decided.

        Raises:
            streams.errors.BrokerUnavailable: try again later.

        """
        with contextlib.suppress(kafka_errors.KafkaError, OSError):
            # The broker that did not answer may have led a partition or coordinated the group, and be gone for good.
            self._link.forget_all()
        self._start()
        log.warning("transactions.recovered", extra={"transactional_id": self._transactional_id})

    def idle(self) -> None:
        """Nothing to send: keep the connections in order. Does not wait."""
        try:
            self._link.idle()
        except (kafka_errors.KafkaError, OSError) as error:
            log.info("transactions.idle_failed", extra={"error": type(error).__name__})

    def close(self) -> None:
        """Close; every `send` that returned is committed."""
        self._link.close()

    discard = close

    # --- one transaction

    def _write(
        self, records: Sequence[Outgoing], topic: str, group: Any, offsets: Mapping[int, int], deadline: float
    ) -> None:
        partitions = [self._partition(record, deadline) for record in records]
        batches = list(
            record_batches.encode(records, partitions, now_ms=time.time_ns() // 1_000_000, most_bytes=self._batch_bytes)
        )
        rounds = _rounds(batches)
        commit, coordinator = None, -1
        if offsets:
            commit = self._offsets_request(topic, group, offsets)
            coordinator = self._link.coordinator(CoordinatorType.GROUP, group.group_id, deadline)
        sequences: dict[tuple[str, int], int] = {}
        for number, batches_at_once in enumerate(rounds):
            sealed = self._sealed(batches_at_once, sequences)
            requests = self._produce_requests(sealed, deadline)
            # A broker answers a connection's requests one after the other: sent together they save a round trip, and
            # cannot get into each other's way. On another broker they could: each adds to the same transaction.
            last = number == len(rounds) - 1
            together = commit if last and all(node == coordinator for _, node in requests) else None
            if together is not None:
                requests.append((together, coordinator))
            answers = self._link.gather(requests)
            if together is not None:
                self._check_offsets(answers.pop(), together, group, deadline)
                commit = None
            self._check_produced(answers, sealed, deadline)
        if commit is not None:
            (answer,) = self._link.gather([(commit, coordinator)])
            self._check_offsets(answer, commit, group, deadline)
        self._end(deadline, committed=True)

    def _partition(self, record: Outgoing, deadline: float) -> int:
        if record.partition is not None:
            return record.partition
        known = self._link.partitions(record.topic, deadline)
        # As Kafka's own clients place a key. Without one any will do: the same for all of a transaction is cheapest.
        hashed = murmur2(record.key) & 0x7FFFFFFF if record.key is not None else self._epoch
        return known[hashed % len(known)]

    def _sealed(self, batches: Sequence[Batch], sequences: dict[tuple[str, int], int]) -> list[tuple[Batch, Sealed]]:
        sealed = []
        for batch in batches:
            place = (batch.topic, batch.partition)
            first = sequences.get(place, 0)
            sequences[place] = first + batch.count
            raw = batch.sealed(producer_id=self._producer_id, epoch=self._epoch, sequence=first, codec=self._codec)
            sealed.append((batch, Sealed(*place, raw)))
        return sealed

    def _produce_requests(self, sealed: Sequence[tuple[Batch, Sealed]], deadline: float) -> list[tuple[Frame, int]]:
        by_node: dict[int, list[Sealed]] = {}
        for batch, raw in sealed:
            node = self._link.leader(TopicPartition(batch.topic, batch.partition), deadline)
            by_node.setdefault(node, []).append(raw)
        return [
            (transaction_frames.produce(self._transactional_id, parts, self._settings.request_timeout_ms), node)
            for node, parts in by_node.items()
        ]

    def _check_produced(
        self, answers: Sequence[tuple[memoryview, int]], sealed: Sequence[tuple[Batch, Sealed]], deadline: float
    ) -> None:
        """Raise what cannot be cured; send again what can."""
        wait_s = RETRY_S
        by_place = {(batch.topic, batch.partition): (batch, raw) for batch, raw in sealed}
        while True:
            again = []
            for place, error in _produce_errors(answers):
                batch, raw = by_place[place]
                if issubclass(error, _TOO_LARGE):
                    self._too_large_for_broker(batch)
                elif not issubclass(error, _LATER):
                    raise error(f"writing to {place[0]}/{place[1]}")
                elif time.monotonic() > deadline:
                    raise error(f"writing to {place[0]}/{place[1]} until the time was up")
                else:
                    again.append((batch, raw))
            if not again:
                return
            self._link.pause(wait_s)
            wait_s = min(wait_s * 2, MOST_RETRY_S)
            for topic in {batch.topic for batch, _ in again}:
                self._link.refresh(topic)
            answers = self._link.gather(self._produce_requests(again, deadline))

    def _offsets_request(self, topic: str, group: Any, offsets: Mapping[int, int]) -> Frame:
        member = Member(group.group_id, group.generation_id, group.member_id, group.group_instance_id)
        return transaction_frames.offsets(
            self._transactional_id, self._producer_id, self._epoch, member, topic=topic, next_offsets=offsets
        )

    def _check_offsets(self, answer: tuple[memoryview, int], request: Frame, group: Any, deadline: float) -> None:
        """Raise what cannot be cured; commit again what can."""
        wait_s = RETRY_S
        while True:
            codes = transaction_frames.offsets_errors(*answer)
            errors = {kafka_errors.for_code(code) for code in codes if code}
            if not errors:
                return
            error = min(errors, key=lambda kind: issubclass(kind, _LATER))
            if issubclass(error, _GENERATION):
                self._abort()
                raise GenerationChanged(
                    f"the group moved on while a transaction was open ({error.__name__}); it was aborted and nothing "
                    "of it is visible"
                )
            if not issubclass(error, _LATER) or time.monotonic() > deadline:
                raise error(f"committing offsets for {group.group_id!r}")
            if issubclass(error, _MOVED):
                self._link.forget(CoordinatorType.GROUP, group.group_id)
            self._link.pause(wait_s)
            wait_s = min(wait_s * 2, MOST_RETRY_S)
            coordinator = self._link.coordinator(CoordinatorType.GROUP, group.group_id, deadline)
            (answer,) = self._link.gather([(request, coordinator)])

    def _end(self, deadline: float, *, committed: bool) -> None:
        wait_s = RETRY_S
        while True:
            frame = transaction_frames.end(self._transactional_id, self._producer_id, self._epoch, committed=committed)
            coordinator = self._link.coordinator(CoordinatorType.TRANSACTION, self._transactional_id, deadline)
            (answer,) = self._link.gather([(frame, coordinator)])
            ended = transaction_frames.ended(*answer)
            error = kafka_errors.for_code(ended.error_code)
            if error is kafka_errors.NoError:
                self._producer_id, self._epoch = ended.producer_id, ended.producer_epoch
                return
            if not issubclass(error, _LATER) or time.monotonic() > deadline:
                raise error(f"ending a transaction of {self._transactional_id!r}")
            if issubclass(error, _MOVED):
                self._link.forget(CoordinatorType.TRANSACTION, self._transactional_id)
            self._link.pause(wait_s)
            wait_s = min(wait_s * 2, MOST_RETRY_S)

    def _abort(self) -> None:
        try:
            self._end(time.monotonic() + self._timeout_ms / 2000, committed=False)
        except (kafka_errors.KafkaError, OSError) as error:
            raise self._unknown(error) from error

    # --- the start

    def _start(self) -> None:
        deadline = time.monotonic() + self._settings.request_timeout_ms / 1000
        try:
            self._take_name(deadline)
        except (kafka_errors.KafkaError, OSError) as error:
            failure = translate(error, f"start transactions as {self._transactional_id!r}")
            if isinstance(failure, Fenced):
                # Another start of the same name came between: the next try decides which of the two is the last.
                failure = BrokerUnavailable(str(failure))
            raise failure from error

    def _take_name(self, deadline: float) -> None:
        wait_s = RETRY_S
        while True:
            try:
                answer = self._link.call(
                    InitProducerIdRequest(
                        transactional_id=self._transactional_id,
                        transaction_timeout_ms=self._timeout_ms,
                        producer_id=-1,
                        producer_epoch=-1,
                        max_version=_INIT_VERSION,
                    ),
                    self._link.coordinator(CoordinatorType.TRANSACTION, self._transactional_id, deadline),
                )
            except (kafka_errors.KafkaConnectionError, kafka_errors.NodeNotReadyError):
                self._link.forget(CoordinatorType.TRANSACTION, self._transactional_id)
                if time.monotonic() > deadline:
                    raise
            else:
                error = kafka_errors.for_code(answer.error_code)
                if error is kafka_errors.NoError:
                    self._producer_id, self._epoch = answer.producer_id, answer.producer_epoch
                    return
                if not issubclass(error, _LATER) or time.monotonic() > deadline:
                    raise error(f"taking up the name {self._transactional_id!r}")
                if issubclass(error, _MOVED):
                    self._link.forget(CoordinatorType.TRANSACTION, self._transactional_id)
            self._link.pause(wait_s)
            wait_s = min(wait_s * 2, MOST_RETRY_S)

    # --- errors

    def _unknown(self, error: BaseException) -> OutcomeUnknown:
        # Whoever does not answer may have moved; the next start asks anew.
        self._link.forget(CoordinatorType.TRANSACTION, self._transactional_id)
        return OutcomeUnknown(f"a transaction of {self._transactional_id!r} ended in {type(error).__name__}: {error}")

    def _too_large_for_broker(self, batch: Batch) -> None:
        self._abort()
        if batch.count == 1:
            raise RecordTooLarge(
                f"a record of {len(batch.body)} bytes for {batch.topic} is over what the topic takes; raise its "
                "max.message.bytes or answer with less",
                index=batch.first,
            )
        # The topic takes less than is usual: smaller batches from now on, and the same records again.
        self._batch_bytes = max(len(batch.body) // 2, 1)
        raise OutcomeUnknown(f"{batch.topic} takes no batch of {len(batch.body)} bytes; trying smaller ones")

    def _too_large(self, record: Outgoing, index: int, limit: int) -> RecordTooLarge:
        return RecordTooLarge(
            f"a record of {len(record.value or b'')} bytes for {record.topic} is over the limit of {limit} bytes; "
            "raise the limit or answer with less",
            index=index,
        )


def _codec(name: str | None) -> Codec:
    """What a user's `compression_type` stands for; asked at the start, since nothing could be written without."""
    found = _CODECS.get(name)
    if found is None or (found.number and not getattr(codec, f"has_{name}")()):
        usable = ", ".join(one for one in _CODECS if one and (one == "none" or getattr(codec, f"has_{one}")()))
        raise KafkaFailure(
            f"kafka.client.compression_type={name!r}: not known, or its library is missing; use {usable}"
        )
    return found


def _rounds(batches: Sequence[Batch]) -> list[list[Batch]]:
    """Batches in groups with at most one a partition, as a request takes them; order within a partition is kept."""
    rounds: list[list[Batch]] = []
    seen: dict[tuple[str, int], int] = {}
    for batch in batches:
        place = (batch.topic, batch.partition)
        at = seen.get(place, 0)
        seen[place] = at + 1
        if at == len(rounds):
            rounds.append([])
        rounds[at].append(batch)
    return rounds


def _produce_errors(
    answers: Sequence[tuple[memoryview, int]],
) -> list[tuple[tuple[str, int], type[kafka_errors.KafkaError]]]:
    found = []
    for answer in answers:
        for topic, partition, code in transaction_frames.produced(*answer):
            error = kafka_errors.for_code(code)
            # What a try before this one has written already is written.
            if error not in (kafka_errors.NoError, kafka_errors.DuplicateSequenceNumberError):
                found.append(((topic, partition), error))
    return found
