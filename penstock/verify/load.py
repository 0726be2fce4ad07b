"""The load: an open-loop sender and a `read_committed` reader, in threads of their own.

Open loop: a request is sent at its time whether or not results come, so a system that stalls gets no less to do. The
sender chooses partitions in turn and numbers the requests of each, so that the order of results can be told.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from penstock.verify.ledger import Result, Sent, Written
from streams import topics
from streams.errors import KafkaFailure, MalformedResult
from streams.kafka import close_producer, new_producer, new_reader, translated
from streams.records import Encoding, Status, decode_result, encode_request, result_id

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from streams.kafka import KafkaSettings

log = logging.getLogger(__name__)

#: Name of the model's one input and output; the model is y = 2 x.
INPUT, OUTPUT = "x", "y"
#: Seconds for a record to be acknowledged: the longest restart of a broker, on a busy machine.
FLUSH_S = 180.0
#: Milliseconds of one poll of the live reader: how soon a stop is seen.
POLL_MS = 100
#: Seconds for reading a whole topic.
READ_S = 120.0


def request_id(session: str, run: int, partition: int, sequence: int) -> str:
    """The id of one request: unique over sessions, runs and partitions."""
    return f"{session}-{run}-{partition}-{sequence}"


def run_of(name: str) -> int:
    """The run of a request's id; -1 = it is not one of ours."""
    parts = name.rsplit("-", 3)
    return int(parts[1]) if len(parts) == 4 and all(part.isdecimal() for part in parts[1:]) else -1  # noqa: PLR2004


def tensor(run: int, partition: int, sequence: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The input of one request, [1, 4]: no two are equal, and all are exact in FP32."""
    return np.array([[run, partition, sequence, 0.5]], np.float32)


def is_right(name: str, outputs: Any) -> bool:
    """Whether a result's outputs are what y = 2 x gives for the request of that id."""
    if run_of(name) < 0 or OUTPUT not in outputs:
        return False
    run, partition, sequence = (int(part) for part in name.rsplit("-", 3)[1:])
    return bool(np.array_equal(outputs[OUTPUT], 2 * tensor(run, partition, sequence)))


class Sender:
    """Sends requests at an even pace from `start` to `stop`.

    Args:
        kafka: where to.
        pipeline: whose requests.
        session: first part of the ids.
        run: second part.
        partitions: of the requests topic; they take turns.
        rate: requests a second.
    """

    def __init__(
        self, kafka: KafkaSettings, pipeline: str, *, session: str, run: int, partitions: int, rate: float
    ) -> None:
        self._producer = new_producer(kafka, f"verify-{session}-sender", delivery_timeout_ms=int(FLUSH_S * 1000))
        self._topic = topics.requests(pipeline)
        with translated(f"write to {self._topic}"):
            self._producer.partitions_for(self._topic)
        self._session, self._run_number, self._partitions, self._rate = session, run, partitions, rate
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="verify-sender", daemon=True)
        self._intended: list[tuple[str, int, float]] = []
        self._acknowledged: set[str] = set()
        self.started_at_s = 0.0

    def start(self) -> None:
        """Begin."""
        self.started_at_s = time.monotonic()
        self._thread.start()

    def stop(self) -> list[Sent]:
        """Send no more, wait for what is on its way, and tell what was sent."""
        self._stop.set()
        self._thread.join()
        close_producer(self._producer, FLUSH_S)
        return [
            Sent(name, partition, at_s, acknowledged=name in self._acknowledged)
            for name, partition, at_s in self._intended
        ]

    def _run(self) -> None:
        number = 0
        while not self._stop.is_set():
            due_s = self.started_at_s + number / self._rate
            wait_s = due_s - time.monotonic()
            if wait_s > 0 and self._stop.wait(wait_s):
                return
            self._send(number % self._partitions, number // self._partitions, due_s)
            number += 1

    def _send(self, partition: int, sequence: int, due_s: float) -> None:
        name = request_id(self._session, self._run_number, partition, sequence)
        value, headers = encode_request(
            {INPUT: tensor(self._run_number, partition, sequence)}, request_id=name, encoding=Encoding.BINARY
        )
        self._intended.append((name, partition, due_s))
        try:
            with translated("send a request"):
                future = self._producer.send(
                    self._topic, value=value, key=name.encode(), headers=headers, partition=partition
                )
        except KafkaFailure as error:
            log.info("verify.unsent", extra={"request": name, "error": str(error)[:200]})
            return
        future.add_callback(self._note(name))

    def _note(self, name: str) -> Callable[[Any], None]:
        return lambda _: self._acknowledged.add(name)


class Watch:
    """Follows the results topic and notes when the result of each request could first be read.

    What a consumer of the results experiences: a transactional result stands in the topic before it is committed and
    cannot be read until then, so its timestamp would not be honest.
    """

    def __init__(self, kafka: KafkaSettings, pipeline: str) -> None:
        self._reader = new_reader(
            kafka, [topics.results(pipeline)], from_="latest", client_id=f"{pipeline}-watch", fetch_max_wait_ms=100
        )
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._seen: dict[str, float] = {}
        self._by_partition: dict[int, list[float]] = defaultdict(list)
        self._thread = threading.Thread(target=self._run, name="verify-watch", daemon=True)
        self._thread.start()

    def seen(self, names: Collection[str]) -> dict[str, float]:
        """When the results of these requests were first seen; those not seen are left out."""
        with self._changed:
            return {name: self._seen[name] for name in names if name in self._seen}

    def moments(self, partition: int) -> list[float]:
        """When results of a partition were seen, in order."""
        with self._changed:
            return list(self._by_partition[partition])

    def wait_for(self, names: Collection[str], timeout_s: float) -> bool:
        """Wait until the results of these requests were seen; whether they were."""
        missing = set(names)

        def all_seen() -> bool:
            missing.difference_update([name for name in missing if name in self._seen])
            return not missing

        with self._changed:
            return self._changed.wait_for(all_seen, timeout_s)

    def first_after(self, partitions: Collection[int], from_s: float, timeout_s: float) -> float | None:
        """When each of these partitions had given a result seen at `from_s` or later; `None` = not in time."""

        def firsts() -> list[float] | None:
            found = []
            for partition in partitions:
                # From the end: what is looked for is recent.
                later = [at_s for at_s in self._by_partition[partition][-2000:] if at_s >= from_s]
                if not later:
                    return None
                found.append(later[0])
            return found or [from_s]

        with self._changed:
            answer = self._changed.wait_for(firsts, timeout_s)
        return max(answer) if answer else None

    def stop(self) -> None:
        """Stop reading."""
        self._stop.set()
        self._thread.join(30)
        self._reader.close(autocommit=False)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with translated("read results"):
                    polled = self._reader.poll(POLL_MS)
            except KafkaFailure as error:
                # A broker that is away is what is being tried here.
                log.info("verify.watch", extra={"error": str(error)[:200]})
                self._stop.wait(0.1)
                continue
            if not polled:
                continue
            now_s = time.monotonic()
            with self._changed:
                for place, records in polled.items():
                    self._by_partition[place.partition] += [now_s] * len(records)
                    for record in records:
                        self._seen.setdefault(result_id(record.headers) or "", now_s)
                self._changed.notify_all()


def read_written(kafka: KafkaSettings, pipeline: str) -> list[Written]:
    """The requests topic as it stands."""
    return [Written(_name_of(record), record.partition) for record in _read_all(kafka, topics.requests(pipeline))]


def read_results(kafka: KafkaSettings, pipeline: str) -> list[Result]:
    """The results topic as a `read_committed` reader sees it."""
    found = []
    for record in _read_all(kafka, topics.results(pipeline)):
        name = _name_of(record)
        try:
            result = decode_result(record.value, record.headers)
        except MalformedResult:
            found.append(Result(name, record.partition, "unreadable", right=False))
            continue
        right = result.status is Status.OK and is_right(name, result.outputs)
        found.append(Result(name, record.partition, result.status.value, right))
    return found


def _name_of(record: Any) -> str:
    # A record without an id of ours is still a record: it must show up as unknown.
    return result_id(record.headers) or f"{record.topic}/{record.partition}/{record.offset}"


def _read_all(kafka: KafkaSettings, topic: str) -> list[Any]:
    """All records of a topic up to the ends of now, in the order of each partition."""
    reader = new_reader(kafka, [topic], from_="earliest", client_id="verify-audit")
    found: list[Any] = []
    deadline = time.monotonic() + READ_S
    try:
        with translated(f"read {topic}"):
            places = list(reader.assignment())
            # Of a read_committed reader these are the last stable offsets: all that is decided lies before them.
            ends = reader.end_offsets(places)
            while any(reader.position(place) < ends[place] for place in places):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{topic} could not be read to its end within {READ_S:g} s")
                found += [record for records in reader.poll(200).values() for record in records]
    finally:
        reader.close(autocommit=False)
    return found
