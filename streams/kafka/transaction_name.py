"""Becoming a producer: under a transactional name, which ends whatever a predecessor had open, or under none."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from kafka import errors as kafka_errors
from kafka.protocol.metadata import CoordinatorType
from kafka.protocol.producer import InitProducerIdRequest

from streams.errors import BrokerUnavailable, Fenced
from streams.kafka.transaction_errors import MOVED, Patience
from streams.kafka.translate import translate

if TYPE_CHECKING:
    from streams.kafka.link import Link

_INIT_VERSION = 5
#: Of a producer that begins no transactions, as Kafka's own client says it: it means nothing there.
_NO_TIMEOUT_MS = 2**31 - 1


class Producer(NamedTuple):
    """Under what the broker knows a producer."""

    id: int
    epoch: int


def take_name(link: Link, transactional_id: str, *, timeout_ms: int, within_s: float) -> Producer:
    """Take a name up. When this returns, the last transaction under it is decided.

    Args:
        link: the caller's connections.
        transactional_id: the name.
        timeout_ms: after which Kafka aborts a transaction nobody ends.
        within_s: for how long it is tried.

    Raises:
        streams.errors.BrokerUnavailable: the coordinator does not take it up in time.
        streams.errors.NotAuthorized: the name, or transactions, are not permitted.

    """
    try:
        return _taken(link, transactional_id, timeout_ms, time.monotonic() + within_s)
    except (kafka_errors.KafkaError, OSError) as error:
        failure = translate(error, f"start transactions as {transactional_id!r}")
        if isinstance(failure, Fenced):
            # Another start of the same name came between: the next try decides which of the two is the last.
            failure = BrokerUnavailable(str(failure))
        raise failure from error


def new_producer_id(link: Link, deadline: float) -> Producer:
    """An id for a producer without transactions: with sequence numbers under it nothing is written twice.

    Args:
        link: the caller's connections.
        deadline: monotonic seconds.

    Raises:
        kafka.errors.KafkaError: none is to be had.

    """
    patience = Patience(link, deadline)
    while True:
        answer = link.call(
            InitProducerIdRequest(
                transactional_id=None,
                transaction_timeout_ms=_NO_TIMEOUT_MS,
                producer_id=-1,
                producer_epoch=-1,
                max_version=_INIT_VERSION,
            )
        )
        error = kafka_errors.for_code(answer.error_code)
        if error is kafka_errors.NoError:
            return Producer(answer.producer_id, answer.producer_epoch)
        if not patience.allows(error):
            raise error("asking for a producer id")
        patience.wait()


def _taken(link: Link, transactional_id: str, timeout_ms: int, deadline: float) -> Producer:
    patience = Patience(link, deadline)
    while True:
        try:
            answer = link.call(
                InitProducerIdRequest(
                    transactional_id=transactional_id,
                    transaction_timeout_ms=timeout_ms,
                    producer_id=-1,
                    producer_epoch=-1,
                    max_version=_INIT_VERSION,
                ),
                link.coordinator(CoordinatorType.TRANSACTION, transactional_id, deadline),
            )
        except (kafka_errors.KafkaConnectionError, kafka_errors.NodeNotReadyError):
            link.forget(CoordinatorType.TRANSACTION, transactional_id)
            if patience.over:
                raise
        else:
            error = kafka_errors.for_code(answer.error_code)
            if error is kafka_errors.NoError:
                return Producer(answer.producer_id, answer.producer_epoch)
            if not patience.allows(error):
                raise error(f"taking up the name {transactional_id!r}")
            if issubclass(error, MOVED):
                link.forget(CoordinatorType.TRANSACTION, transactional_id)
        patience.wait()
