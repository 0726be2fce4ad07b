"""CPU of one record through a worker's client and nothing else: consumed, answered in a transaction, committed.

`python benchmarks/client_cost.py [--records N] [--runs R]`: one embedded broker, one process a run and library, runs
taken in turn. A request has 300 bytes of value and three headers, a result 150 and six, five of them named once for a
transaction, as a worker's are. CPU is of the whole process, the library's own threads included; the broker's is not.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from penstock.local.services import LocalServices
from streams.capacity import Capacity
from streams.data_path import open_consumer, open_transactions
from streams.kafka import Admin, KafkaSettings, TopicSpec, new_producer
from streams.kafka.settings import KAFKA_PYTHON, LIBRDKAFKA
from streams.records import Outgoing, SharedHeaders

PARTITIONS = 8
VALUE, ANSWER = b"x" * 300, b"y" * 150
HEADERS = [("request-id", b"0123456789abcdef"), ("content-type", b"application/octet-stream"), ("deadline-ms", b"1")]
SHARED = SharedHeaders(tuple((f"name-{n}", b"some-value") for n in range(5)))


class Owner:
    """Takes what it is given."""

    def assigned(self, partitions: Any) -> None:
        """Ours."""

    def revoking(self, partitions: Any) -> None:
        """Soon no longer."""

    def drained(self, partitions: Any) -> bool:  # noqa: ARG002 - nothing is in hand between polls
        """At once."""
        return True

    def revoked(self, partitions: Any) -> None:
        """No longer ours."""


def measure(job: dict[str, Any]) -> dict[str, float]:
    """One run, in a process of its own."""
    settings = KafkaSettings(job["bootstrap"], library=job["library"])
    consumer = open_consumer(
        settings,
        topic="requests",
        group=job["group"],
        instance_id=job["group"],
        hooks=Owner(),
        session_timeout_ms=10_000,
        revoke_drain_s=1,
        max_poll_records=512,
        capacity=lambda: Capacity("bench"),
        meanwhile=lambda: None,
    )
    transactions = open_transactions(
        settings, transactional_id=job["group"], timeout_ms=10_000, max_request_bytes=1 << 20
    )
    done = 0
    began = cpu = 0.0
    while done < job["records"]:
        polled = consumer.poll(0.5)
        if not polled:
            continue
        if not began:
            # Joining and connecting are not a record's.
            began, cpu = time.monotonic(), time.process_time()
        offsets = {partition: records[-1].offset + 1 for partition, records in polled.items()}
        answers = [
            Outgoing("results", record.key, ANSWER, [("request-id", b"0123456789abcdef")], partition, None, SHARED)
            for partition, records in polled.items()
            for record in records
        ]
        transactions.send(answers, topic="requests", group=consumer.metadata(), offsets=offsets)
        done += len(answers)
    used, took = time.process_time() - cpu, time.monotonic() - began
    transactions.close()
    consumer.close()
    return {"cpu_us": used / done * 1e6, "records_per_s": done / took}


def main() -> None:
    """Print a line a run, then the medians."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=60_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--job")
    asked = parser.parse_args()
    if asked.job:
        print(json.dumps(measure(json.loads(asked.job))))
        return
    with tempfile.TemporaryDirectory() as place, LocalServices.start(Path(place), ephemeral=True) as services:
        settings = KafkaSettings(services.bootstrap)
        with Admin(settings, "bench") as admin:
            admin.create_topics({topic: TopicSpec(PARTITIONS, 1) for topic in ("requests", "results")})
        producer = new_producer(settings, "bench", linger_ms=20)
        for number in range(asked.records):
            producer.send("requests", value=VALUE, key=b"%d" % number, headers=HEADERS, partition=number % PARTITIONS)
        producer.close()
        found: dict[str, list[dict[str, float]]] = {KAFKA_PYTHON: [], LIBRDKAFKA: []}
        for run in range(asked.runs):
            for library, runs in found.items():
                job = {
                    "bootstrap": services.bootstrap,
                    "library": library,
                    "records": asked.records,
                    "group": f"{library}-{run}",
                }
                command = [sys.executable, __file__, "--job", json.dumps(job)]
                runs.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
                print(library, {name: round(value, 1) for name, value in runs[-1].items()}, flush=True)
    for library, runs in found.items():
        medians = {name: round(statistics.median(run[name] for run in runs), 1) for name in runs[0]}
        print(f"median of {asked.runs}: {library}: {medians}")


if __name__ == "__main__":
    main()
