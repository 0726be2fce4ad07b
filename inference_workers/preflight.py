"""What a worker makes sure of before it loads its model: that Kafka will let it do its work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from inference_workers.settings import EXACTLY_ONCE
from streams import preflight
from streams.acls import Role, of_role

if TYPE_CHECKING:
    from inference_workers.settings import WorkerSettings
    from streams.kafka import Admin, KafkaSettings


def check(admin: Admin, kafka: KafkaSettings, *, pipeline: str, slot: str, settings: WorkerSettings) -> None:
    """Ask the broker about each permission that this very worker needs; nothing is written, joined or fenced.

    Args:
        admin: a connection as the worker's user.
        kafka: what it was made of.
        pipeline: whose worker it is.
        slot: its name, which is its transactional id.
        settings: how it delivers.

    Raises:
        NotAuthorized: names what is missing and how it is granted.
        TopicMissing: one of the pipeline's topics does not exist.
        KafkaFailure: or another of its kinds.
    """
    needed = of_role(Role.WORKER, pipeline, exactly_once=settings.delivery == EXACTLY_ONCE, slot=slot)
    preflight.check(admin, needed, role=Role.WORKER, settings=kafka)
