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

from kafka import errors as kafka_errors
from kafka.protocol.metadata import CoordinatorType

from streams.errors import GenerationChanged, KafkaFailure, OutcomeUnknown, RecordTooLarge, TopicRefuses
from streams.kafka import transaction_frames
from streams.kafka.direct_writing import BatchTooLarge, DirectWriting
from streams.kafka.transaction_errors import GENERATION, LATER, MOVED, Patience
from streams.kafka.transaction_frames import Member
from streams.kafka.transaction_name import Producer, take_name
from streams.kafka.translate import translate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from streams.kafka.frames import Frame
    from streams.kafka.link import Link
    from streams.kafka.settings import KafkaSettings
    from streams.records import Outgoing

log = logging.getLogger(__name__)

#: The level of the cluster's feature `transaction.version` that this needs.
NEEDED_LEVEL = 2


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
        self._writing = DirectWriting(
            link, settings, transactional_id=transactional_id, max_request_bytes=max_request_bytes
        )
        self._producer = Producer(-1, -1)
        self._start()

    def send(self, records: Sequence[Outgoing], *, topic: str, group: Any, offsets: Mapping[int, int]) -> None:
        """Write `records` and commit next `offsets`; see `streams.kafka.transactions.TransactionalProducer.send`.

        Raises:
            streams.errors.GenerationChanged: nothing was written; try again under fresh metadata.
            streams.errors.OutcomeUnknown: call `recover`, then ask the group how far it got.
            streams.errors.RecordTooLarge: nothing was written; `.index` says which record.

        """
        self._writing.refuse_too_large(records)
        # Half of the time-out, so that there is time left to end what was begun before the broker does.
        deadline = time.monotonic() + self._timeout_ms / 2000
        try:
            self._link.idle()
            self._write(records, topic, group, offsets, deadline)
        except BatchTooLarge as error:
            self._abort()
            raise OutcomeUnknown(str(error)) from error
        except RecordTooLarge:
            self._abort()
            raise
        except TopicRefuses as error:
            raise OutcomeUnknown(str(error), topic=error.topic) from error
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
        # Without a key any partition will do: the same for all of a transaction is cheapest.
        rounds = self._writing.rounds(records, keyless=self._producer.epoch, deadline=deadline)
        commit, coordinator = None, -1
        if offsets:
            commit = self._offsets_request(topic, group, offsets)
            coordinator = self._link.coordinator(CoordinatorType.GROUP, group.group_id, deadline)
        sequences: dict[tuple[str, int], int] = {}
        for number, batches_at_once in enumerate(rounds):
            sealed = self._writing.sealed(batches_at_once, sequences, self._producer)
            requests = self._writing.requests(sealed, deadline)
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
            self._writing.check(answers, sealed, deadline)
        if commit is not None:
            (answer,) = self._link.gather([(commit, coordinator)])
            self._check_offsets(answer, commit, group, deadline)
        self._end(deadline, committed=True)

    def _offsets_request(self, topic: str, group: Any, offsets: Mapping[int, int]) -> Frame:
        member = Member(group.group_id, group.generation_id, group.member_id, group.group_instance_id)
        return transaction_frames.offsets(
            self._transactional_id, *self._producer, member, topic=topic, next_offsets=offsets
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
            frame = transaction_frames.end(self._transactional_id, *self._producer, committed=committed)
            coordinator = self._link.coordinator(CoordinatorType.TRANSACTION, self._transactional_id, deadline)
            (answer,) = self._link.gather([(frame, coordinator)])
            ended = transaction_frames.ended(*answer)
            error = kafka_errors.for_code(ended.error_code)
            if error is kafka_errors.NoError:
                self._producer = Producer(ended.producer_id, ended.producer_epoch)
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
        self._producer = take_name(
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
