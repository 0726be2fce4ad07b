"""Topics on a real broker: created once, checked afterwards, counted by offsets."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from streams import topics
from streams.errors import InvalidPipelineName, KafkaFailure, TopicMismatch, TopicMissing
from streams.kafka import Admin, TopicSpec, commit_offsets, new_producer, new_reader
from streams.topics import TopicSettings, ensure_topics

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.kafka import KafkaSettings

pytestmark = pytest.mark.services

SETTINGS = TopicSettings(partitions=3)


@pytest.fixture
def admin(kafka_settings: KafkaSettings) -> Iterator[Admin]:
    """A connection for administration."""
    with Admin(kafka_settings, "test-admin") as connected:
        yield connected


def test_a_pipeline_gets_its_topics(admin: Admin, pipeline: str) -> None:
    """All four, with their partitions and settings, and again without a change."""
    assert ensure_topics(admin, pipeline, SETTINGS) == ()
    for topic in (topics.requests(pipeline), topics.results(pipeline), topics.dead_letters(pipeline)):
        assert admin.partitions(topic) == 3
    assert admin.partitions(topics.TELEMETRY) == topics.TELEMETRY_PARTITIONS
    requests, letters = (admin.config(topic(pipeline)) for topic in (topics.requests, topics.dead_letters))
    assert int(letters["max.message.bytes"]) > int(requests["max.message.bytes"])
    assert requests["retention.ms"] == str(72 * 3_600_000)
    assert admin.config(topics.results(pipeline))["message.timestamp.type"] == "LogAppendTime", "else clocks matter"
    assert admin.config(topics.TELEMETRY)["retention.ms"] == str(24 * 3_600_000)
    assert ensure_topics(admin, pipeline, SETTINGS) == ()


def test_requests_that_exist_decide_how_many_partitions_there_are(admin: Admin, pipeline: str) -> None:
    """Results get as many, and what differs from the settings is said."""
    source = topics.requests(pipeline)
    admin.create_topics({source: TopicSpec(2, 1, {"max.message.bytes": "2048", "cleanup.policy": "compact"})})
    differences = ensure_topics(admin, pipeline, SETTINGS)
    assert admin.partitions(topics.results(pipeline)) == 2
    said = " ".join(differences)
    assert f"{source} has 2 partitions and topics.partitions is 3" in said
    assert "max.message.bytes=2048" in said
    assert "compact" in said


def test_results_of_another_width_are_refused(admin: Admin, pipeline: str) -> None:
    """A result goes to the partition of its request, so there must be one; nothing is created before it is said."""
    admin.create_topics({topics.results(pipeline): TopicSpec(2, 1)})
    with pytest.raises(TopicMismatch, match=r"has 2 partitions, but .* has 3"):
        ensure_topics(admin, pipeline, SETTINGS)
    assert admin.partitions(topics.requests(pipeline)) is None


def test_dead_letters_are_as_wide_as_what_they_come_from(admin: Admin, pipeline: str) -> None:
    """A letter goes to its request's partition: fewer are refused by name, and new ones are as many as bulk has."""
    settings = TopicSettings(partitions=4, bulk=True)
    admin.create_topics({topics.bulk(pipeline): TopicSpec(6, 1, {})})
    ensure_topics(admin, pipeline, settings)
    assert admin.partitions(topics.dead_letters(pipeline)) == 6
    narrow = f"{pipeline}-narrow"
    admin.create_topics({topics.dead_letters(narrow): TopicSpec(2, 1, {})})
    with pytest.raises(TopicMismatch, match=rf"{narrow}\.dead-letters has 2 partitions, but {narrow}\.requests has 4"):
        ensure_topics(admin, narrow, TopicSettings(partitions=4))
    assert admin.partitions(topics.requests(narrow)) is None


def test_names_that_are_none_are_refused(admin: Admin) -> None:
    """Before the broker is asked."""
    with pytest.raises(InvalidPipelineName):
        ensure_topics(admin, "Digits", SETTINGS)


def test_what_a_broker_refuses_is_our_error(admin: Admin, pipeline: str) -> None:
    """More copies than there are brokers cannot be made."""
    with pytest.raises(KafkaFailure, match=rf"create the topic .*{pipeline}.*[Rr]eplication"):
        admin.create_topics({topics.requests(pipeline): TopicSpec(1, 7)})


def test_missing_topics_are_named(admin: Admin, kafka_settings: KafkaSettings, pipeline: str) -> None:
    """Nothing is created by looking at it."""
    missing = topics.requests(pipeline)
    assert admin.partitions(missing) is None
    with pytest.raises(TopicMissing, match=missing):
        admin.end_offsets(missing)
    for group in (None, "g"):
        with pytest.raises(TopicMissing, match=missing):
            new_reader(kafka_settings, [missing], group=group)
    assert admin.partitions(missing) is None


def test_offsets_are_counted_by_partition(admin: Admin, kafka_settings: KafkaSettings, pipeline: str) -> None:
    """End, start and committed offsets, where a partition that was never committed is None and not 0."""
    ensure_topics(admin, pipeline, SETTINGS)
    topic, group = topics.requests(pipeline), topics.group(pipeline)
    assert admin.committed(group, topic) == {0: None, 1: None, 2: None}
    producer = new_producer(kafka_settings, "test-producer")
    for partition, count in ((0, 2), (2, 5)):
        for _ in range(count):
            producer.send(topic, value=b"v", partition=partition)
    producer.close()
    assert admin.end_offsets(topic) == {0: 2, 1: 0, 2: 5}
    assert admin.start_offsets(topic) == {0: 0, 1: 0, 2: 0}
    reader = new_reader(kafka_settings, [topic], group=group, from_="earliest")
    seen = 0
    while seen < 7:
        seen += sum(map(len, reader.poll(timeout_ms=10_000).values()))
    # Static members are the workers' business; here only what a commit of one partition looks like from outside.
    commit_offsets(reader, {place: 4 for place in reader.assignment() if place.partition == 2})
    reader.close(autocommit=False)
    assert admin.committed(group, topic) == {0: None, 1: None, 2: 4}


def test_a_broker_that_is_back_is_asked_again(kafka_settings: KafkaSettings, pipeline: str) -> None:
    """It was away when the library last looked which brokers there are, and leads a partition by now."""
    settings = dataclasses.replace(kafka_settings, metadata_max_age_ms=600_000)
    with Admin(settings, "test-admin", retry_s=5) as admin:
        admin.create_topics({topics.requests(pipeline): TopicSpec(1, 1)})
        assert admin.end_offsets(topics.requests(pipeline)) == {0: 0}
        manager = admin._client._manager
        (leader,) = manager.cluster.brokers()
        # Another broker answers for it: by another number, at the same address.
        stand_in = type(leader)(leader.node_id + 1, leader.host, leader.port, leader.rack)
        manager.cluster._brokers = {stand_in.node_id: stand_in}
        manager._conns.pop(leader.node_id).close()
        assert admin.end_offsets(topics.requests(pipeline)) == {0: 0}


def test_a_slot_scaled_in_leaves_at_once(admin: Admin, kafka_settings: KafkaSettings, pipeline: str) -> None:
    """A static member's partitions are free without waiting for its session, and who is no member is passed over."""
    ensure_topics(admin, pipeline, SETTINGS)
    group = topics.group(pipeline)
    assert admin.remove_static_members(group, ["nobody"]) == frozenset()
    reader = new_reader(
        kafka_settings, [topics.requests(pipeline)], group=group, group_instance_id="slot-0", session_timeout_ms=60_000
    )
    while not reader.assignment():
        reader.poll(timeout_ms=1_000)
    reader.close(autocommit=False)
    assert admin.remove_static_members(group, ["slot-0", "nobody"]) == {"slot-0"}
    assert admin.remove_static_members(group, ["slot-0"]) == frozenset()


def test_a_reader_without_a_group_misses_nothing(admin: Admin, kafka_settings: KafkaSettings, pipeline: str) -> None:
    """What is written after it was made is read, before its first poll or not; what was there before is not."""
    ensure_topics(admin, pipeline, SETTINGS)
    topic = topics.results(pipeline)
    producer = new_producer(kafka_settings, "test-producer")
    producer.send(topic, value=b"before", partition=1).get(10)
    reader = new_reader(kafka_settings, [topic], from_="latest")
    producer.send(topic, value=b"after", partition=1).get(10)
    producer.close()
    polled = reader.poll(timeout_ms=10_000)
    assert [record.value for batch in polled.values() for record in batch] == [b"after"]
    reader.close()
