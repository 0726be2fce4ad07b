"""The Faust agent on `penstock.telemetry`, embedded in a process of ours.

Faust brings the group membership, which decides who owns a pipeline, and the stream; the agent's body is one call of a
plain function. Requests never pass through it: it reads samples and reports, a few a second whatever the load.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import faust

from streams import topics
from streams.acls import agents_group
from streams.tls import ssl_context

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from pathlib import Path

    from streams.kafka.settings import KafkaSettings

log = logging.getLogger(__name__)

#: Seconds without a heartbeat after which another process takes over; with a heartbeat each second a busy machine keeps
#: it.
SESSION_TIMEOUT_S = 10.0
_HEARTBEAT_S = 1.0
_COMMIT_S = 2.0


def group(pipeline: str) -> str:
    """The consumer group of a pipeline's autoscalers."""
    return agents_group(pipeline)


def build_app(
    kafka: KafkaSettings,
    *,
    pipeline: str,
    instance: str | None,
    data_dir: Path,
    on_record: Callable[[bytes | None, bytes | None, int, int], None],
    on_owned: Callable[[frozenset[int]], None],
    on_lost: Callable[[frozenset[int]], None],
) -> Any:
    """A Faust app with one agent on the telemetry topic, which must exist. Not started.

    Args:
        kafka: Where to connect; `client` may name TLS and SASL as kafka-python does.
        pipeline: Whose autoscaler this is: its processes form one group.
        instance: Stable name of this member: back within the session time-out it takes its partitions at once.
            `None` = none, as for a process of which there may be any number.
        data_dir: A folder that Faust creates; its parent must exist.
        on_record: Called with key, value, partition and offset of each record. Must not block.
        on_owned: Called with the telemetry partitions that this process has after a rebalance.
        on_lost: Called with those taken from it, before anybody else gets them.

    Returns:
        A `faust.App`: `await app.start()`, `await app.wait_until_stopped()`, `await app.stop()`.
    """
    app = faust.App(
        group(pipeline),
        broker=[f"kafka://{server}" for server in kafka.servers],
        broker_credentials=_credentials(kafka),
        store="memory://",
        datadir=str(data_dir),
        autodiscover=False,
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        consumer_auto_offset_reset="latest",
        consumer_metadata_max_age_ms=kafka.metadata_max_age_ms,
        consumer_group_instance_id=instance,
        key_serializer="raw",
        value_serializer="raw",
        broker_commit_interval=_COMMIT_S,
        broker_session_timeout=SESSION_TIMEOUT_S,
        broker_heartbeat_interval=_HEARTBEAT_S,
    )
    topic = app.topic(topics.TELEMETRY, key_serializer="raw", value_serializer="raw")

    async def telemetry(stream: Any) -> None:
        await follow(stream.events(), on_record)

    app.agent(topic, name="telemetry")(telemetry)

    async def assigned(_: Any, places: Iterable[Any], **__: Any) -> None:
        mine = frozenset(place.partition for place in places if place.topic == topics.TELEMETRY)
        log.info("agent.assigned", extra={"pipeline": pipeline, "partitions": sorted(mine)})
        on_owned(mine)

    async def revoked(_: Any, places: Iterable[Any], **__: Any) -> None:
        on_lost(frozenset(place.partition for place in places if place.topic == topics.TELEMETRY))

    app.on_partitions_assigned.connect(assigned)
    app.on_partitions_revoked.connect(revoked)
    return app


async def follow(events: AsyncIterator[Any], on_record: Callable[[bytes | None, bytes | None, int, int], None]) -> None:
    """The agent's body: hand each event on. What goes wrong with one record does not end the agent."""
    async for event in events:
        message = event.message
        try:
            on_record(event.key, event.value, message.partition, message.offset)
        except Exception:
            log.exception("agent.record_failed", extra={"partition": message.partition, "offset": message.offset})


def _credentials(kafka: KafkaSettings) -> Any:
    """kafka-python's TLS and SASL settings as Faust has them; `None` = plain text."""
    client = kafka.resolved_client()
    protocol = client.get("security_protocol", "PLAINTEXT")
    context = ssl_context(client) if protocol in ("SSL", "SASL_SSL") else None
    if protocol.startswith("SASL"):
        return faust.SASLCredentials(
            username=client.get("sasl_plain_username"),
            password=client.get("sasl_plain_password"),
            mechanism=client.get("sasl_mechanism"),
            ssl_context=context,
        )
    return faust.SSLCredentials(context) if context else None
