"""Both ways of writing transactions, on a real broker: what a read-committed reader sees, and what the group has."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from kafka.structs import ConsumerGroupMetadata

from streams.errors import GenerationChanged, OutcomeUnknown, RecordTooLarge
from streams.kafka import Admin, KafkaSettings, TopicSpec, new_producer, new_reader
from streams.kafka.direct_transactions import DirectTransactions
from streams.kafka.direct_writing import BATCH_BYTES
from streams.kafka.link import Link
from streams.kafka.transactions import TransactionalProducer, open_transactions
from streams.records import Outgoing, SharedHeaders

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from streams.kafka.transactions import Transactions

pytestmark = pytest.mark.services


def _direct(settings: KafkaSettings, **facts: Any) -> DirectTransactions:
    return DirectTransactions(Link(settings, "test"), settings, **facts)


@pytest.fixture(params=[_direct, TransactionalProducer], ids=["direct", "library"])
def make(request: pytest.FixtureRequest, kafka_settings: KafkaSettings, pipeline: str) -> Iterator[Callable[..., Any]]:
    """Makes a producer of one of the two kinds, under the test's name."""
    made: list[Transactions] = []

    def new(**changes: Any) -> Transactions:
        facts = {"transactional_id": pipeline, "timeout_ms": 10_000, "max_request_bytes": 1_000_000, **changes}
        made.append(request.param(kafka_settings, **facts))
        return made[-1]

    yield new
    for one in made:
        one.close()


@pytest.fixture
def topic(kafka_settings: KafkaSettings, pipeline: str) -> str:
    """A topic of three partitions."""
    with Admin(kafka_settings, "test") as admin:
        admin.create_topics({pipeline: TopicSpec(3, 1)})
    return pipeline


def group_of(name: str, generation: int = -1, member: str = "") -> ConsumerGroupMetadata:
    """A membership; without a generation that of a group without members, which takes commits from anybody."""
    return ConsumerGroupMetadata(name, generation, member, None)


def visible(settings: KafkaSettings, topic: str, count: int) -> list[Any]:
    """What a read-committed reader sees: at least `count` records, and all up to the end."""
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


def records(topic: str, *values: bytes, partition: int | None = 1) -> list[Outgoing]:
    """Some with shared headers and their own."""
    shared = SharedHeaders((("s", b"1"),))
    return [Outgoing(topic, b"k", value, [("own", value[:8])], partition, None, shared) for value in values]


def test_records_and_offsets_become_visible_together(
    make: Callable[..., Transactions], kafka_settings: KafkaSettings, topic: str
) -> None:
    """In order, with their headers, over several transactions and partitions."""
    producer = make()
    for turn in range(5):
        batch = [one for place in range(3) for one in records(topic, b"%d" % turn, b"x", partition=place)]
        producer.send(batch, topic=topic, group=group_of(topic), offsets={0: turn + 1, 2: 7})
    found = visible(kafka_settings, topic, 30)
    assert len(found) == 30
    assert [one.value for one in found if one.partition == 1] == [v for t in range(5) for v in (b"%d" % t, b"x")]
    assert all(one.headers == [("own", one.value[:8]), ("s", b"1")] for one in found)
    with Admin(kafka_settings, "test") as admin:
        assert admin.committed(topic, topic) == {0: 5, 1: None, 2: 7}


def test_a_commit_under_an_old_generation_leaves_nothing(
    make: Callable[..., Transactions], kafka_settings: KafkaSettings, topic: str
) -> None:
    """Neither records nor offsets, and the producer goes on."""
    producer = make()
    with pytest.raises(GenerationChanged):
        producer.send(records(topic, b"lost"), topic=topic, group=group_of(topic, 7, "nobody"), offsets={1: 9})
    producer.send(records(topic, b"kept"), topic=topic, group=group_of(topic), offsets={1: 1})
    assert [one.value for one in visible(kafka_settings, topic, 1)] == [b"kept"]
    with Admin(kafka_settings, "test") as admin:
        assert admin.committed(topic, topic)[1] == 1


def test_a_second_producer_of_the_name_ends_the_first(
    make: Callable[..., Transactions], kafka_settings: KafkaSettings, topic: str
) -> None:
    """Its next transaction is refused whole; after it has started anew it goes on."""
    first = make()
    first.send(records(topic, b"one"), topic=topic, group=group_of(topic), offsets={1: 1})
    second = make()
    second.send(records(topic, b"two"), topic=topic, group=group_of(topic), offsets={1: 2})
    with pytest.raises(OutcomeUnknown):
        first.send(records(topic, b"ghost"), topic=topic, group=group_of(topic), offsets={1: 3})
    first.recover()
    first.send(records(topic, b"three"), topic=topic, group=group_of(topic), offsets={1: 3})
    assert [one.value for one in visible(kafka_settings, topic, 3)] == [b"one", b"two", b"three"]


def test_what_was_left_open_is_gone_when_the_name_starts_again(
    make: Callable[..., Transactions], kafka_settings: KafkaSettings, topic: str
) -> None:
    """As after a kill between the records and the commit. The next transaction of the same producer id is seen."""
    other = new_producer(kafka_settings, "killed", transactional_id=topic)
    other.init_transactions()
    other.begin_transaction()
    other.send(topic, value=b"open", partition=1).get(10)
    producer = make()
    producer.send(records(topic, b"after"), topic=topic, group=group_of(topic), offsets={1: 1})
    assert [one.value for one in visible(kafka_settings, topic, 1)] == [b"after"]
    other.close(timeout=0)


def test_a_record_that_is_too_large_is_named_and_leaves_nothing(
    make: Callable[..., Transactions], kafka_settings: KafkaSettings, topic: str
) -> None:
    """By its place, so that its sender can answer with less."""
    producer = make(max_request_bytes=10_000)
    with pytest.raises(RecordTooLarge) as caught:
        producer.send(records(topic, b"a", b"b" * 20_000), topic=topic, group=group_of(topic), offsets={1: 1})
    assert caught.value.index == 1
    producer.send(records(topic, b"c"), topic=topic, group=group_of(topic), offsets={1: 1})
    assert [one.value for one in visible(kafka_settings, topic, 1)] == [b"c"]


def test_no_offsets_is_a_transaction_too(
    make: Callable[..., Transactions], kafka_settings: KafkaSettings, topic: str
) -> None:
    """As the dead letters' replay writes it; keys choose the partition as everywhere."""
    producer = make()
    keyed = [Outgoing(topic, b"key-%d" % index, b"v", [], None) for index in range(20)]
    producer.send(keyed, topic=topic, group=None, offsets={})
    plain = new_producer(kafka_settings, "plain")
    for one in keyed:
        plain.send(topic, key=one.key, value=b"p")
    plain.close()
    found = visible(kafka_settings, topic, 40)
    places: dict[bytes, set[int]] = {}
    for one in found:
        places.setdefault(one.key, set()).add(one.partition)
    assert all(len(place) == 1 for place in places.values())


def test_more_than_a_batch_a_partition_keeps_its_order(
    kafka_settings: KafkaSettings, topic: str, pipeline: str
) -> None:
    """Several produce requests in one transaction."""
    producer = _direct(kafka_settings, transactional_id=pipeline, timeout_ms=10_000, max_request_bytes=1_000_000)
    values = [b"%04d" % index + b"x" * 2_000 for index in range(2 * BATCH_BYTES // 2_000 + 50)]
    producer.send(records(topic, *values), topic=topic, group=group_of(topic), offsets={1: 1})
    producer.close()
    assert [one.value for one in visible(kafka_settings, topic, len(values))] == values


def test_a_topic_that_takes_less_gets_smaller_batches(kafka_settings: KafkaSettings, topic: str, pipeline: str) -> None:
    """The first transaction finds out and is not written; its second try is."""
    with Admin(kafka_settings, "test") as admin:
        small = f"{topic}-small"
        admin.create_topics({small: TopicSpec(3, 1, {"max.message.bytes": "20000"})})
    producer = _direct(kafka_settings, transactional_id=pipeline, timeout_ms=10_000, max_request_bytes=1_000_000)
    values = [b"%04d" % index + b"x" * 2_000 for index in range(40)]
    for _ in range(10):
        try:
            producer.send(records(small, *values), topic=topic, group=group_of(topic), offsets={1: 1})
        except OutcomeUnknown:
            producer.recover()
            continue
        break
    with pytest.raises(RecordTooLarge):
        producer.send(records(small, b"y" * 30_000), topic=topic, group=group_of(topic), offsets={1: 2})
    producer.close()
    assert [one.value for one in visible(kafka_settings, small, 40)] == values


def test_a_cluster_that_knows_them_gets_transactions_in_three_requests(
    kafka_settings: KafkaSettings, pipeline: str
) -> None:
    """The embedded broker does."""
    producer = open_transactions(
        kafka_settings, transactional_id=pipeline, timeout_ms=10_000, max_request_bytes=1_000_000
    )
    producer.close()
    assert isinstance(producer, DirectTransactions)
