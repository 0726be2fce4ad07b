"""The limit of the Kafka client: our worker's consumer and its transactions with nothing in between.

Run as `python -m penstock.bench.client_limit JOB`. It consumes the requests and writes, in transactions with their
offsets, one result a request with the very bytes (value and headers) of a result that our worker wrote. No request is
decoded, nothing is computed. Client, settings, buffer and the pace of transactions are the worker's own; as there, one
thread polls and one delivers. Headers that the worker names once for a batch are named once for a transaction here.
"""

from __future__ import annotations

import base64
import json
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

from inference_workers.buffer import Chunk, RecordBuffer
from inference_workers.delivery import BUSY_LOOK_S, MOST_ANSWERS
from inference_workers.ownership import Ownership
from inference_workers.pacing import Pace
from inference_workers.settings import WorkerSettings
from inference_workers.transports import ExactlyOnce
from streams import headers as names
from streams.kafka import KafkaSettings
from streams.kafka.group_consumer import GroupConsumer
from streams.records import Outgoing, SharedHeaders

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Seconds of one poll while nothing arrives.
POLL_S = 0.5
#: Headers that differ from result to result; the rest is the same for a batch.
OWN = frozenset((names.REQUEST_ID, names.SOURCE, names.QUEUE_MS, names.TRACEPARENT))


def main(job: dict[str, Any]) -> None:
    """Run until SIGTERM."""
    kafka, worker = KafkaSettings(bootstrap_servers=job["bootstrap"]), WorkerSettings()
    ownership, stop = Ownership(), threading.Event()
    buffer = RecordBuffer(worker.buffer_records, worker.buffer_bytes)
    consumer = GroupConsumer(
        kafka,
        topic=job["requests"],
        group=job["group"],
        instance_id=job["slot"],
        hooks=ownership,
        session_timeout_ms=worker.session_timeout_ms,
        revoke_drain_s=worker.revoke_drain_s,
        max_poll_records=worker.buffer_records // 2,
    )
    transport = ExactlyOnce(kafka, slot=job["slot"], timeout_ms=worker.transaction_timeout_ms)
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    writer = _Writer(job, worker.buffer_records // 4, buffer, consumer, transport)
    thread = threading.Thread(target=writer.run, args=(stop,), name="deliver", daemon=True)
    thread.start()
    paused = False
    while not stop.is_set() and thread.is_alive():
        paused = not buffer.wants_more(paused=paused)
        consumer.set_paused(paused)
        chunks = []
        for partition, records in consumer.poll(0.02 if paused else POLL_S).items():
            stamped = ownership.stamp(partition, records)
            if stamped is not None:
                chunks.append(Chunk(partition, *stamped))
        buffer.put(chunks)
    stop.set()
    thread.join(5)
    transport.close()
    consumer.close()


class _Writer:
    """The deliver thread."""

    def __init__(
        self, job: dict[str, Any], busy_at: int, buffer: RecordBuffer, consumer: GroupConsumer, transport: ExactlyOnce
    ) -> None:
        self._requests, self._topic, self._value = (
            job["requests"],
            job["results"],
            base64.b64decode(job["result_value"]),
        )
        pairs = [(name, base64.b64decode(text)) for name, text in job["result_headers"]]
        self._own = [pair for pair in pairs if pair[0] in OWN]
        self._shared = tuple(pair for pair in pairs if pair[0] not in OWN)
        self._busy_at, self._buffer, self._consumer, self._transport = busy_at, buffer, consumer, transport
        self._pace = Pace()

    def run(self, stop: threading.Event) -> None:
        """Write what waits, in transactions as far apart as the worker's."""
        while not stop.is_set():
            chunks = self._buffer.get(MOST_ANSWERS, POLL_S)
            if not chunks:
                self._transport.idle()
                continue
            held = sum(len(chunk.records) for chunk in chunks)
            while held < MOST_ANSWERS and not stop.is_set():
                left_s = self._pace.left_s() if len(self._buffer) >= self._busy_at or held >= self._busy_at else 0.0
                more = self._buffer.get(MOST_ANSWERS - held, min(left_s, BUSY_LOOK_S))
                if not more and left_s <= 0:
                    break
                chunks += more
                held += sum(len(chunk.records) for chunk in more)
            self._send(chunks)

    def _send(self, chunks: Sequence[Chunk]) -> None:
        group, shared = self._consumer.metadata(), SharedHeaders(self._shared)
        topic, value, own = self._topic, self._value, self._own
        offsets = {chunk.partition: chunk.records[-1].offset + 1 for chunk in chunks}
        records = [
            Outgoing(topic, record.key, value, own, chunk.partition, None, shared)
            for chunk in chunks
            for record in chunk.records
        ]
        with self._pace.sending():
            self._transport.send(records, self._requests, offsets, group)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
