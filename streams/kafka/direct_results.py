"""Results outside transactions, many records at a time: for at-least-once delivery.

kafka-python's producer takes a record at a time, with a future each, and hands it to a thread of its own: more work for
a result than the transaction that exactly-once delivery needs. Here a batch of answers is encoded at once and sent by
the calling thread, as transactions are (`streams.kafka.direct_transactions`). The producer is idempotent: within one
`write` a request that is tried again writes nothing twice, and order within a partition is kept; only where a topic
takes smaller batches than usual, the records are written again in those, once. After a `write` that failed nothing is
known; whoever writes the same records again may repeat some, which is what at-least-once says.
"""

from __future__ import annotations

import contextlib
import logging
import time
from typing import TYPE_CHECKING

from kafka import errors as kafka_errors

from streams.errors import KafkaFailure
from streams.kafka.direct_writing import BatchTooLarge, DirectWriting
from streams.kafka.transaction_name import new_producer_id
from streams.kafka.translate import translate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.kafka.link import Link
    from streams.kafka.settings import KafkaSettings
    from streams.kafka.transaction_name import Producer
    from streams.records import Outgoing

log = logging.getLogger(__name__)


class DirectResults:
    """Writes records that all replicas in sync acknowledge. Belongs to one thread.

    Args:
        link: connections of its own.
        settings: where the brokers are.
        timeout_s: for how long one `write` is tried.

    Raises:
        streams.errors.KafkaFailure: `compression_type` is none that Kafka has, or its library is not installed.

    """

    def __init__(self, link: Link, settings: KafkaSettings, *, timeout_s: float) -> None:
        self._link, self._timeout_s = link, timeout_s
        self._writing = DirectWriting(
            link, settings, transactional_id=None, max_request_bytes=settings.max_request_bytes
        )
        #: `None` = a new one at the next write.
        self._producer: Producer | None = None
        self._sequences: dict[tuple[str, int], int] = {}
        self._writes = 0

    def write(self, records: Sequence[Outgoing]) -> None:
        """Write records, in order within a partition; all are acknowledged when this returns.

        Raises:
            streams.errors.RecordTooLarge: `.index` says which record; of the others nothing is known.
            streams.errors.TopicRefuses: `.topic` does not take them; of the others nothing is known.
            streams.errors.KafkaFailure: or one of its kinds; of the records nothing is known.

        """
        self._writing.refuse_too_large(records)
        deadline = time.monotonic() + self._timeout_s
        try:
            self._link.idle()
            while True:
                try:
                    self._write(records, deadline)
                except BatchTooLarge as error:
                    # Nothing may follow a batch that was refused under the same numbers.
                    self._producer = None
                    log.info("results.smaller_batches", extra={"cause": str(error)})
                else:
                    return
        except KafkaFailure:
            self._producer = None
            raise
        except (kafka_errors.KafkaError, OSError) as error:
            self._producer = None
            with contextlib.suppress(kafka_errors.KafkaError, OSError):
                # The broker that did not answer may have led a partition, and be gone for good.
                self._link.forget_all()
            raise translate(error, "send results") from error

    def idle(self) -> None:
        """Nothing to write: keep the connections in order. Does not wait."""
        try:
            self._link.idle()
        except (kafka_errors.KafkaError, OSError) as error:
            log.info("results.idle_failed", extra={"error": type(error).__name__})

    def close(self) -> None:
        """Close; what `write` returned for is acknowledged."""
        self._link.close()

    def _write(self, records: Sequence[Outgoing], deadline: float) -> None:
        producer = self._producer
        if producer is None:
            producer = self._producer = new_producer_id(self._link, deadline)
            self._sequences = {}
        self._writes += 1
        # Without a key any partition will do: the same for all of a write is cheapest.
        for batches in self._writing.rounds(records, keyless=self._writes, deadline=deadline):
            sealed = self._writing.sealed(batches, self._sequences, producer)
            answers = self._link.gather(self._writing.requests(sealed, deadline))
            self._writing.check(answers, sealed, deadline)
