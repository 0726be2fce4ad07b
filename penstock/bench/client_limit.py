"""The limit of the Kafka client: our worker's consumer and producer with nothing in between.

Run as `python -m penstock.bench.client_limit JOB`. It consumes the requests and writes, in transactions with their
offsets, one result a request with the very bytes (value and headers) of a result that our worker wrote. No request is
decoded, nothing is computed. As in the worker one thread polls and one delivers, and a transaction takes what waits,
up to the worker's own bound.
"""

from __future__ import annotations

import base64
import json
import signal
import sys
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from inference_workers.delivery import MOST_ANSWERS
from inference_workers.ownership import Ownership
from inference_workers.settings import WorkerSettings
from streams.kafka import KafkaSettings
from streams.kafka.group_consumer import GroupConsumer
from streams.kafka.transactions import TransactionalProducer
from streams.records import Outgoing

if TYPE_CHECKING:
    from streams.records import ConsumedRecord

#: Seconds of one poll while nothing arrives.
POLL_S = 0.5
#: Most records of one poll, and held between the threads: generous, for this is to be a limit.
POLL_RECORDS, HELD_RECORDS = 1000, 4 * MOST_ANSWERS


class Hopper:
    """Records between the two threads, bounded: above it the poll thread pauses its partitions, as the worker does."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._records: deque[ConsumedRecord] = deque()
        self._changed = threading.Condition()

    def put(self, records: list[ConsumedRecord]) -> None:
        """Add records."""
        with self._changed:
            self._records.extend(records)
            self._changed.notify()

    def take(self, most: int) -> list[ConsumedRecord]:
        """What waits, up to `most`; waits half a second for the first."""
        with self._changed:
            if not self._records:
                self._changed.wait(POLL_S)
            return [self._records.popleft() for _ in range(min(most, len(self._records)))]

    def full(self, *, paused: bool) -> bool:
        """Whether to stop fetching; goes on at half of the capacity."""
        return len(self._records) >= (self._capacity // 2 if paused else self._capacity)


def main(job: dict[str, Any]) -> None:
    """Run until SIGTERM."""
    kafka, worker = KafkaSettings(bootstrap_servers=job["bootstrap"]), WorkerSettings()
    value = base64.b64decode(job["result_value"])
    headers = [(name, base64.b64decode(text)) for name, text in job["result_headers"]]
    consumer = GroupConsumer(
        kafka,
        topic=job["requests"],
        group=job["group"],
        instance_id=job["slot"],
        hooks=Ownership(),
        session_timeout_ms=worker.session_timeout_ms,
        revoke_drain_s=worker.revoke_drain_s,
        max_poll_records=POLL_RECORDS,
    )
    producer = TransactionalProducer(
        kafka,
        transactional_id=job["slot"],
        timeout_ms=worker.transaction_timeout_ms,
        max_request_bytes=kafka.max_request_bytes,
    )
    stop, hopper = threading.Event(), Hopper(HELD_RECORDS)
    signal.signal(signal.SIGTERM, lambda *_: stop.set())

    def deliver() -> None:
        while not stop.is_set():
            records = hopper.take(MOST_ANSWERS)
            if not records:
                continue
            group = consumer.metadata()
            offsets: dict[int, int] = {}
            for record in records:
                offsets[record.partition] = record.offset + 1
            producer.send(
                [Outgoing(job["results"], record.key, value, headers, record.partition) for record in records],
                topic=job["requests"],
                group=group,
                offsets=offsets,
            )

    thread = threading.Thread(target=deliver, name="deliver", daemon=True)
    thread.start()
    paused = False
    while not stop.is_set() and thread.is_alive():
        paused = hopper.full(paused=paused)
        consumer.set_paused(paused)
        records = consumer.poll(0.02 if paused else POLL_S)
        if records:
            hopper.put([record for of_one in records.values() for record in of_one])
    stop.set()
    thread.join(5)
    producer.close()
    consumer.close()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
