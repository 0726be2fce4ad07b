"""The traffic process: sends each request at its intended time and notes when its result can be read.

Open loop: it never waits for a result, so a slow system gets no less load, and a request's latency counts from the
moment it was meant to be sent. Its own process, so that nothing the demo draws or reads can delay it. Run as
`python -m penstock.demo.load DIRECTORY`; it says where it is in lines of JSON on stdout and starts at a line on stdin.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from penstock.demo.traffic import Progress, TrafficLog, TrafficPlan, request_id, request_number
from streams import topics
from streams.kafka.producer import new_producer
from streams.kafka.reader import new_reader
from streams.kafka.settings import KafkaSettings
from streams.records import Encoding, encode_request, result_id

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds between two lines of progress.
PROGRESS_S = 0.5

#: Results behind the shown 99th percentile are not older than this, in seconds.
LATENCY_WINDOW_S = 5.0

#: Seconds until the first request after the start was asked for: the threads are up by then.
LEAD_S = 0.3

#: How often the end of the drain is looked for, in seconds.
LOOK_S = 0.05


class Receiver:
    """Follows the results topic with `read_committed` and notes when each result could first be read.

    The receipt is what a consumer of the results experiences: a transactional result is written before it is committed
    and cannot be read until then, so neither the broker's timestamp nor the producer's would be honest.
    """

    def __init__(self, settings: KafkaSettings, pipeline: str, count: int) -> None:
        self._reader = new_reader(settings, [topics.results(pipeline)], from_="latest", client_id="demo-receiver")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="receiver", daemon=True)
        self.received_at_s = np.full(count, np.nan)
        self.received = 0
        self.last_at_s = time.time()

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Stop reading and close the connection."""
        self._stop.set()
        self._thread.join(timeout=10)
        self._reader.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            batches = self._reader.poll(timeout_ms=200)
            now_s = time.time()
            for records in batches.values():
                for record in records:
                    self._take(request_number(result_id(record.headers)), now_s)

    def _take(self, number: int | None, now_s: float) -> None:
        if number is None or number >= len(self.received_at_s) or not np.isnan(self.received_at_s[number]):
            return
        self.received_at_s[number] = now_s
        self.received += 1
        self.last_at_s = now_s


class Sender:
    """Hands each request to an idempotent producer at its intended time."""

    def __init__(self, settings: KafkaSettings, plan: TrafficPlan) -> None:
        # Nothing is sent late because of the buffer: a record is under a kilobyte.
        self._producer = new_producer(settings, "demo-sender")
        self._topic = topics.requests(plan.pipeline)
        self._producer.partitions_for(self._topic)
        self._plan = plan
        self._values = [
            encode_request({plan.input_name: image[None]}, request_id=request_id(i), encoding=Encoding.BINARY)
            for i, image in enumerate(plan.images)
        ]
        self.sent_at_s = np.full(len(plan.times_s), np.nan)
        self.acknowledged = np.zeros(len(plan.times_s), dtype=np.bool_)
        self.sent = 0

    def run(self, started_at_s: float) -> None:
        """Send all, each when it is due; returns when every request was acknowledged or given up."""
        for i, due_s in enumerate(self._plan.times_s + started_at_s):
            wait_s = due_s - time.time()
            if wait_s > 0:
                time.sleep(wait_s)
            value, headers = self._values[i]
            self.sent_at_s[i] = time.time()
            # A key of its own for each request spreads them over the partitions as many users would.
            where = None if self._plan.partitions is None else int(self._plan.partitions[i])
            future = self._producer.send(
                self._topic, value=value, key=request_id(i).encode(), headers=headers, partition=where
            )
            future.add_callback(self._acknowledge(i))
            self.sent = i + 1
        self._producer.flush()

    def close(self) -> None:
        """Close the producer."""
        self._producer.close()

    def _acknowledge(self, number: int) -> Callable[[Any], None]:
        def note(_: Any) -> None:
            self.acknowledged[number] = True

        return note


class Teller:
    """Says on stdout where the process is."""

    def __init__(self, plan: TrafficPlan, sender: Sender, receiver: Receiver) -> None:
        self._times_s, self._sender, self._receiver = plan.times_s, sender, receiver
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="teller", daemon=True)
        self.phase = "ready"
        self.started_at_s: float | None = None

    def start(self) -> None:
        """Begin to tell every `PROGRESS_S`."""
        self._thread.start()

    def stop(self) -> None:
        """Tell no more."""
        self._stop.set()
        self._thread.join(timeout=5)

    def tell(self) -> None:
        """One line now."""
        now_s = time.time()
        progress = Progress(
            self.phase, now_s, self.started_at_s, self._sender.sent, self._receiver.received, self._p99_ms(now_s)
        )
        sys.stdout.write(progress.line() + "\n")
        sys.stdout.flush()

    def _p99_ms(self, now_s: float) -> float | None:
        if self.started_at_s is None:
            return None
        received_at_s = self._receiver.received_at_s
        recent = np.flatnonzero(received_at_s > now_s - LATENCY_WINDOW_S)
        waits = received_at_s[recent] - self.started_at_s - self._times_s[recent]
        return float(np.percentile(waits, 99) * 1000) if waits.size else None

    def _run(self) -> None:
        while not self._stop.wait(PROGRESS_S):
            self.tell()


def main(directory: Path) -> None:
    """Run the plan in `directory` and leave `traffic.npz` there."""
    plan = TrafficPlan.load(directory)
    settings = KafkaSettings(bootstrap_servers=plan.bootstrap)
    parent = os.getppid()
    receiver = Receiver(settings, plan.pipeline, len(plan.times_s))
    sender = Sender(settings, plan)
    teller = Teller(plan, sender, receiver)
    receiver.start()
    teller.tell()
    if not sys.stdin.readline():
        return
    teller.started_at_s = started_at_s = time.time() + LEAD_S
    teller.phase = "running"
    teller.start()
    # Without its parent there is nobody left to see the load: end with it.
    threading.Thread(target=_end_with, args=(parent,), name="parent-watch", daemon=True).start()
    sender.run(started_at_s)
    teller.phase = "draining"
    receiver.last_at_s = max(receiver.last_at_s, time.time())
    wanted = int(sender.acknowledged.sum())
    while receiver.received < wanted and time.time() < receiver.last_at_s + plan.quiet_s:
        time.sleep(LOOK_S)
    receiver.stop()
    sender.close()
    TrafficLog(started_at_s, sender.sent_at_s, sender.acknowledged, receiver.received_at_s).save(directory)
    teller.stop()
    teller.phase = "done"
    teller.tell()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
