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

from kafka import TopicPartition
from kafka import errors as kafka_errors
from kafka.partitioner.default import murmur2
from kafka.protocol.metadata import CoordinatorType

from streams.errors import GenerationChanged, KafkaFailure, OutcomeUnknown, RecordTooLarge
from streams.kafka import record_batches, transaction_frames
from streams.kafka.compression import codec_of
from streams.kafka.transaction_errors import GENERATION, LATER, MOVED, TOO_LARGE, Patience
from streams.kafka.transaction_frames import Member, Sealed
from streams.kafka.transaction_name import take_name
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
        self._codec = codec_of(settings.client.get("compression_type"))
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
        patience = Patience(self._link, deadline)
        by_place = {(batch.topic, batch.partition): (batch, raw) for batch, raw in sealed}
        while True:
            again = []
            for place, error in _produce_errors(answers):
                batch, raw = by_place[place]
                if issubclass(error, TOO_LARGE):
                    self._too_large_for_broker(batch)
                elif not patience.allows(error):
                    raise error(f"writing to {place[0]}/{place[1]}")
                else:
                    again.append((batch, raw))
            if not again:
                return
            patience.wait()
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
        patience = Patience(self._link, deadline)
        while True:
            codes = transaction_frames.offsets_errors(*answer)
            errors = {kafka_errors.for_code(code) for code in codes if code}
            if not errors:
                return
            error = min(errors, key=lambda kind: issubclass(kind, LATER))
            if issubclass(error, GENERATION):
                self._abort()
                raise GenerationChanged(
                    f"the group moved on while a transaction was open ({error.__name__}); it was aborted and nothing "
                    "of it is visible"
                )
            if not patience.allows(error):
                raise error(f"committing offsets for {group.group_id!r}")
            if issubclass(error, MOVED):
                self._link.forget(CoordinatorType.GROUP, group.group_id)
            patience.wait()
            coordinator = self._link.coordinator(CoordinatorType.GROUP, group.group_id, deadline)
            (answer,) = self._link.gather([(request, coordinator)])

    def _end(self, deadline: float, *, committed: bool) -> None:
        patience = Patience(self._link, deadline)
        while True:
            frame = transaction_frames.end(self._transactional_id, self._producer_id, self._epoch, committed=committed)
            coordinator = self._link.coordinator(CoordinatorType.TRANSACTION, self._transactional_id, deadline)
            (answer,) = self._link.gather([(frame, coordinator)])
            ended = transaction_frames.ended(*answer)
            error = kafka_errors.for_code(ended.error_code)
            if error is kafka_errors.NoError:
                self._producer_id, self._epoch = ended.producer_id, ended.producer_epoch
                return
            if not patience.allows(error):
                raise error(f"ending a transaction of {self._transactional_id!r}")
            if issubclass(error, MOVED):
                self._link.forget(CoordinatorType.TRANSACTION, self._transactional_id)
            patience.wait()

    def _abort(self) -> None:
        try:
            self._end(time.monotonic() + self._timeout_ms / 2000, committed=False)
        except (kafka_errors.KafkaError, OSError) as error:
            raise self._unknown(error) from error

    # --- the start

    def _start(self) -> None:
        self._producer_id, self._epoch = take_name(
            self._link,
            self._transactional_id,
            timeout_ms=self._timeout_ms,
            within_s=self._settings.request_timeout_ms / 1000,
        )

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
