"""Transactions over librdkafka; what `streams.kafka.transactions.TransactionalProducer` is over kafka-python."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException, Producer, TopicPartition

from streams.errors import GenerationChanged, NotAuthorized, OutcomeUnknown, RecordTooLarge
from streams.librdkafka.configuration import producer_configuration
from streams.librdkafka.errors import GENERATION, TOO_LARGE, ErrorWatch, translate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streams.kafka.settings import KafkaSettings
    from streams.records import Outgoing

log = logging.getLogger(__name__)
_library_log = logging.getLogger("streams.librdkafka.library")

#: Milliseconds between tries while the coordinator writes the last transaction's markers; the default of 100 makes the
#: next transaction wait as long.
RETRY_BACKOFF_MS = 5
#: Seconds that a full send buffer is waited for before the transaction is given up.
_FULL_S = 10.0
_FULL_LOOK_S = 0.05


class TransactionalProducer:
    """Sends records and consumed offsets atomically. Belongs to one thread.

    Args:
        settings: where the brokers are.
        transactional_id: stable name; a new producer of the same name ends the transactions of its predecessor.
        timeout_ms: after which Kafka aborts a transaction nobody ends.
        max_request_bytes: largest record, in bytes.

    Raises:
        streams.errors.BrokerUnavailable, streams.errors.AuthenticationFailed: at construction.

    """

    def __init__(
        self, settings: KafkaSettings, *, transactional_id: str, timeout_ms: int, max_request_bytes: int
    ) -> None:
        self._settings = settings
        self._transactional_id = transactional_id
        self._timeout_s = timeout_ms / 1000
        self._max_request_bytes = max_request_bytes
        #: Why records of the open transaction were not taken.
        self._failed: list[KafkaError] = []
        self._producer = self._new_producer()

    def _new_producer(self) -> Producer:
        watch = ErrorWatch(f"{self._transactional_id}-results")
        configuration = producer_configuration(
            self._settings,
            {
                "retry.backoff.ms": RETRY_BACKOFF_MS,
                # Nothing leaves before the commit asks for it, or a batch is full: fewer requests.
                "linger.ms": min(1000.0, self._timeout_s * 1000 / 2),
                "batch.size": 1_000_000,
                "queue.buffering.max.messages": 1_000_000,
                # As the Java client and kafka-python place a key.
                "partitioner": "murmur2_random",
            },
            {
                "client.id": f"{self._transactional_id}-results",
                "transactional.id": self._transactional_id,
                "transaction.timeout.ms": int(self._timeout_s * 1000),
                # One request may not outlast the transaction that it is part of; the library insists on it.
                "socket.timeout.ms": int(min(self._settings.request_timeout_ms, self._timeout_s * 1000)),
                "message.max.bytes": self._max_request_bytes,
                "delivery.timeout.ms": int(self._timeout_s * 1000),
                "enable.idempotence": True,
                "acks": "all",
                "delivery.report.only.error": True,
                "on_delivery": self._on_failure,
                "error_cb": watch,
            },
        )
        action = f"start transactions at {', '.join(self._settings.servers)}"
        producer = None
        try:
            producer = Producer(configuration, logger=_library_log)
            producer.init_transactions(self._settings.bootstrap_timeout_ms / 1000)
        except KafkaException as error:
            if producer is not None:
                producer.poll(0)
                _discard(producer)
            raise translate(watch.explain(error.args[0]), action) from error
        return producer

    def _on_failure(self, error: KafkaError | None, _: Any) -> None:
        if error is not None:
            self._failed.append(error)

    def send(self, records: Sequence[Outgoing], *, topic: str, group: Any, offsets: Mapping[int, int]) -> None:
        """Write `records` and commit next `offsets` (by partition of `topic`) for `group`, atomically.

        Args:
            records: what to write; may be empty.
            topic: consumed topic.
            group: `GroupConsumer.metadata()` of a moment at which every partition in `offsets` was owned.
            offsets: next offset to consume, by partition.

        Raises:
            streams.errors.GenerationChanged: nothing was written; try again under fresh metadata.
            streams.errors.OutcomeUnknown: call `recover`, then ask the group how far it got.
            streams.errors.RecordTooLarge: nothing was written; `.index` says which record, where it is known.
            streams.errors.NotAuthorized: nothing was written; the user may not write to one of the topics.

        """
        self._failed.clear()
        try:
            self._producer.begin_transaction()
            self._produce(records)
            if offsets:
                self._producer.send_offsets_to_transaction(
                    [TopicPartition(topic, p, offset) for p, offset in offsets.items()], group, self._timeout_s
                )
            self._producer.commit_transaction(self._timeout_s)
        except KafkaException as error:
            self._sort(error)
        except BufferError as error:
            self._abort()
            raise OutcomeUnknown(
                f"a transaction of {self._transactional_id!r} did not get its records out within {_FULL_S:g} s"
            ) from error

    def _produce(self, records: Sequence[Outgoing]) -> None:
        produce = self._producer.produce
        for index, record in enumerate(records):
            placed: dict[str, Any] = {}
            if record.partition is not None:
                placed["partition"] = record.partition
            if record.timestamp_ms is not None:
                placed["timestamp"] = record.timestamp_ms
            waited_s = 0.0
            while True:
                try:
                    produce(record.topic, record.value, record.key, headers=list(record.all_headers), **placed)
                except BufferError:
                    waited_s += _FULL_LOOK_S
                    if waited_s > _FULL_S:
                        raise
                    self._producer.poll(_FULL_LOOK_S)
                except KafkaException as error:
                    if error.args[0].code() not in TOO_LARGE:
                        raise
                    self._abort()
                    raise RecordTooLarge(
                        f"a record of {len(record.value or b'')} bytes for {record.topic} is over the limit of "
                        f"{self._max_request_bytes} bytes; raise the limit or answer with less",
                        index=index,
                    ) from error
                else:
                    break

    def _sort(self, failed: KafkaException) -> None:
        """Raise what a failed transaction means; see `send`."""
        error: KafkaError = failed.args[0]
        if error.code() in GENERATION or error.code() == KafkaError.FENCED_INSTANCE_ID:
            self._abort()
            raise GenerationChanged(
                f"the group moved on while a transaction was open ({error.name()}); it was aborted and nothing of "
                "it is visible"
            ) from failed
        if error.txn_requires_abort():
            self._abort()
            # The commit says only that records were not taken; why, their reports say.
            causes = [translate(cause, "write a transaction") for cause in (*self._failed, error)]
            for cause in causes:
                if isinstance(cause, (RecordTooLarge, NotAuthorized)):
                    raise cause from failed
        raise OutcomeUnknown(
            f"a transaction of {self._transactional_id!r} ended in {error.name()}: {error.str()}"
        ) from failed

    def _abort(self) -> None:
        try:
            self._producer.abort_transaction(self._timeout_s)
        except KafkaException as error:
            raise OutcomeUnknown(f"aborting a transaction failed: {error.args[0].str()}") from error

    def recover(self) -> None:
        """Replace the producer. When this returns, the last transaction is decided: committed whole or gone whole.

        Raises:
            streams.errors.BrokerUnavailable: try again later.

        """
        self.discard()
        self._producer = self._new_producer()
        log.warning("transactions.recovered", extra={"transactional_id": self._transactional_id})

    def idle(self) -> None:
        """Nothing to send: serve what the library has to tell."""
        self._producer.poll(0)

    def discard(self) -> None:
        """Drop the producer without ending an open transaction."""
        _discard(self._producer)

    def close(self) -> None:
        """Close; every `send` that returned is committed."""
        self._producer.flush(2)


def _discard(producer: Producer) -> None:
    with contextlib.suppress(KafkaException):
        producer.purge()
        producer.flush(0)
