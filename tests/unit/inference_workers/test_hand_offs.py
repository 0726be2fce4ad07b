"""The hand-offs between the threads: the buffer of records, the queue of decoded requests, the pace of commits."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from inference_workers.answers import Answer
from inference_workers.buffer import Chunk, RecordBuffer
from inference_workers.load import MEMORY_S, Fading
from inference_workers.pacing import MOST_GATHER_S, MOST_SHARE, Pace
from inference_workers.ready import ReadyQueue
from streams.headers import RequestHeaders
from streams.records import Encoding, Status


def chunk(partition: int, offsets: range, size: int = 1) -> Chunk:
    """Records of one partition."""
    records: list[Any] = [SimpleNamespace(offset=offset, value=b"v" * size) for offset in offsets]
    return Chunk(partition, 1, records)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9)), max_size=10), st.lists(st.integers(1, 7), min_size=1))
def test_the_buffer_keeps_the_order_within_a_partition(puts: list[tuple[int, int]], takes: list[int]) -> None:
    """However records go in and out by the handful."""
    buffer = RecordBuffer(10**6, 10**9)
    ends = dict.fromkeys(range(4), 0)
    for partition, count in puts:
        buffer.put([chunk(partition, range(ends[partition], ends[partition] + count))])
        ends[partition] += count
    seen: dict[int, list[int]] = {partition: [] for partition in ends}
    for most in takes * 100:
        taken = buffer.get(most, 0)
        assert sum(len(one.records) for one in taken) <= most
        for one in taken:
            seen[one.partition] += [record.offset for record in one.records]
    assert seen == {partition: list(range(end)) for partition, end in ends.items()}
    assert len(buffer) == 0


def test_the_buffer_stops_at_its_records_and_at_its_bytes_and_goes_on_at_half() -> None:
    """Pauses do not flicker, and large records do not take the machine's memory."""
    few = RecordBuffer(4, 10**9)
    few.put([chunk(0, range(4))])
    assert not few.wants_more(paused=False)
    few.get(2, 0)
    assert few.wants_more(paused=False)
    assert not few.wants_more(paused=True)
    few.get(1, 0)
    assert few.wants_more(paused=True)
    large = RecordBuffer(100, 1000)
    large.put([chunk(0, range(2), size=600)])
    assert not large.wants_more(paused=False)
    large.get(1, 0)
    assert large.wants_more(paused=False)
    large.get(1, 0)
    assert large.wants_more(paused=True)


def test_a_closed_buffer_gives_nothing_out() -> None:
    """What is left belongs to the next owner."""
    buffer = RecordBuffer(4, 10**9)
    buffer.put([chunk(0, range(2))])
    buffer.close()
    assert buffer.get(5, 10) == []


def pending(rows: int, key: tuple[Any, ...] = ("m",)) -> Any:
    """A decoded request of which only size and kind matter."""
    return SimpleNamespace(rows=rows, key=key)


def answer() -> Answer:
    """One that needs no device."""
    record: Any = SimpleNamespace()
    return Answer(record, 1, RequestHeaders(), "id", Encoding.JSON, Status.EXPIRED)


def test_the_front_is_what_can_be_computed_together() -> None:
    """Up to the rows of a batch, up to the first of another kind, with the answers between them."""
    queue = ReadyQueue(100)
    first, second, third = pending(2), pending(3), pending(1, ("other",))
    between, behind = answer(), answer()
    queue.put([first, between, second, behind, third])
    front = queue.front(64, 100, 0)
    assert front.batch == [first, second]
    assert front.answers == [between, behind]
    assert queue.front(4, 100, 0).batch == [first]
    assert queue.front(1, 100, 0).batch == [first], "a request larger than a batch goes alone"
    part = front.first(1)
    assert (part.batch, part.answers) == ([first], [between])
    queue.take(len(part))
    rest = queue.front(64, 100, 0)
    assert (rest.batch, rest.answers) == ([second], [behind])
    queue.take(len(rest))
    assert queue.front(64, 100, 0).batch == [third]


def test_the_queue_counts_rows() -> None:
    """Two batches of wide requests are few requests: what is decoded ahead stays a bounded number of rows."""
    queue = ReadyQueue(100)
    queue.put([pending(32), answer()])
    assert queue.room(0) == 4, "67 rows are left, and the last requests had 16.5 each"
    queue.put([pending(32)] * 2)
    assert queue.room(0) == 1
    queue.put([pending(32)])
    assert queue.room(0) == 0
    queue.take(2)
    assert queue.room(0) == 1
    queue.hold(1000)
    assert queue.room(0) == 28


def test_the_queue_says_when_it_has_room_and_forgets_when_closed() -> None:
    """Decoding runs ahead of the device by a bounded number of requests."""
    queue = ReadyQueue(2)
    assert queue.room(0) == 2
    queue.put([pending(1), pending(1)])
    assert queue.room(0) == 0
    queue.close()
    assert queue.closed
    assert len(queue.front(64, 100, 10)) == 0


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        """Seconds."""
        return self.now


def test_a_busy_worker_spends_a_tenth_of_its_time_in_commits() -> None:
    """Whatever a commit takes: 3 ms here."""
    clock = Clock()
    pace, spent = Pace(clock), 0.0
    started = clock.now
    for _ in range(100):
        clock.now += pace.left_s()
        with pace.sending():
            clock.now += 0.003
        spent += 0.003
    assert spent / (clock.now - started) <= MOST_SHARE
    assert spent / (clock.now - started) > MOST_SHARE / 2


def test_a_slow_broker_does_not_make_a_transaction_gather_for_ever() -> None:
    """Results must come even where a commit takes a second."""
    clock = Clock()
    pace = Pace(clock)
    with pace.sending():
        clock.now += 1.0
    assert pace.left_s() == MOST_GATHER_S


def test_a_steady_rate_is_seen_and_fades() -> None:
    """100 a second for five seconds reads as 100 within a few per cent; a silence of a memory's length as a third."""
    clock = Clock()
    fading = Fading(clock)
    for _ in range(500):
        clock.now += 0.01
        fading.add(1)
    assert 95 < fading.per_second < 105
    clock.now += MEMORY_S
    assert 30 < fading.per_second < 42
