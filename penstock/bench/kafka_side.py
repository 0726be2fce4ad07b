"""The benchmark's own side of Kafka: a preload, a reader. By librdkafka, to take little of the cores."""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from penstock.bench.errors import CandidateFailed
from streams import topics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from penstock.bench.workload import Headers, Request

#: As many as in the demo; every candidate gets the same.
PARTITIONS = 8
#: Longest wait for the broker's answer to one question, in seconds.
ANSWER_S = 30.0
#: What a partition answers that was made a moment ago.
NO_LEADER_YET = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.OFFSET_NOT_AVAILABLE,
)
#: Seconds between two tries of a question that cannot be answered yet.
AGAIN_S = 0.1
#: librdkafka's own lines: topics that come and go are no news here.
QUIET = {"log_level": 2}
#: Most results that are taken at once.
TAKE = 10_000


@dataclass(frozen=True, slots=True)
class Topics:
    """Names of one run; a pipeline's, so that our worker finds them."""

    pipeline: str

    @property
    def requests(self) -> str:
        """Topic of the requests."""
        return topics.requests(self.pipeline)

    @property
    def results(self) -> str:
        """Topic of the results."""
        return topics.results(self.pipeline)

    @property
    def all(self) -> tuple[str, ...]:
        """Every topic of the run."""
        return (self.requests, self.results, topics.dead_letters(self.pipeline))


class TransactionLog:
    """Counts committed transactions by what the broker notes of them in its own topic.

    A transaction's end is a record whose value is: version (int16), producer id (int64), epoch (int16), time-out
    (int32), state (int8), and more; state 4 is "complete, committed" (Kafka's `TransactionLogValue.json` and
    `TransactionState`).
    """

    TOPIC = "__transaction_state"
    _STATE, _COMMITTED = struct.Struct(">hqhib"), 4

    def __init__(self, bootstrap: str) -> None:
        self._consumer = Consumer(
            {"bootstrap.servers": bootstrap, "group.id": "bench-transactions", "enable.auto.commit": False, **QUIET}
        )
        found = self._consumer.list_topics(self.TOPIC, timeout=ANSWER_S).topics[self.TOPIC]
        self._places = [] if found.error else [TopicPartition(self.TOPIC, number) for number in found.partitions]
        self._from = {place.partition: self._ends(place)[1] for place in self._places}

    def committed(self) -> int:
        """Transactions committed since this was made; reads, and closes."""
        if not self._places:
            # The topic is made at the first transaction of all, which may have come since.
            found = self._consumer.list_topics(self.TOPIC, timeout=ANSWER_S).topics[self.TOPIC]
            self._places = [] if found.error else [TopicPartition(self.TOPIC, number) for number in found.partitions]
        ends = {place.partition: self._ends(place)[1] for place in self._places}
        self._consumer.assign([TopicPartition(self.TOPIC, n, self._from.get(n, 0)) for n in ends])
        left = {number for number, end in ends.items() if end > self._from.get(number, 0)}
        count, deadline = 0, time.monotonic() + ANSWER_S
        while left and time.monotonic() < deadline:
            for message in self._consumer.consume(TAKE, 0.2):
                value, offset, number = _bytes(message.value), message.offset() or 0, message.partition() or 0
                if value and len(value) >= self._STATE.size:
                    count += self._STATE.unpack_from(value)[4] == self._COMMITTED
                if offset + 1 >= ends[number]:
                    left.discard(number)
        self._consumer.close()
        return count

    def _ends(self, place: TopicPartition) -> tuple[int, int]:
        deadline = time.monotonic() + ANSWER_S
        while True:
            try:
                return self._consumer.get_watermark_offsets(place, timeout=ANSWER_S)
            except KafkaException as error:
                # Made a moment ago, at the first transaction of all, it may have no leader yet.
                if error.args[0].code() not in NO_LEADER_YET or time.monotonic() > deadline:
                    raise
                time.sleep(AGAIN_S)


def write(bootstrap: str, topic: str, requests: Iterable[Request]) -> int:
    """Write requests, request n to partition n modulo `PARTITIONS`; returns how many, once all are acknowledged."""
    producer = new_producer(bootstrap, linger_ms=5)
    count = 0
    for request in requests:
        send(producer, topic, request, count % PARTITIONS)
        count += 1
    if producer.flush(ANSWER_S * 4):
        raise CandidateFailed(f"requests for {topic} could not be written", "see the broker's log, and run again")
    return count


def new_producer(bootstrap: str, linger_ms: float) -> Producer:
    """An idempotent producer."""
    return Producer(
        {
            "bootstrap.servers": bootstrap,
            "linger.ms": linger_ms,
            "enable.idempotence": True,
            "queue.buffering.max.messages": 1_000_000,
            "queue.buffering.max.kbytes": 1_048_576,
            **QUIET,
        }
    )


def send(producer: Producer, topic: str, request: Request, partition: int) -> None:
    """Hand a request to the producer; waits while its queue is full."""
    while True:
        try:
            producer.produce(topic, request.value, request.key, partition, headers=list(request.headers))
        except BufferError:
            producer.poll(0.1)
            continue
        producer.poll(0)
        return


@dataclass(frozen=True, slots=True)
class Arrival:
    """Results that were read at one time of the monotonic clock."""

    at_s: float
    messages: list[Message]


class Results:
    """Reads a results topic from its beginning, with `read_committed`.

    Args:
        bootstrap: where.
        topic: what.
    """

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "bench-reader",
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 100,
                "fetch.queue.backoff.ms": 5,
                **QUIET,
            }
        )
        self._places = [TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(PARTITIONS)]
        self._consumer.assign(self._places)
        self.arrivals: list[Arrival] = []
        self.count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def gather(self, seconds: float) -> int:
        """Take what comes within `seconds`, with one time for all of it; returns how many. For throughput."""
        return self._note(self._consumer.consume(TAKE, seconds))

    def follow(self, wait_s: float) -> int:
        """Wait for results and take them as soon as there are any; returns how many. For latency."""
        first = self._consumer.poll(wait_s)
        if first is None:
            return 0
        at_s = time.monotonic()
        rest = self._consumer.consume(TAKE, 0)
        return self._note([first, *rest], at_s)

    def _note(self, messages: list[Message], at_s: float | None = None) -> int:
        good = []
        for message in messages:
            error = message.error()
            if error is None:
                good.append(message)
            elif not error.retriable():
                raise CandidateFailed(f"reading results: {error}", "see the broker's log, and run again")
        if good:
            self.arrivals.append(Arrival(time.monotonic() if at_s is None else at_s, good))
            self.count += len(good)
        return len(good)

    def read(self) -> list[tuple[bytes | None, bytes | None, Headers]]:
        """Key, value and headers of everything so far."""
        return [content(message) for arrival in self.arrivals for message in arrival.messages]


def key_of(message: Message) -> bytes | None:
    """The key of a message alone: its headers cost several times as much, on the cores that are measured."""
    return _bytes(message.key)


def content(message: Message) -> tuple[bytes | None, bytes | None, Headers]:
    """Key, value and headers of a message as bytes."""
    headers = [(name, value if isinstance(value, bytes) else b"") for name, value in _headers(message)]
    return _bytes(message.key), _bytes(message.value), headers


def _headers(message: Message) -> list[tuple[str, bytes | str | None]]:
    found = message.headers() or []
    return list(found.items()) if isinstance(found, dict) else list(found)


def _bytes(get: Callable[[], bytes | str | None]) -> bytes | None:
    value = get()
    return value.encode() if isinstance(value, str) else value
