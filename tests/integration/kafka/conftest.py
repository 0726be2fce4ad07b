"""Members of a real group that answer what they read, as workers do, and the ledger of what came of it."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import queue
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from streams.capacity import Capacity
from streams.data_path import open_consumer, open_transactions
from streams.errors import GenerationChanged, KafkaFailure
from streams.kafka import Admin, KafkaSettings, TopicSpec, new_producer, new_reader
from streams.records import Outgoing

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

PARTITIONS = 12


class Holdings:
    """What a member owns, and what of it is in hand: a worker's bookkeeping in small. See `RebalanceHooks`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._epochs: dict[int, int] = {}
        self._revoking: set[int] = set()
        self._in_hand: Counter[int] = Counter()
        self._epoch = itertools.count(1)
        self.joined = threading.Event()
        #: Each call, with its partitions.
        self.told: list[tuple[str, frozenset[int]]] = []

    def assigned(self, partitions: Collection[int]) -> None:
        """These are ours."""
        with self._lock:
            self.told.append(("assigned", frozenset(partitions)))
            self._epochs.update({number: next(self._epoch) for number in partitions})
            self._revoking -= set(partitions)
        self.joined.set()

    def revoking(self, partitions: Collection[int]) -> None:
        """Take nothing more of these."""
        with self._lock:
            self.told.append(("revoking", frozenset(partitions)))
            self._revoking |= set(partitions)

    def drained(self, partitions: Collection[int]) -> bool:
        """Whether nothing of these is in hand."""
        with self._lock:
            return not any(self._in_hand[number] for number in partitions)

    def revoked(self, partitions: Collection[int]) -> None:
        """These are ours no longer."""
        with self._lock:
            self.told.append(("revoked", frozenset(partitions)))
            self._revoking -= set(partitions)
            for number in partitions:
                self._epochs.pop(number, None)

    def take(self, partition: int) -> int | None:
        """Take a record in hand; its epoch, or `None` = not ours."""
        with self._lock:
            if partition not in self._epochs or partition in self._revoking:
                return None
            self._in_hand[partition] += 1
            return self._epochs[partition]

    def owns(self, partition: int, epoch: int) -> bool:
        """Whether it has been ours without a break since that epoch."""
        with self._lock:
            return self._epochs.get(partition) == epoch

    def settle(self, partitions: Iterable[int]) -> None:
        """Out of hand."""
        with self._lock:
            self._in_hand.subtract(partitions)

    @property
    def partitions(self) -> frozenset[int]:
        """What is owned now."""
        with self._lock:
            return frozenset(self._epochs)


class Answering(threading.Thread):
    """A member that answers each request with its source, in a transaction, the way a worker does."""

    def __init__(self, group: Group, name: str, rows_per_s: float) -> None:
        super().__init__(name=name, daemon=True)
        self.group, self.member, self.rows_per_s = group, name, rows_per_s
        self.holdings = Holdings()
        self.failure: BaseException | None = None
        #: Time of each poll that gave records, by partition.
        self.read_at: dict[int, list[float]] = {}
        #: Records as they came, where a test asks for them; they are not answered then.
        self.keep: list[Any] | None = None
        self.paused = False
        self.paused_polls = 0
        self.halt, self._over = threading.Event(), threading.Event()
        self._held: queue.Queue[list[tuple[Any, int]] | None] = queue.Queue()
        self.consumer = open_consumer(
            group.settings,
            topic=group.requests,
            group=group.name,
            instance_id=name,
            hooks=self.holdings,
            session_timeout_ms=6000,
            revoke_drain_s=2.0,
            max_poll_records=100,
            capacity=lambda: Capacity("test", 1000.0, self.rows_per_s, loaded=True),
            meanwhile=lambda: None,
        )
        self.producer = open_transactions(
            group.settings, transactional_id=f"{group.name}-{name}", timeout_ms=10_000, max_request_bytes=1_000_000
        )

    @property
    def partitions(self) -> frozenset[int]:
        """What it owns now."""
        return self.holdings.partitions

    def run(self) -> None:
        """Read until told to halt; another thread answers, as in a worker."""
        answering = threading.Thread(target=self._answer_all, name=f"{self.member}-answers", daemon=True)
        answering.start()
        try:
            while not self.halt.is_set():
                self.consumer.set_paused(self.paused)
                self.paused_polls += self.paused
                polled = self.consumer.poll(0.02 if self.paused else 0.2)
                records = [one for some in polled.values() for one in some] if isinstance(polled, dict) else polled
                if self.keep is not None:
                    self.keep += records
                    continue
                held = []
                for record in records:
                    self.read_at.setdefault(record.partition, []).append(time.monotonic())
                    epoch = self.holdings.take(record.partition)
                    if epoch is not None:
                        held.append((record, epoch))
                if held:
                    self._held.put(held)
            self._held.put(None)
            while answering.is_alive():
                self.consumer.set_paused(True)
                self.consumer.poll(0.02)
        except BaseException as error:  # noqa: BLE001 - tests look at it
            self.failure = error
            self._held.put(None)
        finally:
            self._over.set()
            answering.join(20)
            self.producer.discard()

    def _answer_all(self) -> None:
        try:
            while (held := self._held.get()) is not None:
                self._answer(held)
                self.holdings.settle(record.partition for record, _ in held)
        except BaseException as error:  # noqa: BLE001 - tests look at it
            self.failure = error

    def _answer(self, held: list[tuple[Any, int]]) -> None:
        while held and not self._over.is_set():
            try:
                # In this order: the snapshot, then what is owned; see docs/DESIGN.md.
                membership = self.consumer.metadata()
                held = [(record, epoch) for record, epoch in held if self.holdings.owns(record.partition, epoch)]
                offsets = {record.partition: record.offset + 1 for record, _ in held}
                answers = [
                    Outgoing(self.group.results, None, b"%d/%d" % (record.partition, record.offset), [])
                    for record, _ in held
                ]
                if held:
                    self.producer.send(answers, topic=self.group.requests, group=membership, offsets=offsets)
                return
            except GenerationChanged:
                self._over.wait(0.02)

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
    #: Records written, by partition.
    _written: Counter[int] = field(default_factory=Counter)

    @property
    def requests(self) -> str:
        """What they read."""
        return f"{self.name}.requests"

    @property
    def results(self) -> str:
        """What they write."""
        return f"{self.name}.results"

    def start(self, name: str, rows_per_s: float = 1.0, *, keep: bool = False) -> Answering:
        """A member joins."""
        member = Answering(self, name, rows_per_s)
        member.keep = [] if keep else None
        self.members[name] = member
        member.start()
        return member

    def leave(self, name: str) -> None:
        """A member leaves for good."""
        self.members.pop(name).leave()

    def send(self, count: int) -> None:
        """Write requests, one after the other over all partitions."""
        for _ in range(count):
            self._send(self.sent % PARTITIONS)

    def _send(self, partition: int) -> None:
        self.producer.send(self.requests, value=b"%d" % self.sent, partition=partition)
        self.sent += 1
        self._written[partition] += 1

    @contextlib.contextmanager
    def load(self, hot: Collection[int] = ()) -> Iterator[None]:
        """Requests at a steady pace while the block runs: 50 a second for each partition; with hot ones 10, and 80."""
        over = threading.Event()

        def send() -> None:
            while not over.wait(0.1 if hot else 0.02):
                for number in [*range(PARTITIONS), *[one for one in hot for _ in range(7)]]:
                    self._send(number)

        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        try:
            yield
        finally:
            over.set()
            sender.join()

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
        return Counter({f"{number}/{at}": 1 for number, count in self._written.items() for at in range(count)})


@pytest.fixture
def library() -> str:
    """The members' client library; parametrized where both must do the same."""
    return "kafka-python"


@pytest.fixture
def group(pipeline: str, kafka_settings: KafkaSettings, library: str) -> Iterator[Group]:
    """A group without members, on two topics of twelve partitions."""
    settings = dataclasses.replace(kafka_settings, library=library)
    with Admin(kafka_settings, "test") as admin:
        group = Group(pipeline, settings, admin, new_producer(kafka_settings, "test"))
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
