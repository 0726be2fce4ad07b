"""Exactly-once delivery: records and consumed offsets in one Kafka transaction, or not at all.

A transactional producer belongs to one thread. What may go wrong is sorted into two: the group moved on (abort, look
who owns what, try again), the outcome is not known (build the producer anew: that decides it, then ask the group how
far it got). That another process took our name is the consumer's to find out (`GroupConsumer.poll`).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Protocol

from kafka import TopicPartition
from kafka import errors as kafka_errors
from kafka.structs import OffsetAndMetadata

from streams.errors import GenerationChanged, KafkaFailure, OutcomeUnknown, RecordTooLarge
from streams.kafka import guards
from streams.kafka.direct_transactions import NEEDED_LEVEL, DirectTransactions
from streams.kafka.link import Link
from streams.kafka.producer import hand_over, new_producer
from streams.kafka.translate import translate, translated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streams.kafka.settings import KafkaSettings
    from streams.records import Outgoing

log = logging.getLogger(__name__)

#: Milliseconds between tries while the coordinator writes the last transaction's markers. kafka-python's default of
#: 100 makes the next transaction wait 100 ms (measured p99 220 ms against 26 ms).
RETRY_BACKOFF_MS = 5

#: The group no longer takes commits under the generation we named; the records may still be ours under the next one.
_GENERATION_ERRORS = (
    kafka_errors.CommitFailedError,
    kafka_errors.IllegalGenerationError,
    kafka_errors.RebalanceInProgressError,
    kafka_errors.UnknownMemberIdError,
    # Our instance id has another member id by now. It may be our own: thrown out (a long stop) and joined again while
    # this transaction was on its way. Whether it is another process's, the consumer's next heartbeat says.
    kafka_errors.FencedInstanceIdError,
)


class TransactionalProducer:
    """Sends records and consumed offsets atomically.

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
        self._timeout_ms = timeout_ms
        self._max_request_bytes = max_request_bytes
        self._producer = self._new_producer()

    def _new_producer(self) -> Any:
        producer = new_producer(
            self._settings,
            f"{self._transactional_id}-results",
            transactional_id=self._transactional_id,
            transaction_timeout_ms=self._timeout_ms,
            retry_backoff_ms=RETRY_BACKOFF_MS,
            # Nothing leaves before the commit asks for it: with 0 each record would be a request and a wake-up.
            linger_ms=self._timeout_ms,
            max_request_size=self._max_request_bytes,
        )
        guards.retry_transactional_requests(producer)
        try:
            with translated("start transactions", self._settings):
                producer.init_transactions()
        except BaseException:
            producer.close(timeout=0)
            raise
        return producer

    def send(self, records: Sequence[Outgoing], *, topic: str, group: Any, offsets: Mapping[int, int]) -> None:
        """Write `records` and commit next `offsets` (by partition of `topic`) for `group`, atomically.

        Args:
            records: what to write; may be empty.
            topic: consumed topic.
            group: `GroupConsumer.metadata()` of a moment at which every partition in `offsets` was owned.
            offsets: next offset to consume, by partition; may be empty, then `topic` and `group` are not used.

        Raises:
            streams.errors.GenerationChanged: nothing was written; try again under fresh metadata.
            streams.errors.OutcomeUnknown: call `recover`, then ask the group how far it got.
            streams.errors.RecordTooLarge: nothing was written; `.index` says which record.
            streams.errors.NotAuthorized: nothing was written; the user may not write to one of the topics.

        """
        producer = self._producer
        try:
            producer.begin_transaction()
            sent = []
            for index, record in enumerate(records):
                try:
                    sent.append(hand_over(producer, record))
                except kafka_errors.MessageSizeTooLargeError as error:
                    self._abort()
                    raise RecordTooLarge(
                        f"a record of {len(record.value or b'')} bytes for {record.topic} is over the limit of "
                        f"{self._max_request_bytes} bytes; raise the limit or answer with less",
                        index=index,
                    ) from error
                if sent[-1].failed():
                    # What the broker refuses here is not raised but put into the future, and no try will mend it.
                    self._abort()
                    raise _refusal(sent[-1].exception, record.topic)
            # Each record must be written before the offsets go out. The library may drop a batch whose epoch was taken
            # (the broker aborted the transaction after its time-out, as when it was away), complete what is left of the
            # transaction under a new epoch, and report no error: offsets would be committed without their results.
            # No longer than the transaction may last: a new producer finds the next coordinator at once.
            longest_s = self._timeout_ms / 1000
            producer.flush(timeout=longest_s)
            for future in sent:
                future.get(timeout=longest_s)
            if offsets:
                producer.send_offsets_to_transaction(
                    {TopicPartition(topic, p): OffsetAndMetadata(offset, "", -1) for p, offset in offsets.items()},
                    group,
                )
            producer.commit_transaction()
        except _GENERATION_ERRORS as error:
            self._abort()
            raise GenerationChanged(
                f"the group moved on while a transaction was open ({type(error).__name__}); it was aborted and nothing "
                "of it is visible"
            ) from error
        except (kafka_errors.KafkaError, AssertionError) as error:
            raise OutcomeUnknown(
                f"a transaction of {self._transactional_id!r} ended in {type(error).__name__}: {error}"
            ) from error

    def _abort(self) -> None:
        try:
            self._producer.abort_transaction()
        except kafka_errors.KafkaError as error:
            raise OutcomeUnknown(f"aborting a transaction failed: {type(error).__name__}: {error}") from error

    def recover(self) -> None:
        """Replace the producer. When this returns, the last transaction is decided: committed whole or gone whole.

        Raises:
            streams.errors.BrokerUnavailable: try again later.

        """
        self.discard()
        self._producer = self._new_producer()
        log.warning("transactions.recovered", extra={"transactional_id": self._transactional_id})

    def idle(self) -> None:
        """Nothing to send. The library's own thread sees to the connections."""

    def discard(self) -> None:
        """Close without ending an open transaction: Kafka aborts it by time-out or at the next start of this name."""
        try:
            self._producer.close(timeout=0)
        except (kafka_errors.KafkaError, AssertionError) as error:
            log.info("transactions.discard_failed", extra={"error": type(error).__name__})

    def close(self) -> None:
        """Close; every `send` that returned is committed."""
        with translated("close the transactional producer", self._settings):
            self._producer.close(timeout=2)


def _refusal(error: BaseException, topic: str) -> KafkaFailure:
    """What to raise for a record that was refused before it was sent, after the transaction was aborted."""
    failure = translate(error, f"write to {topic}")
    return OutcomeUnknown(str(failure)) if failure.retriable else failure


class Transactions(Protocol):
    """What both ways of writing a transaction have in common; see `TransactionalProducer`."""

    def send(self, records: Sequence[Outgoing], *, topic: str, group: Any, offsets: Mapping[int, int]) -> None:
        """Write records and commit next offsets, atomically."""

    def recover(self) -> None:
        """Make the outcome of the last transaction known, and go on."""

    def idle(self) -> None:
        """Called from time to time while there is nothing to send."""

    def close(self) -> None:
        """Close; every `send` that returned is committed."""


def open_transactions(
    settings: KafkaSettings, *, transactional_id: str, timeout_ms: int, max_request_bytes: int
) -> Transactions:
    """The cheapest way to write transactions that the cluster knows.

    Raises:
        streams.errors.KafkaFailure: or one of its kinds, as of the two classes.

    """
    link = Link(settings, f"{transactional_id}-results")
    try:
        level = link.features().get("transaction.version", 0)
        if level >= NEEDED_LEVEL:
            return DirectTransactions(
                link,
                settings,
                transactional_id=transactional_id,
                timeout_ms=timeout_ms,
                max_request_bytes=max_request_bytes,
            )
    except BaseException:
        link.close()
        raise
    link.close()
    log.info("transactions.by_the_library", extra={"transaction_version": level})
    return TransactionalProducer(
        settings, transactional_id=transactional_id, timeout_ms=timeout_ms, max_request_bytes=max_request_bytes
    )
