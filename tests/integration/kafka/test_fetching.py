"""Fetches over sockets of our own, on a real broker: what a member of a group gets to see, and what it survives."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, Any

import pytest

from streams.kafka import Admin, KafkaSettings, TopicSpec, new_producer
from streams.kafka.group_consumer import GroupConsumer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

pytestmark = pytest.mark.services

PARTITIONS = 3
SOON_S = 60.0


class Nobody:
    """Has nothing in hand."""

    def assigned(self, partitions: Collection[int]) -> None:
        """Nothing to do."""

    def revoking(self, partitions: Collection[int]) -> None:
        """Nothing to do."""

    def drained(self, partitions: Collection[int]) -> bool:
        """Always."""
        return bool(partitions) or True

    def revoked(self, partitions: Collection[int]) -> None:
        """Nothing to do."""


@pytest.fixture
def topic(kafka_settings: KafkaSettings, pipeline: str) -> str:
    """A topic of three partitions."""
    with Admin(kafka_settings, "test") as admin:
        admin.create_topics({pipeline: TopicSpec(PARTITIONS, 1)})
    return pipeline


@pytest.fixture
def consumer(kafka_settings: KafkaSettings, topic: str) -> Iterator[GroupConsumer]:
    """The only member of a group."""
    one = GroupConsumer(
        kafka_settings,
        topic=topic,
        group=f"group-{topic}",
        instance_id="one",
        hooks=Nobody(),
        session_timeout_ms=6000,
        revoke_drain_s=1.0,
        max_poll_records=500,
    )
    yield one
    one.close()


@pytest.fixture
def write(kafka_settings: KafkaSettings, topic: str) -> Iterator[Callable[[int, int], None]]:
    """Writes numbers as values, round the partitions."""
    producer = new_producer(kafka_settings, "test")

    def numbers(first: int, count: int) -> None:
        for number in range(first, first + count):
            producer.send(topic, value=b"%d" % number + b"." * 200, partition=number % PARTITIONS)
        producer.flush()

    yield numbers
    producer.close()


def read(consumer: GroupConsumer, count: int, found: dict[int, list[Any]] | None = None) -> dict[int, list[Any]]:
    """At least so many records in all, by partition."""
    found = {} if found is None else found
    deadline = time.monotonic() + SOON_S
    while sum(map(len, found.values())) < count:
        assert time.monotonic() < deadline, f"{sum(map(len, found.values()))} of {count} records came"
        for partition, records in consumer.poll(0.2).items():
            found.setdefault(partition, []).extend(records)
    return found


def numbers_of(found: dict[int, list[Any]]) -> dict[int, list[int]]:
    """What was written, by partition."""
    return {
        partition: [int(record.value.split(b".")[0]) for record in records]
        for partition, records in sorted(found.items())
    }


def expected(count: int) -> dict[int, list[int]]:
    """The first `count` numbers, as they lie in the partitions."""
    return {partition: list(range(partition, count, PARTITIONS)) for partition in range(PARTITIONS)}


def test_all_of_it_comes_once_and_in_order(consumer: GroupConsumer, write: Callable[[int, int], None]) -> None:
    """Far more than one poll gives, or one read of the socket; and what is written while a fetch waits."""
    write(0, 6000)
    found = read(consumer, 6000)
    write(6000, 30)
    assert numbers_of(read(consumer, 6030, found)) == expected(6030)


def test_only_what_is_committed_is_read(kafka_settings: KafkaSettings, consumer: GroupConsumer, topic: str) -> None:
    """An aborted transaction is passed over, an open one waited for."""
    writer: Any = new_producer(kafka_settings, "test", transactional_id=f"writer-{topic}")
    try:
        writer.init_transactions()
        for value, commits in ((b"gone", False), (b"stays", True), (b"later", True)):
            writer.begin_transaction()
            writer.send(topic, value=value, partition=0)
            writer.flush()
            if value == b"later":
                found = read(consumer, 1)
                assert [record.value for record in found[0]] == [b"stays"]
                assert consumer.poll(0.5) == {}
            if commits:
                writer.commit_transaction()
            else:
                writer.abort_transaction()
        assert [record.value for record in read(consumer, 2, found)[0]] == [b"stays", b"later"]
    finally:
        writer.close()


def test_a_pause_gives_nothing_and_loses_nothing(consumer: GroupConsumer, write: Callable[[int, int], None]) -> None:
    """What had been fetched before it included."""
    write(0, 30)
    found = read(consumer, 30)
    consumer.set_paused(True)
    write(30, 30)
    until = time.monotonic() + 1.0
    while time.monotonic() < until:
        assert consumer.poll(0.1) == {}
    consumer.set_paused(False)
    assert numbers_of(read(consumer, 60, found)) == expected(60)


def test_a_connection_that_ends_is_made_again(consumer: GroupConsumer, write: Callable[[int, int], None]) -> None:
    """With a fetch under way: nothing is lost, and nothing comes twice."""
    found: dict[int, list[Any]] = {}
    for turn in range(4):
        write(turn * 300, 300)
        read(consumer, turn * 300 + 100, found)
        wires = consumer._consumer._fetching._wires._wires
        for wire in list(wires.values()):
            wire._socket.shutdown(socket.SHUT_RDWR)
        read(consumer, turn * 300 + 300, found)
    assert numbers_of(found) == expected(1200)
