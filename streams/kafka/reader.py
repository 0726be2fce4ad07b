"""A plain consumer: for results, telemetry and tools. Workers have their own (`streams.kafka.group_consumer`)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

import kafka.errors as kafka_errors
from kafka import KafkaConsumer, TopicPartition
from kafka.protocol.metadata import MetadataRequest
from kafka.structs import OffsetAndMetadata

from streams.errors import BrokerUnavailable, TopicMissing
from streams.kafka.translate import connect, translated

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from streams.kafka.settings import KafkaSettings


#: Longest wait for a commit, in milliseconds.
COMMIT_MS = 10_000


def new_reader(
    settings: KafkaSettings,
    topics: Collection[str],
    *,
    group: str | None = None,
    isolation: Literal["read_committed", "read_uncommitted"] = "read_committed",
    from_: Literal["earliest", "latest"] = "latest",
    client_id: str = "penstock-reader",
    **overrides: Any,
) -> KafkaConsumer:
    """A consumer of whole topics.

    Without a group it owns every partition there is now, and its positions are resolved when this returns: what is
    written afterwards will be read. With a group it shares the partitions with the other members and begins where the
    group had committed; offsets are committed by the caller, never behind its back.

    Args:
        settings: where to connect.
        topics: the topics to read; each must exist.
        group: the consumer group, if any.
        isolation: `read_committed` hides what a transaction has not committed.
        from_: where to begin where there is no committed offset.
        client_id: shown in the broker's logs.
        overrides: kafka-python settings of this consumer.

    Raises:
        TopicMissing: one of the topics does not exist.
        KafkaFailure: or one of its kinds.
    """
    fixed = {
        "isolation_level": isolation,
        "auto_offset_reset": from_,
        "enable_auto_commit": False,
        "allow_auto_create_topics": False,
        "client_id": client_id,
        "group_id": group,
    }
    names = ", ".join(topics)
    consumer: KafkaConsumer = connect(KafkaConsumer, settings, f"connect a reader of {names}", overrides, **fixed)
    try:
        with translated(f"read {names}"):
            places = [place for topic in topics for place in _places(consumer, topic)]
            if group is not None:
                consumer.subscribe(list(topics))
                return consumer
            consumer.assign(places)
            (consumer.seek_to_end if from_ == "latest" else consumer.seek_to_beginning)(*places)
            _resolve(consumer, places, settings)
    except BaseException:
        consumer.close(autocommit=False)
        raise
    return consumer


def commit_offsets(consumer: KafkaConsumer, offsets: Mapping[TopicPartition, int]) -> None:
    """Commit the next offsets to be read by a reader's group.

    Args:
        consumer: a reader with a group.
        offsets: by the partitions that `poll` gave.

    Raises:
        GenerationChanged: the group has rebalanced; the partitions' new owners read these records again.
        KafkaFailure: or another of its kinds.
    """
    with translated("commit offsets"):
        consumer.commit(
            {place: OffsetAndMetadata(offset, "", -1) for place, offset in offsets.items()}, timeout_ms=COMMIT_MS
        )


def _places(consumer: KafkaConsumer, topic: str) -> list[TopicPartition]:
    numbers = consumer.partitions_for_topic(topic)
    if not numbers:
        _refuse_unauthorized(consumer, topic)
        msg = f"cannot read {topic}: it does not exist; create the pipeline's topics first, or check the name"
        raise TopicMissing(msg)
    return [TopicPartition(topic, number) for number in sorted(numbers)]


def _refuse_unauthorized(consumer: KafkaConsumer, topic: str) -> None:
    """Tell a topic that may not be seen from one that is not there: the library's list has neither.

    Raises:
        kafka.errors.TopicAuthorizationFailedError: it may not be seen.
    """
    request = MetadataRequest(
        topics=[MetadataRequest.MetadataRequestTopic(name=topic)],
        allow_auto_topic_creation=False,
        include_cluster_authorized_operations=False,
        include_topic_authorized_operations=False,
    )
    manager = consumer._manager  # noqa: SLF001 - the library has no public call for it
    for entry in manager.run(manager.send, request).topics:
        if entry.error_code == kafka_errors.TopicAuthorizationFailedError.errno:
            raise kafka_errors.TopicAuthorizationFailedError(topic)


def _resolve(consumer: KafkaConsumer, places: list[TopicPartition], settings: KafkaSettings) -> None:
    """Turn "from the end" into offsets now: a lazy consumer would resolve it at its first poll, after our writes."""
    deadline = time.monotonic() + settings.request_timeout_ms / 1000
    for place in places:
        left_ms = max(1.0, (deadline - time.monotonic()) * 1000)
        if consumer.position(place, timeout_ms=left_ms) is None:
            msg = (
                f"cannot read {place.topic}: partition {place.partition} gave no offset within "
                f"{settings.request_timeout_ms} ms; check that its leader is up"
            )
            raise BrokerUnavailable(msg)
