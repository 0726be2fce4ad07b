"""Lanes as a worker opens them: the urgent one, the bulk one where the pipeline has its topic, and their consumers."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from inference_workers.buffer import RecordBuffer
from inference_workers.errors import WorkerError
from inference_workers.lanes import Lane
from inference_workers.ownership import Ownership
from inference_workers.ready import ReadyQueue
from streams import topics
from streams.data_path import open_consumer
from streams.errors import NotAuthorized

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from inference_workers.settings import WorkerSettings
    from inference_workers.worker_spec import WorkerSpec
    from streams.capacity import Capacity
    from streams.kafka import Admin
    from streams.kafka.group_consumer import GroupConsumer

log = logging.getLogger(__name__)


def urgent_lane(spec: WorkerSpec, max_batch: int, changed: threading.Condition) -> Lane:
    """The lane that every pipeline has.

    Args:
        spec: the worker's.
        max_batch: rows of the largest batch.
        changed: shared with the other lane.

    """
    return _lane(topics.requests(spec.pipeline), topics.group(spec.pipeline), spec.settings, max_batch, changed)


def bulk_lane(spec: WorkerSpec, admin: Admin, max_batch: int, changed: threading.Condition) -> Lane | None:
    """The lane for bulk; `None` = the pipeline has no topic for it. See `urgent_lane`.

    Raises:
        WorkerError: its topic has more partitions than the results.

    """
    topic, results = topics.bulk(spec.pipeline), topics.results(spec.pipeline)
    try:
        wide = admin.partitions(topic)
    except NotAuthorized:
        # What a cluster that denies by default says of a topic that does not exist, too: most pipelines have none.
        log.info("worker.no_bulk_lane", extra={"worker": spec.slot, "topic": topic})
        return None
    if wide is None:
        return None
    if wide > (admin.partitions(results) or 0):
        msg = (
            f"{topic} has {wide} partitions, more than {results}: a result is written to the partition of its request; "
            "add partitions to the results, or delete the bulk topic"
        )
        raise WorkerError(msg)
    return _lane(topic, topics.bulk_group(spec.pipeline), spec.settings, max_batch, changed)


def _lane(topic: str, group: str, settings: WorkerSettings, max_batch: int, changed: threading.Condition) -> Lane:
    return Lane(
        topic,
        group,
        Ownership(),
        RecordBuffer(settings.buffer_records, settings.buffer_bytes),
        # Two batches: one to run next, and one that is being decoded meanwhile.
        ReadyQueue(2 * max_batch, changed),
    )


def consumer_of(lane: Lane, spec: WorkerSpec, max_batch: int, capacity: Callable[[], Capacity]) -> GroupConsumer:
    """A lane's member of its group.

    Args:
        lane: whose topic.
        spec: the worker's.
        max_batch: rows of the largest batch.
        capacity: what the group is told that we can do.

    Raises:
        streams.errors.KafkaFailure: see `open_consumer`.

    """
    settings = spec.settings
    consumer: GroupConsumer = open_consumer(
        spec.kafka,
        topic=lane.topic,
        group=lane.group,
        instance_id=spec.slot,
        hooks=lane.ownership,
        session_timeout_ms=settings.session_timeout_ms,
        revoke_drain_s=settings.revoke_drain_s,
        max_poll_records=max(max_batch, settings.buffer_records // 2),
        capacity=capacity,
        meanwhile=lambda: lane.commits.serve(consumer.commit),
    )
    return consumer
