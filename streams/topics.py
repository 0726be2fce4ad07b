"""The names and the shapes of a pipeline's topics."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace
from typing import ClassVar

from streams.errors import InvalidPipelineName, TopicMismatch
from streams.kafka.admin import Admin, TopicSpec

log = logging.getLogger(__name__)

#: Samples and reports of all pipelines, keyed by pipeline: the autoscaler's input tape.
TELEMETRY = "penstock.telemetry"
#: Pipelines share it, so its width bounds how many agents can work at once, not how many pipelines there may be.
TELEMETRY_PARTITIONS = 8
TELEMETRY_RETENTION_MS = 24 * 3600 * 1000

_NAME = re.compile(r"[a-z0-9-]+")
#: Kafka allows 249 characters in a topic's name; the longest suffix of ours is `.dead-letters`.
_LONGEST_NAME = 200


def validate_pipeline_name(name: str) -> str:
    """The name itself, if it is one.

    Raises:
        InvalidPipelineName: it is empty, too long, or has other characters than `a-z`, `0-9` and `-`.
    """
    if len(name) > _LONGEST_NAME or not _NAME.fullmatch(name):
        msg = (
            f"pipeline name {name!r}: must be 1 to {_LONGEST_NAME} characters out of a-z, 0-9 and '-', "
            "because topics, Redis keys and Kubernetes names are made of it; e.g. digits"
        )
        raise InvalidPipelineName(msg)
    return name


def requests(pipeline: str) -> str:
    """The topic that requests are written to."""
    return f"{pipeline}.requests"


def bulk(pipeline: str) -> str:
    """The optional topic of requests that can wait: served with what urgent ones leave."""
    return f"{pipeline}.requests.bulk"


def results(pipeline: str) -> str:
    """The topic that results are written to, unless a request names another."""
    return f"{pipeline}.results"


def dead_letters(pipeline: str) -> str:
    """The topic that requests without an answer are copied to."""
    return f"{pipeline}.dead-letters"


def group(pipeline: str) -> str:
    """The consumer group of a pipeline's workers."""
    return f"penstock.{pipeline}"


def bulk_group(pipeline: str) -> str:
    """The consumer group of the same workers on `bulk`: bulk comes and goes without a rebalance of the urgent lane."""
    return f"penstock.{pipeline}.bulk"


def pipeline_of(requests_topic: str) -> str:
    """The pipeline whose requests a topic holds, in either lane: `requests` and `bulk` backwards.

    Raises:
        InvalidPipelineName: the topic is no pipeline's requests topic.
    """
    name, dot, kind = requests_topic.removesuffix(".bulk").rpartition(".")
    if not dot or kind != "requests":
        msg = f"{requests_topic!r} is no requests topic: those are named <pipeline>.requests"
        raise InvalidPipelineName(msg)
    return validate_pipeline_name(name)


@dataclass(frozen=True, slots=True)
class TopicSettings:
    """How a pipeline's topics are created. Topics that exist are never changed.

    Raises:
        ValueError: a field is out of range.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    #: Partitions of requests and of results: the ceiling of the fleet, since a partition has one owner.
    partitions: int = 12
    #: Whether there is a topic for bulk as well, `<pipeline>.requests.bulk`. Workers look for it when they start.
    bulk: bool = False
    #: Copies of each record; 1 = the embedded broker has one node. Use 3 on a real cluster.
    replication_factor: int = 1
    #: Copies that must have a record before it counts as written; use 2 with 3 copies.
    min_in_sync: int = 1
    #: How long requests and results are kept, in hours: a weekend, so that a Monday's repair finds them.
    retention_hours: float = 72.0
    #: How long dead letters are kept, in hours: 30 days, because people read them.
    dead_letter_retention_hours: float = 720.0
    #: Largest request or result, in bytes: 1 MiB, Kafka's own default.
    max_record_bytes: int = 1024 * 1024
    #: Room that a dead letter has above that for the headers that say what happened, in bytes.
    dead_letter_headroom_bytes: int = 64 * 1024

    def __post_init__(self) -> None:
        for name, least, most in (
            ("partitions", 1, 10_000),
            ("replication_factor", 1, 100),
            ("min_in_sync", 1, self.replication_factor),
            ("retention_hours", 0.01, 1e6),
            ("dead_letter_retention_hours", 0.01, 1e6),
            ("max_record_bytes", 1024, 2**30),
            ("dead_letter_headroom_bytes", 16 * 1024, 2**30),
        ):
            value = getattr(self, name)
            if not least <= value <= most:
                msg = f"topics.{name}={value}: must be from {least} to {most}"
                raise ValueError(msg)


def topic_specs(pipeline: str, settings: TopicSettings) -> dict[str, TopicSpec]:
    """The four topics that a pipeline needs, by name, and the one for bulk if it is wanted."""

    def spec(partitions: int, retention_ms: float, record_bytes: int) -> TopicSpec:
        config = {
            "cleanup.policy": "delete",
            "retention.ms": str(round(retention_ms)),
            "max.message.bytes": str(record_bytes),
            "min.insync.replicas": str(settings.min_in_sync),
        }
        return TopicSpec(partitions=partitions, replication_factor=settings.replication_factor, config=config)

    # Stamped by the broker: by default it refuses records from more than an hour ahead of its clock, and a worker whose
    # clock is wrong could answer nothing at all.
    stamped = {"message.timestamp.type": "LogAppendTime"}
    kept_ms = settings.retention_hours * 3_600_000
    letters_kept_ms = settings.dead_letter_retention_hours * 3_600_000
    letter_bytes = settings.max_record_bytes + settings.dead_letter_headroom_bytes
    answered = spec(settings.partitions, kept_ms, settings.max_record_bytes)
    specs = {
        requests(pipeline): spec(settings.partitions, kept_ms, settings.max_record_bytes),
        results(pipeline): replace(answered, config={**answered.config, **stamped}),
        # As many partitions as requests, so that letters keep the order and the place of their requests.
        dead_letters(pipeline): spec(settings.partitions, letters_kept_ms, letter_bytes),
        TELEMETRY: spec(TELEMETRY_PARTITIONS, TELEMETRY_RETENTION_MS, settings.max_record_bytes),
    }
    if settings.bulk:
        specs[bulk(pipeline)] = spec(settings.partitions, kept_ms, settings.max_record_bytes)
    return specs


def ensure_topics(admin: Admin, pipeline: str, settings: TopicSettings) -> tuple[str, ...]:
    """Create the pipeline's topics where they are missing; safe to call again and from several processes.

    A requests topic that exists already decides how many partitions its results have; the settings' number is for
    topics that this creates.

    Returns:
        How the topics that existed differ from the settings, one sentence each; empty = they do not.

    Raises:
        InvalidPipelineName: see `validate_pipeline_name`.
        TopicMismatch: the results topic has another number of partitions than the requests topic, or the topic of dead
            letters has fewer than those that its letters come from.
        KafkaFailure: or one of its kinds.
    """
    validate_pipeline_name(pipeline)
    specs = topic_specs(pipeline, settings)
    source, sink = requests(pipeline), results(pipeline)
    found = {name: admin.partitions(name) for name in specs}
    wide = found[source] or settings.partitions
    if found[sink] is not None and found[sink] != wide:
        msg = (
            f"the topic {sink} has {found[sink]} partitions, but {source} has {wide}: a result is written to the "
            f"partition of its request; add partitions to the narrower one, or delete {sink} and start again"
        )
        raise TopicMismatch(msg)
    letters = found[dead_letters(pipeline)]
    widest = max((found[name] or wide, name) for name in specs if name in (source, bulk(pipeline)))
    if letters is not None and letters < widest[0]:
        msg = (
            f"the topic {dead_letters(pipeline)} has {letters} partitions, but {widest[1]} has {widest[0]}: a dead "
            f"letter is written to the partition of its request; add partitions to {dead_letters(pipeline)}"
        )
        raise TopicMismatch(msg)
    for name in specs.keys() - {TELEMETRY}:
        count = widest[0] if name == dead_letters(pipeline) else wide
        specs[name] = TopicSpec(count, specs[name].replication_factor, specs[name].config)
    created = admin.create_topics({name: spec for name, spec in specs.items() if found[name] is None})
    differences = []
    if wide != settings.partitions:
        differences.append(
            f"{source} has {wide} partitions and topics.partitions is {settings.partitions}: the topic stands, "
            "and its number is the most workers that can share the load"
        )
    for name, spec in specs.items():
        if name not in created:
            differences += _differences(name, spec, admin.config(name))
    log.info("topics.ensured", extra={"pipeline": pipeline, "new": sorted(created), "differences": differences})
    return tuple(differences)


def _differences(name: str, spec: TopicSpec, actual: dict[str, str]) -> list[str]:
    """Only what can lose or refuse records is worth a sentence; how long records are kept is the owner's choice."""
    sentences = []
    for key in ("max.message.bytes", "min.insync.replicas"):
        wanted, is_ = int(spec.config[key]), actual.get(key)
        if is_ is not None and int(is_) < wanted:
            sentences.append(f"{name} has {key}={is_}, below the settings' {wanted}: change the topic or the settings")
    if "compact" in actual.get("cleanup.policy", ""):
        sentences.append(
            f"{name} has cleanup.policy={actual['cleanup.policy']}: compaction drops records that share a key"
        )
    return sentences
