"""The open-loop generator, a process of its own: `python -m penstock.bench.generate PLAN.npz`.

Sends each request when it is due and never waits for a result. It says `ready` on stdout, begins at the time (of the
monotonic clock) that it reads on stdin, and says at the end how late its own sends were.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import numpy as np

from penstock.bench.kafka_side import PARTITIONS, new_producer, send
from penstock.bench.schedule import arrivals
from penstock.bench.workload import Request

#: Longest wait for the last acknowledgements, in seconds.
FLUSH_S = 30.0
#: Below this many seconds a sleep is not worth its overhead.
SHORTEST_SLEEP_S = 0.0001


def main(path: Path) -> None:
    """Send by the plan: `bootstrap, topic, rate, seconds, seed` and the requests' values and headers."""
    plan = json.loads(path.read_text(encoding="utf-8"))
    due_s = arrivals(plan["rate"], plan["seconds"], plan["seed"])
    values = [
        (bytes.fromhex(value), [(name, bytes.fromhex(text)) for name, text in headers])
        for value, headers in plan["requests"]
    ]
    producer = new_producer(plan["bootstrap"], linger_ms=0)
    producer.list_topics(plan["topic"], timeout=FLUSH_S)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    begin = sys.stdin.readline()
    if not begin:
        return
    started_s, parent = float(begin), os.getppid()
    late_s = np.zeros(len(due_s))
    for number, at_s in enumerate(due_s + started_s):
        while (wait_s := at_s - time.monotonic()) > SHORTEST_SLEEP_S:
            time.sleep(wait_s)
        late_s[number] = time.monotonic() - at_s
        value, headers = values[number % len(values)]
        key = f"r{number}".encode()
        send(producer, plan["topic"], Request(key, value, [("request-id", key), *headers]), number % PARTITIONS)
        if os.getppid() != parent:
            return
    unsent = producer.flush(FLUSH_S)
    late_ms = float(np.percentile(late_s, 99) * 1000) if late_s.size else 0.0
    sys.stdout.write(json.dumps({"sent": len(due_s) - unsent, "late_p99_ms": late_ms}) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
