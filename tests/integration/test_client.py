"""The client against a real broker, with a peer that answers like a worker would."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pytest

from streams import headers as names
from streams import records, topics
from streams.client import InferenceClient
from streams.errors import BrokerUnavailable, ClientClosed, RecordTooLarge, ResultTimeout, TopicMissing
from streams.headers import RequestHeaders, request_id_of
from streams.kafka import Admin, KafkaSettings, close_producer, new_producer, new_reader
from streams.records import Encoding, Limits, Status
from streams.topics import TopicSettings, ensure_topics

if TYPE_CHECKING:
    from collections.abc import Iterator

    from streams.records import ConsumedRecord

pytestmark = pytest.mark.services


class Echo:
    """Answers each request with twice its input `x`, from a thread of its own; a stand-in for workers.

    Args:
        settings: where the topics are.
        pipeline: whose requests to answer.
        times: how often each result is written, as an at-least-once worker may.
    """

    def __init__(self, settings: KafkaSettings, pipeline: str, *, times: int = 1) -> None:
        self.seen: list[ConsumedRecord] = []
        self._pipeline = pipeline
        self._times = times
        self._reader: Any = new_reader(settings, [topics.requests(pipeline)], from_="earliest")
        self._producer = new_producer(settings, "echo")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._reader.close()
        close_producer(self._producer, 5)

    def _run(self) -> None:
        while not self._stop.is_set():
            for batch in self._reader.poll(timeout_ms=50).values():
                for record in batch:
                    self._answer(record)

    def _answer(self, record: ConsumedRecord) -> None:
        self.seen.append(record)
        told = RequestHeaders.parse(record.headers)
        request = records.decode_request(record.value, record.headers, limits=Limits())
        known_as = request_id_of(record.headers, request.id, record.topic, record.partition, record.offset)
        status = Status.OK
        if told.deadline_at_ms is not None and told.deadline_at_ms < time.time() * 1000:
            status = Status.EXPIRED
            value, content = records.encode_error("too late", request_id=known_as)
        else:
            value, content = records.encode_result(
                {"y": request.inputs["x"] * 2},
                request_id=known_as,
                model_name="echo",
                model_version=told.model_version or "1",
                encoding=request.encoding,
            )
        headers = [*content, (names.REQUEST_ID, known_as.encode()), (names.STATUS, status.value.encode())]
        for _ in range(self._times):
            self._producer.send(
                told.reply_to or topics.results(self._pipeline),
                value=value,
                key=record.key,
                headers=headers,
                partition=record.partition,
            )


@pytest.fixture
def echo(kafka_settings: KafkaSettings, pipeline: str) -> Iterator[Echo]:
    """A pipeline with topics of three partitions and somebody who answers."""
    make_topics(kafka_settings, pipeline)
    with Echo(kafka_settings, pipeline) as answering:
        yield answering


def make_topics(settings: KafkaSettings, pipeline: str) -> None:
    """The pipeline's topics, three partitions each."""
    with Admin(settings, "test-admin") as admin:
        ensure_topics(admin, pipeline, TopicSettings(partitions=3))


def numbers(value: float, rows: int = 1) -> dict[str, Any]:
    """A request's inputs."""
    return {"x": np.full((rows, 2), value, np.float32)}


@pytest.mark.parametrize("encoding", Encoding)
def test_a_request_gets_its_result(
    echo: Echo, kafka_settings: KafkaSettings, pipeline: str, encoding: Encoding
) -> None:
    """In either encoding, with all that a request can carry."""
    with InferenceClient(pipeline, kafka_settings, encoding=encoding) as client:
        future = client.submit(
            numbers(3, rows=2),
            key="customer-7",
            request_id="größe-1",
            deadline_s=60,
            model_version="4",
            traceparent="00-ab-cd-01",
        )
        result = future.result(20)
    assert result.ok
    assert (result.id, result.model_name, result.model_version) == ("größe-1", "echo", "4")
    assert result.outputs["y"].tolist() == [[6.0, 6.0], [6.0, 6.0]]
    (record,) = echo.seen
    assert record.key == b"customer-7"
    told = RequestHeaders.parse(record.headers)
    assert (told.request_id, told.model_version, told.traceparent) == ("größe-1", "4", "00-ab-cd-01")
    assert told.deadline_at_ms is not None
    assert 0 < told.deadline_at_ms - time.time() * 1000 <= 60_000


@pytest.mark.usefixtures("echo")
def test_a_request_past_its_deadline_is_expired(kafka_settings: KafkaSettings, pipeline: str) -> None:
    """An expired request has a result too: its status says so, and no exception is raised."""
    with InferenceClient(pipeline, kafka_settings) as client:
        result = client.submit(numbers(1), deadline_s=-1).result(20)
    assert (result.status, result.ok, result.error, dict(result.outputs)) == (Status.EXPIRED, False, "too late", {})


@pytest.mark.usefixtures("echo")
def test_many_threads_share_a_client(kafka_settings: KafkaSettings, pipeline: str) -> None:
    """Each gets the results of its own requests."""
    with InferenceClient(pipeline, kafka_settings) as client, ThreadPoolExecutor(8) as threads:

        def ask(value: int) -> float:
            return float(client.submit(numbers(value)).result(30).outputs["y"][0, 0])

        assert list(threads.map(ask, range(400))) == [2.0 * value for value in range(400)]


def test_keyless_requests_take_turns(echo: Echo, kafka_settings: KafkaSettings, pipeline: str) -> None:
    """Partitions are filled evenly, and a key always goes to one."""
    with InferenceClient(pipeline, kafka_settings) as client:
        list(client.map((numbers(value) for value in range(30)), timeout_s=30))
        list(client.map((numbers(value) for value in range(10)), timeout_s=30, key=b"k"))
    keyless = [record.partition for record in echo.seen if record.key is None]
    keyed = {record.partition for record in echo.seen if record.key == b"k"}
    assert [keyless.count(partition) for partition in range(3)] == [10, 10, 10]
    assert len(keyed) == 1


@pytest.mark.usefixtures("echo")
def test_map_keeps_order_and_its_bound(kafka_settings: KafkaSettings, pipeline: str) -> None:
    """Results come in the order of the inputs, and those are read only as fast as results come."""
    taken = itertools.count()
    read = 0

    def source() -> Iterator[dict[str, Any]]:
        nonlocal read
        for value in range(500):
            read = next(taken) + 1
            yield numbers(value)

    with InferenceClient(pipeline, kafka_settings) as client:
        for index, result in enumerate(client.map(source(), in_flight=16, timeout_s=30)):
            assert result.outputs["y"][0, 0] == 2 * index
            assert read <= index + 16
    assert read == 500


@pytest.mark.usefixtures("echo")
async def test_the_event_loop_is_not_blocked(kafka_settings: KafkaSettings, pipeline: str) -> None:
    """Requests of many tasks are on their way together, and `amap` takes either kind of source."""

    async def source() -> Any:
        for value in range(50):
            await asyncio.sleep(0)
            yield numbers(value)

    client = await asyncio.to_thread(InferenceClient, pipeline, kafka_settings)
    async with client:
        results = await asyncio.gather(*(client.asubmit(numbers(value), timeout_s=30) for value in range(50)))
        assert [result.outputs["y"][0, 0] for result in results] == [2.0 * value for value in range(50)]
        for inputs in (source(), [numbers(value) for value in range(50)]):
            found = [result.outputs["y"][0, 0] async for result in client.amap(inputs, in_flight=8, timeout_s=30)]
            assert found == [2.0 * value for value in range(50)]


def test_results_written_twice_count_once(kafka_settings: KafkaSettings, pipeline: str) -> None:
    """An at-least-once worker's second result changes nothing for who asked."""
    make_topics(kafka_settings, pipeline)
    with Echo(kafka_settings, pipeline, times=2), InferenceClient(pipeline, kafka_settings) as client:
        results = list(client.map((numbers(value) for value in range(50)), timeout_s=30))
    assert [result.outputs["y"][0, 0] for result in results] == [2.0 * value for value in range(50)]


def test_results_may_go_to_a_topic_of_ones_own(echo: Echo, kafka_settings: KafkaSettings, pipeline: str) -> None:
    """A client that names a topic for its results reads that one; the pipeline's stays empty."""
    mine = f"{pipeline}.mine"
    with Admin(kafka_settings, "test-admin") as admin:
        admin.create_topics({mine: topics.topic_specs(pipeline, TopicSettings(partitions=3))[topics.results(pipeline)]})
        with InferenceClient(pipeline, kafka_settings, reply_to=mine) as client:
            assert client.submit(numbers(2)).result(20).outputs["y"][0, 0] == 4
        assert sum(admin.end_offsets(mine).values()) == 1
        assert sum(admin.end_offsets(topics.results(pipeline)).values()) == 0
    assert len(echo.seen) == 1


@pytest.mark.usefixtures("echo")
def test_results_can_be_read_as_a_stream(kafka_settings: KafkaSettings, pipeline: str) -> None:
    """A group reads all results once, stops and goes on where it had got to, past one that nobody can read."""
    with InferenceClient(pipeline, kafka_settings) as client:
        list(client.map((numbers(value) for value in range(10)), timeout_s=30))
        client._producer.send(topics.results(pipeline), value=b"not a result", partition=0).get(10)
        first = list(itertools.islice(client.results(group=f"{pipeline}-billing", idle_s=5), 4))
        rest = list(client.results(group=f"{pipeline}-billing", idle_s=2))
    values = sorted(float(result.outputs["y"][0, 0]) for result in [*first, *rest])
    # The fourth was handed out and not yet asked beyond when the first reader stopped: it is seen again, never lost.
    assert sorted(set(values)) == [2.0 * value for value in range(10)]
    assert len(values) <= 11


def test_a_request_without_a_result_is_given_up(kafka_settings: KafkaSettings, pipeline: str) -> None:
    """By its caller's patience and by the client's, in words that say where to look."""
    make_topics(kafka_settings, pipeline)
    with InferenceClient(pipeline, kafka_settings, timeout_s=1) as client:
        future = client.submit(numbers(1), request_id="lost")
        with pytest.raises(ResultTimeout, match=r"request lost: no result after 0.05 s; check that workers run"):
            future.result(0.05)
        with pytest.raises(ResultTimeout, match=r"request lost: no result after 1 s"):
            future.result(30)
        with pytest.raises(ResultTimeout):
            list(client.map([numbers(1), numbers(2)], timeout_s=0.05))
        assert len(client._pending) == 0


async def test_waiting_tasks_give_up_too(kafka_settings: KafkaSettings, pipeline: str) -> None:
    """A task's patience and its cancellation both leave nothing behind."""
    make_topics(kafka_settings, pipeline)
    async with await asyncio.to_thread(InferenceClient, pipeline, kafka_settings) as client:
        with pytest.raises(ResultTimeout, match=r"no result after 0.05 s"):
            await client.asubmit(numbers(1), timeout_s=0.05)
        task = asyncio.create_task(client.asubmit(numbers(1)))
        await asyncio.sleep(0)
        assert len(client._pending) == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(client._pending) == 0


def test_closing_fails_what_waits_and_sends_what_was_submitted(kafka_settings: KafkaSettings, pipeline: str) -> None:
    """No future hangs, none is refused in silence, and the request itself is on its topic."""
    make_topics(kafka_settings, pipeline)
    client = InferenceClient(pipeline, kafka_settings)
    future = client.submit(numbers(1))
    client.close()
    client.close()
    with pytest.raises(ClientClosed, match="closed before the result came"):
        future.result(0)
    with pytest.raises(ClientClosed, match="was not sent"):
        client.submit(numbers(1))
    assert not client._thread.is_alive()
    with Admin(kafka_settings, "test-admin") as admin:
        assert sum(admin.end_offsets(topics.requests(pipeline)).values()) == 1


def test_what_cannot_be_sent_is_said_at_once(kafka_settings: KafkaSettings, pipeline: str) -> None:
    """No topics, no broker, too large a record: each has its own error, and nothing waits for it."""
    with pytest.raises(TopicMissing, match=pipeline):
        InferenceClient(pipeline, kafka_settings)
    with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:1 .*REFUSED"):
        InferenceClient(pipeline, KafkaSettings("127.0.0.1:1", bootstrap_timeout_ms=300))
    make_topics(kafka_settings, pipeline)
    small = KafkaSettings(kafka_settings.bootstrap_servers, max_request_bytes=2048)
    with InferenceClient(pipeline, small) as client:
        with pytest.raises(RecordTooLarge, match=r"max\.message\.bytes"):
            client.submit(numbers(1, rows=1000))
        with pytest.raises(ValueError, match="request_id of 513 characters: at most 512"):
            client.submit(numbers(1), request_id="x" * 513)
        assert len(client._pending) == 0
    with InferenceClient(pipeline, kafka_settings) as client:
        future = client.submit(numbers(1, rows=200_000))
        with pytest.raises(RecordTooLarge, match=r"max\.message\.bytes"):
            future.result(30)
        # One that is refused must not cost those that come after.
        client.submit(numbers(1, rows=1))
        deadline = time.monotonic() + 20
        with Admin(kafka_settings, "test-admin") as admin:
            while not (there := sum(admin.end_offsets(topics.requests(pipeline)).values())):
                assert time.monotonic() < deadline
        assert there == 1
