"""A day of traffic in miniature: two million requests through one worker, its memory watched.

`python benchmarks/soak.py [--requests 2000000] [--rate R] [--seconds-between 0.5] [--json]`. Without `--rate` the
worker is kept busy all the time: up to `WINDOW` requests are on their way. Resident memory is sampled by how many
results have come, and the last tenth's mean is compared with the second's: the first tenth is warm-up. Results are
counted by id, so a lost or doubled one shows.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import psutil

from penstock.verify.arena import Arena, Given
from penstock.verify.faults import Facts, Fault
from penstock.verify.surroundings import machine, versions
from streams import topics
from streams.kafka import close_producer, new_producer, new_reader
from streams.records import encode_request, result_id

if TYPE_CHECKING:
    from random import Random

    from penstock.verify.stage import Stage

#: Requests on their way at most, without a rate.
WINDOW = 8_000
#: What the last tenth may have more than the second.
ALLOWED = 1.05
#: Seconds without any result after which the run is given up.
SILENT_S = 60.0
_MIB = 2**20


class Soak(Fault):
    """No trouble at all: one worker, topics that keep only their newest 64 MiB a partition."""

    name = "soak"
    words = "load and nothing else"
    workers: ClassVar[int] = 1
    requests_config: ClassVar[dict[str, str]] = {"retention.bytes": str(32 * _MIB), "segment.bytes": str(16 * _MIB)}
    results_config: ClassVar[dict[str, str]] = requests_config

    def strike(self, stage: Stage, random: Random) -> Facts:
        """Not called: this is no run of the matrix."""
        raise NotImplementedError


class Counted:
    """Counts results by id, in a thread of its own; a byte a request."""

    def __init__(self, stage: Stage, count: int) -> None:
        self._reader = new_reader(stage.kafka, [topics.results(stage.pipeline)], from_="latest")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.times = np.zeros(count, np.uint8)
        self.received = 0
        self.failed = 0
        self.last_at_s = time.monotonic()
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            for records in self._reader.poll(200).values():
                for record in records:
                    self.failed += ("status", b"ok") not in record.headers
                    self.times[int(result_id(record.headers) or -1)] += 1
                self.received += len(records)
                self.last_at_s = time.monotonic()

    def stop(self) -> None:
        """Stop counting."""
        self._stop.set()
        self._thread.join()
        self._reader.close(autocommit=False)


def _soak(stage: Stage, count: int, rate: float | None, between_s: float) -> dict[str, Any]:
    counted = Counted(stage, count)
    (worker,) = stage.fleet.workers
    process = psutil.Process(worker.pid)
    samples: list[tuple[int, float]] = []
    producer = new_producer(stage.kafka, "soak", linger_ms=5)
    topic = topics.requests(stage.pipeline)
    began_s = time.monotonic()
    told, sampled_s, sent = 0, 0.0, 0
    cpu_before = sum(process.cpu_times()[:2])
    while counted.received < count:
        now_s = time.monotonic()
        if now_s - sampled_s >= between_s:
            samples.append((counted.received, process.memory_info().rss / _MIB))
            sampled_s = now_s
            if counted.received * 20 // count > told:
                told = counted.received * 20 // count
                sys.stderr.write(
                    f"{told * 5} %: {samples[-1][1]:.0f} MiB, {counted.received / (now_s - began_s):.0f}/s\n"
                )
        if now_s - max(counted.last_at_s, began_s) > SILENT_S:
            raise TimeoutError(f"no result for {SILENT_S:g} s after {counted.received} of {sent}: {worker.said()}")
        allowed = counted.received + WINDOW if rate is None else int((now_s - began_s) * rate)
        if sent < min(allowed, count):
            for number in range(sent, min(allowed, count, sent + 500)):
                value, headers = encode_request({"x": np.full((1, 4), number, np.float32)}, request_id=str(number))
                producer.send(topic, value=value, key=None, headers=headers, partition=number % stage.partitions)
                sent += 1
        else:
            time.sleep(0.002)
    took_s = time.monotonic() - began_s
    cpu_s = sum(process.cpu_times()[:2]) - cpu_before
    # A doubled result would come within a moment of the last.
    time.sleep(1.0)
    counted.stop()
    close_producer(producer, 10)

    def mean_of_tenth(number: int) -> float:
        low, high = count * (number - 1) / 10, count * number / 10
        return statistics.mean(rss for done, rss in samples if low <= done < high)

    second, last = mean_of_tenth(2), mean_of_tenth(10)
    return {
        "requests": count,
        "lost": int((counted.times == 0).sum()),
        "duplicated": int((counted.times > 1).sum()),
        "failed": counted.failed,
        "seconds": round(took_s, 1),
        "records_per_s": round(count / took_s),
        "cpu_us_per_record": round(cpu_s / count * 1e6, 1),
        "rss_mib_second_tenth": round(second, 1),
        "rss_mib_last_tenth": round(last, 1),
        "rss_ratio": round(last / second, 4),
        "rss_mib_by_tenth": [round(mean_of_tenth(number), 1) for number in range(1, 11)],
        "samples": len(samples),
    }


def main() -> int:
    """Run; exit 1 when memory grew by more than is allowed, or a result is missing, doubled or not ok."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=2_000_000)
    parser.add_argument("--rate", type=float, default=None, help="requests a second; without it as many as go")
    parser.add_argument("--seconds-between", type=float, default=0.5, help="between samples of the memory")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="penstock-soak-") as logs,
        Arena(Given(), Path(logs)) as arena,
        arena.stage(Soak()) as stage,
    ):
        # It remembers each id, which is not for millions; `Counted` counts instead.
        stage.watch.stop()
        found = _soak(stage, asked.requests, asked.rate, asked.seconds_between)
    found |= {"machine": machine(), "versions": versions(embedded=True)}
    if asked.json:
        print(json.dumps(found, indent=1))
    else:
        print(
            f"{found['requests']:,} requests in {found['seconds']:.0f} s ({found['records_per_s']:,}/s): "
            f"{found['lost']} lost, {found['duplicated']} duplicated, {found['failed']} failed\n"
            f"resident memory of the worker: {found['rss_mib_second_tenth']} MiB in the second tenth, "
            f"{found['rss_mib_last_tenth']} in the last, ratio {found['rss_ratio']} (at most {ALLOWED} is wanted)\n"
            f"{found['machine']}"
        )
    return int(bool(found["rss_ratio"] > ALLOWED or found["lost"] or found["duplicated"] or found["failed"]))


if __name__ == "__main__":
    raise SystemExit(main())
