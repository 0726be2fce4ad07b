"""Results outside transactions, on a real broker: a record at a time by the library, and many at once by us."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from streams.errors import KafkaFailure, RecordTooLarge
from streams.kafka import Admin, KafkaSettings, TopicSpec, new_reader
from streams.kafka.direct_results import DirectResults
from streams.kafka.direct_writing import BATCH_BYTES
from streams.kafka.link import Link
from streams.kafka.results import LibraryResults, open_results
from streams.records import Outgoing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.kafka.results import Results

pytestmark = pytest.mark.services


def _direct(settings: KafkaSettings) -> DirectResults:
    return DirectResults(Link(settings, "test"), settings, timeout_s=2.0)


def _library(settings: KafkaSettings) -> LibraryResults:
    return LibraryResults(settings, "test")


@pytest.fixture(params=[_direct, _library], ids=["direct", "library"])
def writer(request: pytest.FixtureRequest, kafka_settings: KafkaSettings) -> Iterator[Results]:
    """One of the two kinds."""
    made = request.param(kafka_settings)
    yield made
    made.close()


@pytest.fixture
def topic(kafka_settings: KafkaSettings, pipeline: str) -> str:
    """A topic of three partitions."""
    with Admin(kafka_settings, "test") as admin:
        admin.create_topics({pipeline: TopicSpec(3, 1)})
    return pipeline


def on(settings: KafkaSettings, topic: str, count: int) -> list[Any]:
    """At least `count` records, and all up to the end."""
    reader = new_reader(settings, [topic], from_="earliest")
    found: list[Any] = []
    deadline = time.monotonic() + 20
    try:
        while len(found) < count and time.monotonic() < deadline:
            found += [one for records in reader.poll(100).values() for one in records]
        while more := [one for records in reader.poll(300).values() for one in records]:
            found += more
    finally:
        reader.close()
    return found


def test_more_than_a_batch_a_partition_keeps_its_order(
    writer: Results, kafka_settings: KafkaSettings, topic: str
) -> None:
    """Over several writes, each value once."""
    values = [b"%04d" % index + b"x" * 2_000 for index in range(2 * BATCH_BYTES // 2_000 + 50)]
    half = len(values) // 2
    for part in (values[:half], values[half:]):
        writer.write([Outgoing(topic, None, value, [("h", b"v")], 1) for value in part])
        writer.idle()
    found = on(kafka_settings, topic, len(values))
    assert [one.value for one in found] == values
    assert all(tuple(one.headers) == (("h", b"v"),) and one.partition == 1 for one in found)


def test_a_key_chooses_the_partition_as_everywhere(writer: Results, kafka_settings: KafkaSettings, topic: str) -> None:
    """The same by both kinds: the library's own places are known."""
    keys = [b"key-%d" % index for index in range(20)]
    writer.write([Outgoing(topic, key, b"v", [], None) for key in keys])
    reference = _library(kafka_settings)
    reference.write([Outgoing(topic, key, b"v", [], None) for key in keys])
    reference.close()
    places: dict[bytes, set[int]] = {}
    for one in on(kafka_settings, topic, 40):
        places.setdefault(one.key, set()).add(one.partition)
    assert set(places) == set(keys)
    assert all(len(place) == 1 for place in places.values())


def test_after_a_failure_the_next_write_goes_through(
    writer: Results, kafka_settings: KafkaSettings, topic: str
) -> None:
    """A record that is too large, a topic that is not there: said, and nothing of it holds up what comes after."""
    writer.write([Outgoing(topic, None, b"a", [], 0)])
    with pytest.raises(RecordTooLarge):
        writer.write([Outgoing(topic, None, b"x" * 2_000_000, [], 0)])
    with pytest.raises(KafkaFailure):
        writer.write([Outgoing(f"{topic}-missing", None, b"b", [], 0)])
    writer.write([Outgoing(topic, None, b"c", [], 0)])
    assert [one.value for one in on(kafka_settings, topic, 2)] == [b"a", b"c"]


def test_a_topic_that_takes_less_gets_smaller_batches(kafka_settings: KafkaSettings, topic: str) -> None:
    """Within the one write; what had been written before the refusal may come again, none is lost or out of order."""
    small = f"{topic}-small"
    with Admin(kafka_settings, "test") as admin:
        admin.create_topics({small: TopicSpec(3, 1, {"max.message.bytes": "20000"})})
    writer = _direct(kafka_settings)
    values = [b"%04d" % index + b"x" * 2_000 for index in range(40)]
    writer.write([Outgoing(small, None, value, [], 1) for value in values])
    with pytest.raises(RecordTooLarge):
        writer.write([Outgoing(small, None, b"y" * 30_000, [], 1)])
    # The broker took none of its numbers: what follows must not go on from them.
    writer.write([Outgoing(small, None, b"last", [], 1)])
    writer.close()
    found = [one.value for one in on(kafka_settings, small, 41)]
    assert list(dict.fromkeys(found)) == [*values, b"last"]


def test_a_cluster_that_knows_them_gets_many_at_once(kafka_settings: KafkaSettings) -> None:
    """The embedded broker does."""
    writer = open_results(kafka_settings, "test")
    writer.close()
    assert isinstance(writer, DirectResults)
