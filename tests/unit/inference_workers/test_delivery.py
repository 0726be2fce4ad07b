"""What the deliver thread does about what cannot be written: nobody else's answers wait for it, and none is lost."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from inference_workers import delivery
from inference_workers.answers import Answer, BatchFacts, Failure, Writing, Written
from inference_workers.counters import Counters
from inference_workers.delivery import Deliverer, Source
from inference_workers.ownership import Ownership
from inference_workers.reply_topics import ReplyTopics
from streams.errors import OutcomeUnknown, RecordTooLarge
from streams.headers import RequestHeaders, header
from streams.records import Encoding, Outgoing, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

REQUESTS, RESULTS, LETTERS = "p.requests", "p.results", "p.dead-letters"
#: Longest wait for the thread, in seconds; it is done in a moment.
DONE_S = 20.0


class Kafka:
    """Topics in memory, which refuse what they are told to."""

    def __init__(self, refuse: Callable[[Outgoing], str | None] = lambda _: None) -> None:
        self.refuse = refuse
        self.written: list[Outgoing] = []
        self.next_offset: int | None = None
        self.sends = 0
        #: How often a commit succeeds although its answer is lost.
        self.silent = 0

    def send(self, records: Sequence[Outgoing], _topic: str, offsets: Mapping[int, int], _group: Any) -> None:
        """All or nothing, as a transaction."""
        self.sends += 1
        assert self.sends < 50, "sent again and again"
        for index, record in enumerate(records):
            why = self.refuse(record)
            if why == "too large":
                raise RecordTooLarge(f"a record for {record.topic} is too large", index=index)
            if why is not None:
                raise OutcomeUnknown(f"{record.topic}: {why}", topic=record.topic if why == "named" else None)
        self.written += records
        self.next_offset = max(offsets.values())
        if self.silent:
            self.silent -= 1
            raise OutcomeUnknown("the answer to the commit is lost")

    def recover(self) -> None:
        """Nothing is open."""

    def idle(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to close."""

    def topics(self) -> dict[str, list[str]]:
        """Request ids by topic, in order."""
        found: dict[str, list[str]] = {}
        for record in self.written:
            found.setdefault(record.topic, []).append((header(_headers(record), "request-id") or b"").decode())
        return found


def _headers(record: Outgoing) -> list[tuple[str, bytes | None]]:
    return [*record.headers, *(record.shared.pairs if record.shared is not None else ())]


def answer(number: int, *, reply_to: str | None = None, size: int = 10) -> Answer:
    """A failed one, which needs no batch; its request was of that many bytes."""
    record: Any = SimpleNamespace(
        topic=REQUESTS, partition=0, offset=number, timestamp=1000, key=None, value=b"x" * size,
        headers=[("request-id", b"r%d" % number)],
    )  # fmt: skip
    return Answer(
        record, 1, RequestHeaders(reply_to=reply_to), f"r{number}", Encoding.JSON, Status.FAILED,
        failure=Failure("invalid-json", "no", "decode"),
    )  # fmt: skip


def new_deliverer(
    kafka: Kafka,
    ownership: Ownership,
    counters: Counters,
    *,
    there: Callable[[str], bool] = lambda _: True,
    writing: Any = None,
    stop_now: threading.Event | None = None,
) -> Deliverer:
    """Of one source, idle."""
    asked: Any = SimpleNamespace(writable=there)
    return Deliverer(
        transport=kafka, sources=[Source(REQUESTS, ownership, lambda: None, lambda: {0: kafka.next_offset})],
        reply_topic_exists=ReplyTopics(asked).there, writing=writing or Writing(RESULTS, "m", lambda: "1", 10**6),
        queue_size=4, busy=lambda: False, counters=counters, stop_now=stop_now or threading.Event(),
    )  # fmt: skip


def delivered(
    kafka: Kafka,
    answers: Sequence[Answer],
    *,
    there: Callable[[str], bool] = lambda _: True,
    stop_now: threading.Event | None = None,
) -> tuple[Deliverer, Counters, BaseException | None]:
    """Run the thread over one batch."""
    ownership, counters = Ownership(), Counters()
    ownership.assigned([0])
    one = new_deliverer(kafka, ownership, counters, there=there, stop_now=stop_now)
    raised: list[BaseException] = []

    def run() -> None:
        try:
            one.run()
        except (AssertionError, RecordTooLarge) as error:
            raised.append(error)

    one.put(list(answers))
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    one.finish()
    thread.join(DONE_S)
    assert not thread.is_alive()
    return one, counters, raised[0] if raised else None


class Model:
    """What a batch of two rows gave."""

    facts = BatchFacts("m", "1", 0.001, 2, 1.0, {"y": np.zeros((2, 1), np.float32)})

    @classmethod
    def answered(cls, number: int, deadline_at_ms: int | None) -> Answer:
        """A request with a deadline, answered by it."""
        one = answer(number)
        headers = RequestHeaders(deadline_at_ms=deadline_at_ms)
        return Answer(
            one.record, 1, headers, one.request_id, Encoding.BINARY, Status.OK, batch=cls.facts, start=0, rows=1
        )


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "BROKER_RETRY_S", 0.001)


def test_a_reply_topic_that_is_gone_since_it_was_looked_up_costs_its_own_request_only() -> None:
    """It was there at the first look, and is remembered: the failed write asks anew."""
    looks: list[str] = []

    def there(topic: str) -> bool:
        looks.append(topic)
        return len(looks) == 1

    kafka = Kafka(lambda record: "gone" if record.topic == "mine" else None)
    _, _, error = delivered(kafka, [answer(0), answer(1, reply_to="mine"), answer(2)], there=there)
    assert error is None
    assert kafka.topics()[RESULTS] == ["r0", "r1", "r2"]
    assert kafka.next_offset == 3


def test_a_reply_topic_that_refuses_what_is_written_costs_its_own_request_only() -> None:
    """It is there and may be written to, as far as anybody can see; the broker says which topic it was."""
    kafka = Kafka(lambda record: "named" if record.topic == "mine" else None)
    _, counters, error = delivered(kafka, [answer(0), answer(1, reply_to="mine"), answer(2, reply_to="other")])
    assert error is None
    assert kafka.topics() == {RESULTS: ["r0", "r1"], "other": ["r2"], LETTERS: ["r0", "r1", "r2"]}
    assert counters.totals().by_status[Status.FAILED] == 3
    letters = [record for record in kafka.written if record.topic == LETTERS]
    assert [header(_headers(one), "dlq-reason") for one in letters][1] == b"reply-topic-missing"


def test_a_broker_that_is_away_sends_no_reply_elsewhere() -> None:
    """Nobody named the topic and it is there: the same again until it is written."""
    left = [3]

    def refuse(_: Outgoing) -> str | None:
        left[0] -= 1
        return "away" if left[0] >= 0 else None

    kafka = Kafka(refuse)
    _, _, error = delivered(kafka, [answer(0, reply_to="mine")])
    assert error is None
    assert kafka.topics() == {"mine": ["r0"], LETTERS: ["r0"]}


def test_a_reply_that_is_too_large_for_its_topic_becomes_a_failed_result() -> None:
    """The pipeline's own topic takes more than the stranger's; the rest of the batch is as it was."""
    kafka = Kafka(lambda record: "too large" if record.topic == "mine" else None)
    _, _, error = delivered(kafka, [answer(0), answer(1, reply_to="mine"), answer(2)])
    assert error is None
    assert kafka.topics() == {RESULTS: ["r0", "r1", "r2"], LETTERS: ["r0", "r1", "r2"]}
    reasons = [header(_headers(record), "dlq-reason") for record in kafka.written if record.topic == LETTERS]
    assert reasons == [b"invalid-json", b"result-too-large", b"invalid-json"]


def test_a_dead_letter_that_is_too_large_goes_without_its_value() -> None:
    """A request that came compressed may be larger than the topic of dead letters takes."""
    kafka = Kafka(lambda record: "too large" if record.topic == LETTERS and len(record.value or b"") > 100 else None)
    _, _, error = delivered(kafka, [answer(0), answer(1, size=1000), answer(2)])
    assert error is None
    letters = [record for record in kafka.written if record.topic == LETTERS]
    assert [len(record.value or b"") for record in letters] == [10, 0, 10]
    assert header(_headers(letters[1]), "dlq-cut") == b"1000"


def test_many_that_are_too_large_are_found_together() -> None:
    """Whoever sends a thousand of them must not cost a thousand transactions: those as large go with the first."""
    kafka = Kafka(lambda record: "too large" if record.topic == LETTERS and len(record.value or b"") > 100 else None)
    _, _, error = delivered(kafka, [answer(number, size=1000 + number) for number in range(40)])
    assert error is None
    assert kafka.sends == 2
    assert all(record.value == b"" for record in kafka.written if record.topic == LETTERS)


def test_a_record_that_cannot_be_made_smaller_is_said() -> None:
    """A failed result of a few bytes: the topic takes nothing at all, and the worker ends with its name."""
    kafka = Kafka(lambda record: "too large" if record.topic == RESULTS else None)
    _, _, error = delivered(kafka, [answer(0)])
    assert isinstance(error, RecordTooLarge)


def test_a_worker_that_ends_while_an_outcome_is_unknown_counts_nothing() -> None:
    """Whether it was committed is for the next owner to find out."""
    stop = threading.Event()

    def refuse(_: Outgoing) -> str:
        stop.set()
        return "away"

    _, counters, error = delivered(Kafka(refuse), [answer(0)], stop_now=stop)
    assert error is None
    assert sum(counters.totals().by_status.values()) == 0


def test_what_was_committed_although_nobody_said_so_is_counted_once() -> None:
    """The answer to the commit was lost; the group has the offsets."""
    kafka = Kafka()
    kafka.silent = 1
    _, counters, error = delivered(kafka, [answer(0), answer(1)])
    assert error is None
    assert kafka.sends == 1
    assert counters.totals().by_status[Status.FAILED] == 2


def test_a_deadline_that_passes_while_a_transaction_gathers_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers are written as they come; one whose deadline passed until the last came is not delivered as in time."""
    # The first batch is written at second 10, the second at 20, and what is sent is looked at once more at 20.
    seconds = iter([10.0])
    monkeypatch.setattr(delivery, "time", SimpleNamespace(time=lambda: next(seconds, 20.0)))
    kafka = Kafka()
    one, counters = _of_two_batches(
        kafka,
        [Model.answered(0, 15_000), Model.answered(1, None), Model.answered(2, 25_000)],
        [Model.answered(3, 15_000), Model.answered(4, 25_000)],
    )
    assert [header(_headers(record), "status") for record in kafka.written] == [
        b"expired", b"ok", b"ok", b"expired", b"ok",
    ]  # fmt: skip
    assert kafka.sends == 1, "both batches are one transaction"
    assert counters.totals().by_status == {Status.OK: 3, Status.EXPIRED: 2}
    assert one.drained([0])


def test_results_that_take_longer_to_write_than_to_compute_make_no_endless_transaction() -> None:
    """While one batch is written the next is there; the first of them must not wait for the last."""
    waiting = [[answer(number)] for number in range(1, 30)]
    honest = Writing(RESULTS, "m", lambda: "1", 10**6)

    def write(one: Answer, *, now_s: float) -> Written:
        # The model is done with the next batch before this one is written.
        if waiting:
            deliverer.put(waiting.pop(0))
        return honest.write(one, now_s=now_s)

    ownership = Ownership()
    ownership.assigned([0])
    kafka, stop = Kafka(), threading.Event()
    deliverer = new_deliverer(kafka, ownership, Counters(), writing=SimpleNamespace(write=write), stop_now=stop)
    deliverer.put([answer(0)])
    idle = kafka.idle
    kafka.idle = lambda: (idle(), stop.set())[0]  # type: ignore[method-assign]
    deliverer.run()
    assert kafka.topics()[RESULTS] == [f"r{number}" for number in range(30)]
    assert kafka.sends == 15, "the batch in hand and the one that had come meanwhile, each time"


def _of_two_batches(kafka: Kafka, first: list[Answer], second: list[Answer]) -> tuple[Ownership, Counters]:
    ownership, counters = Ownership(), Counters()
    ownership.assigned([0])
    assert ownership.take(0, 1, len(first) + len(second))
    one = new_deliverer(kafka, ownership, counters)
    one.put(first)
    one.put(second)
    one.finish()
    one.run()
    return ownership, counters


def test_answers_of_a_partition_that_was_taken_away_are_dropped_and_the_others_go() -> None:
    """Whoever has it now reads its requests again."""
    ownership, counters = Ownership(), Counters()
    ownership.assigned([0, 1])
    answers = [answer(number) for number in range(4)]
    for one in answers[:2]:
        one.record.partition, one.epoch = 1, 2
    for one in answers:
        assert ownership.take(one.record.partition, one.epoch, 1)
    ownership.revoked([1])
    kafka = Kafka()
    one = new_deliverer(kafka, ownership, counters)
    one.put(answers)
    one.finish()
    one.run()
    assert kafka.topics()[RESULTS] == ["r2", "r3"]
    assert counters.totals().by_status == {Status.FAILED: 2}
    assert ownership.drained([0, 1])
