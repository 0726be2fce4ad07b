"""The load of a test, a process of its own: `python -m penstock.loadtest.traffic DIRECTORY`.

Sends each request when it is due, never waits for an answer, and notes when each answer could first be read by a
`read_committed` reader. Ends the ramp early once the pipeline, or it itself, is hopelessly behind. A line on stdin says
when its second 0 is, as Unix time. `plan.npz` may say by `partition_of` where each request goes; else they go round.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from penstock.loadtest.ramp import ARREARS_S
from penstock.settings import load
from streams import topics
from streams.kafka import new_producer, new_reader
from streams.records import Encoding, encode_request, result_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

#: Seconds between two lines of progress.
PROGRESS_S = 0.5
#: Seconds without an answer after which the rest is given up.
QUIET_S = 10.0


class Receiver:
    """Notes when each answer could first be read."""

    def __init__(self, reader: Any, prefix: str, count: int) -> None:
        self._reader, self._prefix = reader, prefix
        self.seen_at_s = np.full(count, np.nan)
        self.count = 0
        self.last_at_s = time.time()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="receiver", daemon=True)

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    def stop(self) -> None:
        """Read no more."""
        self._stop.set()
        self._thread.join(timeout=10)
        self._reader.close()

    def _run(self) -> None:
        while not self._stop.is_set():
            batches = self._reader.poll(timeout_ms=100)
            now_s = time.time()
            for records in batches.values():
                for record in records:
                    self._take(result_id(record.headers) or "", now_s)

    def _take(self, name: str, now_s: float) -> None:
        digits = name.removeprefix(self._prefix)
        if digits == name or not digits.isdecimal():
            return
        number = int(digits)
        if number < len(self.seen_at_s) and np.isnan(self.seen_at_s[number]):
            self.seen_at_s[number] = now_s
            self.count += 1
            self.last_at_s = now_s


def main(directory: Path) -> None:
    """Run the plan in `directory` and leave `log.npz` there."""
    words = json.loads((directory / "plan.json").read_text(encoding="utf-8"))
    with np.load(directory / "plan.npz", allow_pickle=False) as arrays:
        due_s = arrays["due_s"]
        where = arrays["partition_of"] if "partition_of" in arrays.files else None
        inputs = {name.removeprefix("input."): arrays[name] for name in arrays.files if name.startswith("input.")}
    rates, step_s, prefix = words["rates"], words["step_s"], words["prefix"]
    tree = load(Path(words["config"]))
    requests = topics.requests(tree.pipeline.name)
    values = [encode_request(asked, encoding=Encoding.BINARY) for asked in requests_of(inputs, words["rows"])]
    reader = new_reader(tree.kafka, [topics.results(tree.pipeline.name)], client_id="penstock-loadtest")
    receiver = Receiver(reader, prefix, len(due_s))
    producer = new_producer(tree.kafka, "penstock-loadtest")
    partitions = sorted(producer.partitions_for(requests))
    where = np.arange(len(due_s)) % len(partitions) if where is None else where
    receiver.start()
    _tell("ready", 0, 0)
    if not (begin := sys.stdin.readline()):
        return
    parent, started_at_s = os.getppid(), float(begin)
    late_s = np.zeros(len(due_s))
    told_s, sent, gave_up = 0.0, 0, False
    for number, at_s in enumerate(due_s + started_at_s):
        while (wait_s := at_s - time.time()) > 0.0001:  # noqa: PLR2004 - a shorter sleep is not worth its overhead
            time.sleep(wait_s)
        now_s = time.time()
        late_s[number] = now_s - at_s
        value, headers = values[number % len(values)]
        name = f"{prefix}{number}".encode()
        producer.send(
            requests, value=value, key=name, headers=[("request-id", name), *headers],
            partition=partitions[where[number]],
        )  # fmt: skip
        sent = number + 1
        if now_s - told_s > PROGRESS_S:
            told_s = now_s
            _tell("running", sent, receiver.count)
            rate = rates[min(len(rates) - 1, int((now_s - started_at_s) / step_s))]
            gave_up = bool(late_s[number] > words["most_late_s"])
            if gave_up or sent - receiver.count > rate * max(ARREARS_S, step_s) or os.getppid() != parent:
                break
    producer.flush()
    receiver.last_at_s = max(receiver.last_at_s, time.time())
    while receiver.count < sent and time.time() < receiver.last_at_s + QUIET_S:
        _tell("draining", sent, receiver.count)
        time.sleep(PROGRESS_S)
    receiver.stop()
    producer.close()
    np.savez(
        directory / "log.npz", sent=sent, seen_s=receiver.seen_at_s[:sent] - started_at_s, late_s=late_s[:sent],
        gave_up=gave_up,
    )  # fmt: skip
    _tell("done", sent, receiver.count)


def requests_of(inputs: Mapping[str, NDArray[Any]], rows: int) -> list[dict[str, NDArray[Any]]]:
    """What is asked in turn: the rows of `inputs`, so many at a time; after the last comes the first."""
    count = len(next(iter(inputs.values())))
    return [
        {name: array[(np.arange(first, first + rows)) % count] for name, array in inputs.items()}
        for first in range(0, count, rows)
    ]


def _tell(phase: str, sent: int, received: int) -> None:
    sys.stdout.write(json.dumps({"phase": phase, "sent": sent, "received": received}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
