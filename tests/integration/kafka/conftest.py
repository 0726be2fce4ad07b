"""Members of a real group that answer what they read, as workers do, and the ledger of what came of it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from inference_workers.ownership import Ownership
from streams.capacity import Capacity
from streams.errors import GenerationChanged, KafkaFailure
from streams.kafka import Admin, KafkaSettings, TopicSpec, new_producer, new_reader
from streams.kafka.group_consumer import GroupConsumer
from streams.kafka.transactions import TransactionalProducer
from streams.records import Outgoing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PARTITIONS = 12


class Answering(threading.Thread):
    """A member that answers each request with its source, in a transaction, the way a worker does."""

    def __init__(self, group: Group, name: str, rows_per_s: float) -> None:
        super().__init__(name=name, daemon=True)
        self.group, self.member, self.rows_per_s = group, name, rows_per_s
        self.ownership = Ownership()
        self.failure: BaseException | None = None
        #: Time of each poll that gave records, by partition.
        self.read_at: dict[int, list[float]] = {}
        self.halt = threading.Event()
        self.consumer = GroupConsumer(
            group.settings,
            topic=group.requests,
            group=group.name,
            instance_id=name,
            hooks=self.ownership,
            session_timeout_ms=6000,
            revoke_drain_s=2.0,
            max_poll_records=100,
            capacity=lambda: Capacity("test", self.rows_per_s, self.rows_per_s),
        )
        self.producer = TransactionalProducer(
            group.settings, transactional_id=f"{group.name}-{name}", timeout_ms=10_000, max_request_bytes=1_000_000
        )

    @property
    def partitions(self) -> frozenset[int]:
        """What it owns now."""
        return frozenset(self.ownership.partitions)

    def run(self) -> None:
        """Read and answer until told to halt."""
        try:
            while not self.halt.is_set():
                records = self.consumer.poll(0.2)
                held = []
                for record in records:
                    self.read_at.setdefault(record.partition, []).append(time.monotonic())
                    epoch = self.ownership.stamp(record.partition, record.offset)
                    if epoch is not None and self.ownership.take(record.partition, epoch):
                        held.append((record, epoch))
                self._answer(held)
                self.ownership.settle(record.partition for record, _ in held)
        except BaseException as error:  # noqa: BLE001 - tests look at it
            self.failure = error
        finally:
            self.producer.discard()

    def _answer(self, held: list[tuple[Any, int]]) -> None:
        while held:
            membership = self.consumer.metadata()
            held = [(record, epoch) for record, epoch in held if self.ownership.owns(record.partition, epoch)]
            offsets = {record.partition: record.offset + 1 for record, _ in held}
            answers = [
                Outgoing(self.group.results, None, b"%d/%d" % (record.partition, record.offset), [])
                for record, _ in held
            ]
            try:
                if held:
                    self.producer.send(answers, topic=self.group.requests, group=membership, offsets=offsets)
                return
            except GenerationChanged:
                self.halt.wait(0.02)

    def leave(self) -> None:
        """Stop, close, and leave the group for good."""
        self.stop()
        self.group.admin.remove_static_members(self.group.name, [self.member])

    def stop(self) -> None:
        """Stop and close; a static member stays in the group."""
        self.halt.set()
        self.join(20)
        assert not self.is_alive()
        self.consumer.close()
        if self.failure is not None:
            raise self.failure


@dataclass
class Group:
    """A group under test, its two topics, and its members."""

    name: str
    settings: KafkaSettings
    admin: Admin
    producer: Any
    members: dict[str, Answering] = field(default_factory=dict)
    sent: int = 0
    member_class: type[Answering] = Answering

    @property
    def requests(self) -> str:
        """What they read."""
        return f"{self.name}.requests"

    @property
    def results(self) -> str:
        """What they write."""
        return f"{self.name}.results"

    def start(self, name: str, rows_per_s: float = 1.0) -> Answering:
        """A member joins."""
        member = self.member_class(self, name, rows_per_s)
        self.members[name] = member
        member.start()
        return member

    def leave(self, name: str) -> None:
        """A member leaves for good."""
        self.members.pop(name).leave()

    def send(self, count: int) -> None:
        """Write requests, one after the other over all partitions."""
        for _ in range(count):
            self.producer.send(self.requests, value=b"%d" % self.sent, partition=self.sent % PARTITIONS)
            self.sent += 1

    def shares(self) -> dict[str, int]:
        """How many partitions each member has."""
        return {name: len(member.partitions) for name, member in self.members.items()}

    def placement(self) -> dict[int, str]:
        """Who has which partition."""
        return {number: name for name, member in self.members.items() for number in member.partitions}

    def wait(self, condition: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
        """Look until it holds."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            failures = [member.failure for member in self.members.values() if member.failure]
            assert not failures, failures
            assert time.monotonic() < deadline, f"still not: {what}; {self.shares()}"
            time.sleep(0.02)

    def wait_shares(self, expected: dict[str, int]) -> None:
        """Wait until the partitions lie so, each with one member."""
        self.wait(lambda: self.shares() == expected and len(self.placement()) == PARTITIONS, f"shares of {expected}")

    def answers(self) -> Counter[str]:
        """What a read-committed reader sees, once there is an answer to all that was sent: each with its count."""
        self.producer.flush()
        found: Counter[str] = Counter()
        deadline = time.monotonic() + 30
        reader = new_reader(self.settings, [self.results], from_="earliest")
        try:
            while len(found) < self.sent and time.monotonic() < deadline:
                found.update(r.value.decode() for records in reader.poll(200).values() for r in records)
            while more := [r for records in reader.poll(300).values() for r in records]:
                found.update(r.value.decode() for r in more)
        finally:
            reader.close()
        return found

    def expected(self) -> Counter[str]:
        """One answer to each request."""
        return Counter({f"{number % PARTITIONS}/{number // PARTITIONS}": 1 for number in range(self.sent)})


@pytest.fixture
def group(pipeline: str, kafka_settings: KafkaSettings) -> Iterator[Group]:
    """A group without members, on two topics of twelve partitions."""
    with Admin(kafka_settings, "test") as admin:
        group = Group(pipeline, kafka_settings, admin, new_producer(kafka_settings, "test"))
        admin.create_topics({topic: TopicSpec(PARTITIONS, 1) for topic in (group.requests, group.results)})
        try:
            yield group
        finally:
            group.producer.close()
            for member in group.members.values():
                member.halt.set()
            for member in group.members.values():
                try:
                    member.stop()
                except KafkaFailure as error:
                    print(f"{member.member} ended with {type(error).__name__}")  # noqa: T201 - shown where a test fails
