"""Producers: idempotent, acknowledged by all in-sync replicas, never creating a topic by accident."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import kafka.errors as kafka_errors
from kafka import KafkaProducer

from streams.kafka.translate import connect

if TYPE_CHECKING:
    from streams.kafka.settings import KafkaSettings
    from streams.records import Outgoing

log = logging.getLogger(__name__)


def new_producer(settings: KafkaSettings, client_id: str, **overrides: Any) -> KafkaProducer:
    """A producer that writes each record once, whatever is retried underneath.

    Args:
        settings: where to connect.
        client_id: shown in the broker's logs and quotas.
        overrides: kafka-python settings of this producer, e.g. `transactional_id`.

    Raises:
        KafkaFailure: or one of its kinds; see `streams.kafka.translate.connect`.
    """
    configs = {
        # Send at once: under load the batch fills while the one before is on its way.
        "linger_ms": 0,
        # How long `send` may wait for metadata or buffer space; the library's 60 s would hide a missing topic.
        "max_block_ms": 10_000,
        "max_request_size": settings.max_request_bytes,
    }
    fixed = {
        "acks": "all",
        "enable_idempotence": True,
        # A topic that is missing must be an error, not a topic with the broker's defaults.
        "allow_auto_create_topics": False,
        "client_id": client_id,
        **overrides,
    }
    producer: KafkaProducer = connect(KafkaProducer, settings, "connect a producer", configs, **fixed)
    return producer


def hand_over(producer: KafkaProducer, record: Outgoing) -> Any:
    """Hand a record to a producer; a future of kafka-python's, done when the brokers have it.

    Raises:
        kafka.errors.KafkaError: it was not taken.
    """
    return producer.send(
        record.topic,
        value=record.value,
        key=record.key,
        headers=record.all_headers,
        partition=record.partition,
        timestamp_ms=record.timestamp_ms,
    )


def close_producer(producer: KafkaProducer, timeout_s: float) -> bool:
    """Send what is buffered and close, within a time even where no broker answers.

    Returns:
        Whether all of it was sent.
    """
    try:
        producer.close(timeout=timeout_s)
    except kafka_errors.KafkaError as error:
        log.warning("producer.closed_unsent", extra={"error": str(error)})
        # The library's close ends where its flush fails, before it has stopped the sender: there is no public way left.
        producer._sender.force_close()  # noqa: SLF001
        return False
    return True
