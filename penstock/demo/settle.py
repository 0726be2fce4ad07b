"""From what a run left behind to its outcome: the ledger, the history, the cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from autoscaler.model import WorkerReport
from penstock.demo.history import history
from penstock.demo.ledger import Sent, audit, checks
from penstock.demo.outcome import Outcome, cost_of
from penstock.demo.scenario import MOST_WORKERS, PARTITIONS, PIPELINE
from penstock.demo.traffic import request_id, request_number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from autoscaler.model import ServiceCurve, TelemetryRecord
    from penstock.demo.contents import Contents
    from penstock.demo.digits import Digits
    from penstock.demo.scenario import Scenario
    from penstock.demo.traffic import TrafficLog


def settle(
    made: Scenario,
    digits: Digits,
    *,
    pictures: NDArray[np.int64],
    traffic: TrafficLog,
    contents: Contents,
    tape: Sequence[TelemetryRecord],
    decisions: Sequence[Mapping[str, Any]],
) -> Outcome:
    """Put a finished run together.

    Args:
        made: what was to be done.
        digits: the model and its pictures.
        pictures: number of each request's picture, (n,).
        traffic: what the traffic process did and saw.
        contents: what stands in the topics.
        tape: the telemetry topic.
        decisions: from Redis.
    """
    arrivals = made.arrivals
    intended_at_s = traffic.started_at_s + arrivals.times_s
    received_at_s = traffic.received_at_s
    sent = [
        Sent(
            request_id=request_id(i),
            label=int(digits.labels[picture]),
            expected=digits.expected[picture],
            intended_at_s=float(intended_at_s[i]),
            acknowledged=bool(traffic.acknowledged[i]),
            received_at_s=None if np.isnan(received_at_s[i]) else float(received_at_s[i]),
        )
        for i, picture in enumerate(pictures)
    ]
    found = audit(
        sent,
        requests=contents.requests,
        answers=contents.answers,
        dead_letters=contents.dead_letters,
        within_s=made.objective.within_s,
    )
    past = history(tape, decisions, traffic.started_at_s, PIPELINE)
    curve = curve_of(made, tape)
    cost = cost_of(
        past,
        arrivals,
        partition_of=partitions_of(contents, len(arrivals.times_s)),
        partitions=PARTITIONS,
        curve=curve,
        objective=made.objective,
        max_workers=MOST_WORKERS,
    )
    scaling = made.expects_scaling
    answered = ~np.isnan(received_at_s)
    return Outcome(
        arrivals=arrivals,
        objective=made.objective,
        device=made.worker_type.device,
        curve=curve,
        partitions=PARTITIONS,
        model_accuracy=digits.accuracy,
        audit=found,
        checks=checks(
            found,
            share=made.objective.share,
            scale_ups=cost.scale_ups if scaling else None,
            scale_downs=cost.scale_downs if scaling else None,
        ),
        history=past,
        cost=cost,
        started_at_s=traffic.started_at_s,
        answered_at_s=arrivals.times_s[answered],
        latency_ms=(received_at_s - intended_at_s)[answered] * 1000,
        lateness_p99_ms=traffic.lateness_p99_ms(arrivals.times_s),
    )


def curve_of(made: Scenario, tape: Sequence[TelemetryRecord]) -> ServiceCurve:
    """The service curve behind capacity and cost: stated for emulated devices, the newest fitted one otherwise."""
    if made.worker_type.device == "emulated":
        return made.worker_type.curve
    fitted = [record.curve for record in tape if isinstance(record, WorkerReport) and record.curve is not None]
    return fitted[-1] if fitted else made.worker_type.curve


def partitions_of(contents: Contents, count: int) -> NDArray[np.int64] | None:
    """Partition of each request in the order of their numbers; `None` = not all are in the topic."""
    found = np.full(count, -1, dtype=np.int64)
    for name, partition in zip(contents.requests, contents.partitions, strict=True):
        number = request_number(name)
        if number is not None and number < count:
            found[number] = partition
    return None if (found < 0).any() else found
