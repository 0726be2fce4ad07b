"""A made-up run for the tests of report, summary and history."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import pytest

from autoscaler.model import (
    ArrivalSample,
    FleetStatus,
    Objective,
    ServiceCurve,
    TelemetryRecord,
    WorkerReport,
    WorkerState,
)
from penstock.demo.arrivals import Arrivals, generated
from penstock.demo.history import history
from penstock.demo.ledger import Answer, Sent, audit, checks
from penstock.demo.outcome import Outcome, cost_of

START = 1_000.0
CURVE = ServiceCurve(0.02, 0.02, 8)
OBJECTIVE = Objective(2.0, 0.95)


class Forgery(Protocol):
    """Makes up a finished run."""

    def __call__(self, duration_s: float = ..., *, lose: int = ..., with_decisions: bool = ...) -> Outcome:
        """A run of so many seconds in which so many requests were lost."""


@pytest.fixture
def forge() -> Forgery:
    """Makes up a finished run."""
    return outcome


def fleet_at(second: float, duration_s: float) -> int:
    """A fleet that follows the pattern a little late."""
    share = second / duration_s
    return 2 if share < 0.3 else 3 if share < 0.42 else 6 if share < 0.78 else 4 if share < 0.9 else 2


def tape(arrivals: Arrivals) -> list[TelemetryRecord]:
    """Telemetry as a run with that fleet would leave it: a sample and a report of each worker every second."""
    out: list[TelemetryRecord] = []
    for second in range(int(arrivals.duration_s) + 1):
        entered = int(np.searchsorted(arrivals.times_s, second))
        waiting = 3 + (150 if 0.4 < second / arrivals.duration_s < 0.44 else 0)
        count = fleet_at(second, arrivals.duration_s)
        fleet = FleetStatus({"emulated": count}, {"emulated": count})
        committed = {0: max(0, entered - waiting)}
        out.append(ArrivalSample("digits", START + second, {0: entered}, committed, fleet))
        out += [report(f"digits-emulated-{slot}", second) for slot in range(count)]
    return out


def report(worker: str, second: float) -> WorkerReport:
    """What a ready worker says."""
    return WorkerReport(
        pipeline="digits",
        worker=worker,
        worker_type="emulated",
        device="emulated",
        at_s=START + second,
        pid=1,
        host="here",
        state=WorkerState.READY,
        asked_at_s=START - 3,
        ready_at_s=START - 1,
        partitions=(0,),
        batches=1,
        rows=1,
        ok=1,
        failed=0,
        expired=0,
        busy_s=0.0,
        curve=CURVE,
        latency_counts=(),
        rebalances=0,
        retraces=0,
        model_version="1",
    )


def decisions(arrivals: Arrivals) -> list[dict[str, object]]:
    """One decision a second with a band around the rate."""
    counts = arrivals.per_bin(1.0)
    out: list[dict[str, object]] = []
    for second, count in enumerate(counts):
        fleet = fleet_at(second, arrivals.duration_s)
        upper = float(np.mean(counts[max(0, second - 5) : second + 1])) * 1.25 + 6
        out.append(
            {
                "at_s": START + second,
                "action": "hold",
                "fleet": {"emulated": fleet},
                "reason": f"{fleet} needed for <{upper:.1f}/s>",
                "bound": "plan",
                "advisory": False,
                "forecast": {
                    "horizon_s": 3.0,
                    "lower_per_s": upper / 2,
                    "upper_per_s": upper,
                    "mean_per_s": 1.0 * count,
                },
            }
        )
    return out


def outcome(duration_s: float = 150.0, *, lose: int = 0, with_decisions: bool = True) -> Outcome:
    """A run in which all went well but for `lose` requests."""
    arrivals = generated(duration_s, peak_per_s=160, seed=1)
    rng = np.random.default_rng(0)
    count = len(arrivals.times_s)
    late = np.where((arrivals.times_s / duration_s > 0.4) & (arrivals.times_s / duration_s < 0.44), 1500.0, 0.0)
    latency = rng.gamma(4.0, 40.0, count) + 60 + late
    one = [np.array([float(digit == i) for i in range(10)], dtype=np.float32) for digit in range(10)]
    sent = [
        Sent(f"demo-{i}", i % 10, one[i % 10], at, acknowledged=True, received_at_s=at + latency[i] / 1000)
        for i, at in enumerate(START + arrivals.times_s)
    ]
    answers = [Answer(f"demo-{i}", "ok", one[i % 10]) for i in range(count - lose)]
    found = audit(
        sent, requests=[s.request_id for s in sent], answers=answers, dead_letters=[], within_s=OBJECTIVE.within_s
    )
    past = history(tape(arrivals), decisions(arrivals) if with_decisions else [], START, "digits")
    cost = cost_of(past, arrivals, partition_of=None, partitions=12, curve=CURVE, objective=OBJECTIVE, max_workers=8)
    return Outcome(
        arrivals=arrivals,
        objective=OBJECTIVE,
        device="emulated",
        curve=CURVE,
        partitions=12,
        model_accuracy=0.985,
        audit=found,
        checks=checks(found, share=OBJECTIVE.share, scale_ups=cost.scale_ups, scale_downs=cost.scale_downs),
        history=past,
        cost=cost,
        started_at_s=START,
        answered_at_s=arrivals.times_s,
        latency_ms=latency,
        lateness_p99_ms=1.5,
    )
