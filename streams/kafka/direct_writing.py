"""Records to the brokers that lead their partitions, a batch a partition at a time, in the calling thread.

What transactions (`streams.kafka.direct_transactions`) and results without them (`streams.kafka.direct_results`) have
in common: where a record goes, batches, their sequence numbers, and which errors the same request may cure.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from kafka import TopicPartition
from kafka import errors as kafka_errors
from kafka.partitioner.default import murmur2

from streams.errors import RecordTooLarge, TopicRefuses
from streams.kafka import record_batches, transaction_frames
from streams.kafka.compression import codec_of
from streams.kafka.transaction_errors import OF_TOPIC, TOO_LARGE, Patience
from streams.kafka.transaction_frames import Sealed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from streams.kafka.frames import Frame
    from streams.kafka.link import Link
    from streams.kafka.record_batches import Batch
    from streams.kafka.settings import KafkaSettings
    from streams.kafka.transaction_name import Producer
    from streams.records import Outgoing

#: Bytes of one batch: well below the 1 MiB that topics take by default, and large enough that its head costs nothing.
BATCH_BYTES = 256 * 1024
#: Bytes of a record's frame and of a batch's head, above key, value and headers.
_FRAME_BYTES = 128


class BatchTooLarge(Exception):
    """A topic takes no batch of this size; the next ones are smaller."""

    def __init__(self, batch: Batch) -> None:
        super().__init__(f"{batch.topic} takes no batch of {len(batch.body)} bytes; trying smaller ones")


class DirectWriting:
    """Writes batches. Belongs to one thread.

    Args:
        link: connections of its own.
        settings: where the brokers are.
        transactional_id: name of the transactions that the batches are parts of; `None` = of none.
        max_request_bytes: largest record, in bytes.

    Raises:
        streams.errors.KafkaFailure: `compression_type` is none that Kafka has, or its library is not installed.

    """

    def __init__(
        self, link: Link, settings: KafkaSettings, *, transactional_id: str | None, max_request_bytes: int
    ) -> None:
        self._link, self._settings = link, settings
        self._transactional_id = transactional_id
        self._max_request_bytes = max_request_bytes
        self._batch_bytes = min(BATCH_BYTES, max_request_bytes)
        self._codec = codec_of(settings.client.get("compression_type"))

    def refuse_too_large(self, records: Sequence[Outgoing]) -> None:
        """Refuse what no broker will be asked to take.

        Raises:
            streams.errors.RecordTooLarge: `.index` says which record.

        """
        for index, record in enumerate(records):
            if record.value is not None and len(record.value) + _FRAME_BYTES > self._max_request_bytes:
                raise RecordTooLarge(
                    f"a record of {len(record.value)} bytes for {record.topic} is over the limit of "
                    f"{self._max_request_bytes} bytes; raise the limit or answer with less",
                    index=index,
                )

    def rounds(self, records: Sequence[Outgoing], *, keyless: int, deadline: float) -> list[list[Batch]]:
        """Batches in groups with at most one a partition, as a request takes them; order within a partition is kept.

        Args:
            records: what to write.
            keyless: a number that decides the partition of all records without a key.
            deadline: monotonic seconds.

        Raises:
            streams.errors.TopicRefuses: a topic is not known before the deadline.
            kafka.errors.KafkaError: we may not know of it.

        """
        partitions = [
            self._partition(record, keyless, deadline) if record.partition is None else record.partition
            for record in records
        ]
        rounds: list[list[Batch]] = []
        seen: dict[tuple[str, int], int] = {}
        now_ms = time.time_ns() // 1_000_000
        for batch in record_batches.encode(records, partitions, now_ms=now_ms, most_bytes=self._batch_bytes):
            place = (batch.topic, batch.partition)
            at = seen.get(place, 0)
            seen[place] = at + 1
            if at == len(rounds):
                rounds.append([])
            rounds[at].append(batch)
        return rounds

    def sealed(
        self, batches: Sequence[Batch], sequences: dict[tuple[str, int], int], producer: Producer
    ) -> list[tuple[Batch, Sealed]]:
        """The batches as brokers take them.

        Args:
            batches: at most one a partition.
            sequences: next sequence number by place; moved on.
            producer: who writes.

        """
        found = []
        for batch in batches:
            place = (batch.topic, batch.partition)
            first = sequences.get(place, 0)
            # Numbers go round, as the broker's do.
            sequences[place] = (first + batch.count) & 0x7FFFFFFF
            raw = batch.sealed(
                producer_id=producer.id,
                epoch=producer.epoch,
                sequence=first,
                codec=self._codec,
                transactional=self._transactional_id is not None,
            )
            found.append((batch, Sealed(*place, raw)))
        return found

    def requests(self, sealed: Sequence[tuple[Batch, Sealed]], deadline: float) -> list[tuple[Frame, int]]:
        """A request for each broker that leads some of the partitions.

        Raises:
            streams.errors.TopicRefuses: nobody is known to lead one before the deadline.
            kafka.errors.KafkaError: we may not know.

        """
        by_node: dict[int, list[Sealed]] = {}
        for batch, raw in sealed:
            with _refusals(batch.topic):
                node = self._link.leader(TopicPartition(batch.topic, batch.partition), deadline)
            by_node.setdefault(node, []).append(raw)
        return [
            (transaction_frames.produce(self._transactional_id, parts, self._settings.request_timeout_ms), node)
            for node, parts in by_node.items()
        ]

    def check(
        self, answers: Sequence[tuple[memoryview, int]], sealed: Sequence[tuple[Batch, Sealed]], deadline: float
    ) -> None:
        """Send again what that may cure.

        Raises:
            streams.errors.TopicRefuses: what it does not, and a topic is at fault.
            kafka.errors.KafkaError: any other that it does not.
            BatchTooLarge: the batches were too large for their topic; the next are smaller.
            streams.errors.RecordTooLarge: a single record is.

        """
        patience = Patience(self._link, deadline)
        by_place = {(batch.topic, batch.partition): (batch, raw) for batch, raw in sealed}
        while True:
            again = []
            for place, error in _errors(answers):
                batch, raw = by_place[place]
                if issubclass(error, TOO_LARGE):
                    raise self._smaller(batch)
                if not patience.allows(error):
                    with _refusals(place[0]):
                        raise error(f"writing to {place[0]}/{place[1]}")
                again.append((batch, raw))
            if not again:
                return
            patience.wait()
            for topic in {batch.topic for batch, _ in again}:
                self._link.refresh(topic)
            answers = self._link.gather(self.requests(again, deadline))

    def _partition(self, record: Outgoing, keyless: int, deadline: float) -> int:
        with _refusals(record.topic):
            known = self._link.partitions(record.topic, deadline)
        # As Kafka's own clients place a key.
        hashed = murmur2(record.key) & 0x7FFFFFFF if record.key is not None else keyless
        return known[hashed % len(known)]

    def _smaller(self, batch: Batch) -> Exception:
        if batch.count == 1:
            return RecordTooLarge(
                f"a record of {len(batch.body)} bytes for {batch.topic} is over what the topic takes; raise its "
                "max.message.bytes or answer with less",
                index=batch.first,
            )
        # The topic takes less than is usual: smaller batches from now on, and the same records again.
        self._batch_bytes = max(len(batch.body) // 2, 1)
        return BatchTooLarge(batch)


@contextlib.contextmanager
def _refusals(topic: str) -> Iterator[None]:
    """Errors of the topic itself name it."""
    try:
        yield
    except OF_TOPIC as error:
        raise TopicRefuses(topic, f"{topic} does not take records: {type(error).__name__}: {error}") from error


def _errors(
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
