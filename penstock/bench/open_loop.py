"""Latency: requests at their own times, whatever becomes of them, and when each result can be read."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from penstock.bench.errors import CandidateFailed
from penstock.bench.kafka_side import PARTITIONS, Results, key_of, new_producer, send
from penstock.bench.saturation import COMPARED, FIRST_RESULT_S
from penstock.bench.schedule import arrivals, latency
from penstock.bench.workload import audit, number_of
from penstock.demo.surroundings import environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from penstock.bench.children import Child
    from penstock.bench.schedule import Latency
    from penstock.bench.workload import Audit, Workload

#: Seconds of load before latencies count.
LEAD_IN_S = 2.0
#: Seconds between rounds of the probes that tell whether a candidate is ready.
PROBE_S = 0.25
#: Seconds without a result, after the last request, until the rest is given up; and the most in all.
QUIET_S, DRAIN_S = 8.0, 25.0
#: Seconds from saying "go" to the start of the schedule.
LEAD_S = 0.3


@dataclass(frozen=True, slots=True)
class Timed:
    """What one open-loop run showed."""

    latency: Latency
    #: 99th percentile of how late the generator itself was, in ms: counted as latency, and shown.
    generator_late_ms: float
    audit: Audit


def measure(
    child: Child, bootstrap: str, requests: str, results_topic: str, workload: Workload, *,
    rate: float, seconds: float, seed: int, directory: Path, compared: int = COMPARED,
) -> Timed:  # fmt: skip
    """Wait until the candidate answers on each partition, then run the schedule.

    Args:
        child: the candidate, started.
        bootstrap: where Kafka is.
        requests: topic of the requests, empty.
        results_topic: topic of the results, empty.
        workload: what to ask.
        rate: requests a second.
        seconds: length of the load that counts.
        seed: of the Poisson process.
        directory: for the plan.
        compared: each how many answers are compared with the model's own; 0 = none.

    Raises:
        CandidateFailed: it ended, or did not become ready.
    """
    plan = directory / "plan.json"
    whole_s = seconds + LEAD_IN_S
    _write_plan(plan, bootstrap, requests, workload, rate=rate, seconds=whole_s, seed=seed)
    due_s = arrivals(rate, whole_s, seed)
    seen_s = np.full(len(due_s), np.nan)
    with Results(bootstrap, results_topic) as results, _generator(plan) as generator:
        _await_ready(child, results, bootstrap, requests, workload)
        if generator.stdin is None or generator.stdout is None or generator.stdout.readline() != "ready\n":
            raise CandidateFailed("the load generator did not start", "run again with fewer programs beside it")
        results.arrivals.clear()
        results.count = 0
        started_s = time.monotonic() + LEAD_S
        generator.stdin.write(f"{started_s!r}\n")
        generator.stdin.flush()
        last_due_s = started_s + (float(due_s[-1]) if due_s.size else 0.0)
        newest_s = last_due_s
        answered = 0
        while answered < len(due_s):
            if results.follow(0.2):
                arrival = results.arrivals[-1]
                newest_s = max(newest_s, arrival.at_s)
                for message in arrival.messages:
                    number = number_of(key_of(message))
                    if number is not None and number < len(due_s) and np.isnan(seen_s[number]):
                        seen_s[number] = arrival.at_s
                        answered += 1
            now_s = time.monotonic()
            if now_s > newest_s + QUIET_S or now_s > last_due_s + DRAIN_S:
                break
            child.check()
        gave_up_s = time.monotonic()
        said, _ = generator.communicate(timeout=60)
        found = audit(workload, results.read(), len(due_s), every=compared)
    told = json.loads(said.strip().splitlines()[-1])
    due_s = due_s + started_s
    counted = latency(due_s, seen_s, from_s=started_s + LEAD_IN_S, gave_up_s=gave_up_s)
    return Timed(counted, float(told["late_p99_ms"]), found)


def _await_ready(child: Child, results: Results, bootstrap: str, topic: str, workload: Workload) -> None:
    """Probe each partition until one of the probes of each is answered, then until all are."""
    producer = new_producer(bootstrap, linger_ms=0)
    deadline = time.monotonic() + FIRST_RESULT_S
    answered: set[int] = set()
    sent = 0
    ready = False
    while not ready or len(answered) < sent:
        if not ready:
            for partition in range(PARTITIONS):
                send(producer, topic, workload.request(sent, "probe"), partition)
                sent += 1
            producer.flush(5)
        until = time.monotonic() + PROBE_S
        while time.monotonic() < until:
            if results.follow(PROBE_S / 4):
                numbers = (number_of(key_of(m), "probe") for m in results.arrivals[-1].messages)
                answered.update(number for number in numbers if number is not None)
        ready = {number % PARTITIONS for number in answered} == set(range(PARTITIONS))
        child.check()
        if time.monotonic() > deadline:
            cause = f"{child.name} answered {len(answered)} of {sent} probes in {FIRST_RESULT_S:g} s"
            raise CandidateFailed(cause, f"read {child.log_path}")


def _write_plan(
    path: Path, bootstrap: str, topic: str, workload: Workload, *, rate: float, seconds: float, seed: int
) -> None:
    made = [workload.request(number) for number in range(workload.variety)]
    plan = {
        "bootstrap": bootstrap,
        "topic": topic,
        "rate": rate,
        "seconds": seconds,
        "seed": seed,
        # Without the id's header, which the generator writes itself.
        "requests": [[one.value.hex(), [[name, text.hex()] for name, text in one.headers[1:]]] for one in made],
    }
    path.write_text(json.dumps(plan), encoding="utf-8")


@contextlib.contextmanager
def _generator(plan: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "penstock.bench.generate", str(plan)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(os.environ),
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
