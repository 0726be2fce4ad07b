"""Which client library carries a worker's requests, results and offsets (`kafka.library`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streams.errors import KafkaFailure
from streams.kafka import results as plain_results
from streams.kafka import transactions as of_kafka_python
from streams.kafka.group_consumer import GroupConsumer
from streams.kafka.settings import LIBRDKAFKA

if TYPE_CHECKING:
    from collections.abc import Callable

    from streams.capacity import Capacity
    from streams.kafka.group_consumer import RebalanceHooks
    from streams.kafka.results import Results
    from streams.kafka.settings import KafkaSettings
    from streams.kafka.transactions import Transactions


def open_consumer(
    settings: KafkaSettings,
    *,
    topic: str,
    group: str,
    instance_id: str,
    hooks: RebalanceHooks,
    session_timeout_ms: int,
    revoke_drain_s: float,
    max_poll_records: int,
    capacity: Callable[[], Capacity],
    meanwhile: Callable[[], None],
) -> Any:
    """A group consumer; see `streams.kafka.group_consumer.GroupConsumer`.

    Args:
        settings: where the brokers are, and which library.
        topic: see `GroupConsumer`, as for all that follow.
        group: see there.
        instance_id: see there.
        hooks: see there.
        session_timeout_ms: see there.
        revoke_drain_s: see there.
        max_poll_records: see there.
        capacity: what this member can do; librdkafka has no use for it.
        meanwhile: what the polling thread does between polls; only with librdkafka a revocation holds that thread up.

    Raises:
        KafkaFailure: or one of its kinds.
    """
    shared: dict[str, Any] = {
        "topic": topic,
        "group": group,
        "instance_id": instance_id,
        "hooks": hooks,
        "session_timeout_ms": session_timeout_ms,
        "revoke_drain_s": revoke_drain_s,
        "max_poll_records": max_poll_records,
    }
    if settings.library == LIBRDKAFKA:
        _need()
        from streams.librdkafka import group_consumer as other  # noqa: PLC0415 - an extra

        return other.GroupConsumer(settings, meanwhile=meanwhile, **shared)
    return GroupConsumer(settings, capacity=capacity, **shared)


def open_transactions(
    settings: KafkaSettings, *, transactional_id: str, timeout_ms: int, max_request_bytes: int
) -> Transactions:
    """A transactional producer; see `streams.kafka.transactions.TransactionalProducer`.

    Raises:
        KafkaFailure: or one of its kinds.
    """
    shared: dict[str, Any] = {
        "transactional_id": transactional_id,
        "timeout_ms": timeout_ms,
        "max_request_bytes": max_request_bytes,
    }
    if settings.library == LIBRDKAFKA:
        _need()
        from streams.librdkafka import transactions as other  # noqa: PLC0415 - an extra

        producer: Transactions = other.TransactionalProducer(settings, **shared)
        return producer
    return of_kafka_python.open_transactions(settings, **shared)


def open_results(settings: KafkaSettings, client_id: str) -> Results:
    """A writer of results outside transactions; see `streams.kafka.results.Results`.

    Raises:
        KafkaFailure: or one of its kinds.
    """
    if settings.library == LIBRDKAFKA:
        _need()
        from streams.librdkafka.results import LibrdkafkaResults  # noqa: PLC0415 - an extra

        writer: Results = LibrdkafkaResults(settings, client_id)
        return writer
    return plain_results.open_results(settings, client_id)


def _need() -> None:
    try:
        import confluent_kafka  # noqa: F401, PLC0415 - an extra
    except ImportError as error:
        raise KafkaFailure(
            f"kafka.library={LIBRDKAFKA!r} needs confluent-kafka, which cannot be imported ({error}); install "
            "penstock[librdkafka], or leave the setting out"
        ) from error
