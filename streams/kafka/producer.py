"""Producers: idempotent, acknowledged by all in-sync replicas, never creating a topic by accident."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka import KafkaProducer

from streams.kafka.translate import connect

if TYPE_CHECKING:
    from streams.kafka.settings import KafkaSettings


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
        "acks": "all",
        "enable_idempotence": True,
        # Send at once: under load the batch fills while the one before is on its way.
        "linger_ms": 0,
        # A topic that is missing must be an error, not a topic with the broker's defaults.
        "allow_auto_create_topics": False,
        # How long `send` may wait for metadata or buffer space; the library's 60 s would hide a missing topic.
        "max_block_ms": 10_000,
        "max_request_size": settings.max_request_bytes,
        **overrides,
    }
    producer: KafkaProducer = connect(KafkaProducer, settings, "connect a producer", configs, client_id=client_id)
    return producer
