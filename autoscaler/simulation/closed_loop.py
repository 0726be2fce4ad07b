"""The policy against a simulated group: the same objects that run live, fed by a simulated tape."""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from autoscaler.latency import BUCKETS
from autoscaler.model import (
    LATENCY_BOUNDS_S,
    Action,
    ArrivalSample,
    FleetStatus,
    TelemetryRecord,
    WorkerReport,
    WorkerState,
)
from autoscaler.pipeline_state import PipelineState
from autoscaler.policies.penstock import PolicyState, decide
from autoscaler.simulation.group import Group, SimulatedWorker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from autoscaler.model import Decision, Objective, WorkerType
    from autoscaler.settings import PolicySettings

    Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one run."""

    #: Seconds from arrival to answer of each request.
    latencies_s: Floats
    decisions: tuple[Decision, ...]
    #: The records that the policy saw, in order.
    tape: tuple[TelemetryRecord, ...]
    #: Worker seconds from the first to the last arrival, boots included.
    worker_seconds: float

    def attainment(self, objective: Objective) -> float:
        """Part (0-1) of the requests answered in time; one without an answer is late."""
        return float(np.mean(np.nan_to_num(self.latencies_s, nan=np.inf) <= objective.within_s))

    def count(self, action: Action) -> int:
        """Decisions with this action."""
        return sum(decision.action is action for decision in self.decisions)


def run(
    arrivals_s: Sequence[float] | Floats,
    partition_of: Sequence[int] | NDArray[np.int64],
    *,
    partitions: int,
    kind: WorkerType,
    assumed: WorkerType | None = None,
    objective: Objective,
    settings: PolicySettings,
    pause_s: float = 0.5,
    warm_s: float | None = None,
    drain_s: float = 60.0,
) -> Outcome:
    """Run the policy against a simulated group.

    Args:
        arrivals_s: Arrival times in seconds, ascending, from 0; shape (n,).
        partition_of: Partition of each request; shape (n,).
        partitions: Number of partitions.
        kind: How workers truly are.
        assumed: What the policy believes of them until they report; `kind` when left out.
        objective: What is to be met.
        settings: Of the policy.
        pause_s: How long a moved partition is not read.
        warm_s: Seconds before the first arrival at which the smallest fleet is asked for; its boot and a second when
            left out.
        drain_s: Seconds after the last arrival that answers are waited for, with the last fleet.
    """
    lead_s = kind.boot_s + 1.0 if warm_s is None else warm_s
    end_s = float(np.max(arrivals_s)) if len(arrivals_s) else 0.0
    group = Group(
        arrivals_s,
        partition_of,
        partitions=partitions,
        curve=kind.curve,
        boot_s=kind.boot_s,
        pause_s=pause_s,
        start_s=-lead_s,
    )
    group.resize(kind.min_workers)
    group.advance(0.0)
    paid_before_s = group.worker_seconds()
    known = PipelineState("simulated", settings, (assumed or kind,))
    policy = PolicyState()
    decisions: list[Decision] = []
    tape: list[TelemetryRecord] = []
    declared = kind.min_workers
    told = np.zeros(len(group.latencies_s), dtype=bool)
    ticks = int(np.ceil(end_s / settings.tick_s))
    for tick in range(ticks + 1):
        now_s = tick * settings.tick_s
        group.advance(now_s)
        records = _records(group, kind, declared, told, np.asarray(arrivals_s, dtype=np.float64))
        for record in records:
            known.apply(record, len(tape))
            tape.append(record)
        decision, policy = decide(known.observe(now_s), settings, known.worker_types(), objective, policy)
        decisions.append(decision)
        if not decision.advisory:
            declared = decision.fleet[kind.name]
            group.resize(declared)
    paid_s = group.worker_seconds() - paid_before_s
    group.advance(group.now_s + drain_s)
    return Outcome(group.latencies_s, tuple(decisions), tuple(tape), paid_s)


def _records(
    group: Group, kind: WorkerType, declared: int, told: NDArray[np.bool_], arrivals_s: Floats
) -> list[TelemetryRecord]:
    """What a sampler and the workers would write at this moment."""
    answered = ~told & (arrivals_s + np.nan_to_num(group.latencies_s, nan=np.inf) <= group.now_s)
    told |= answered
    counts = [0] * BUCKETS
    for seconds in group.latencies_s[answered]:
        counts[bisect.bisect_left(LATENCY_BOUNDS_S, seconds)] += 1
    records: list[TelemetryRecord] = []
    for worker in group.workers:
        # Which worker answered does not matter to the policy; the first one tells for all.
        own = tuple(counts) if not records else (0,) * BUCKETS
        records.append(_report(group, worker, kind, own))
    status = FleetStatus(declared={kind.name: declared}, running={kind.name: len(group.workers)})
    records.append(ArrivalSample("simulated", group.now_s, group.end_offsets(), group.committed(), status))
    return records


def _report(group: Group, worker: SimulatedWorker, kind: WorkerType, counts: tuple[int, ...]) -> WorkerReport:
    ready = worker.ready_at_s <= group.now_s
    return WorkerReport(
        pipeline="simulated",
        worker=worker.name,
        worker_type=kind.name,
        device=kind.device,
        at_s=group.now_s,
        pid=1,
        host="simulated",
        state=WorkerState.READY if ready else WorkerState.STARTING,
        asked_at_s=worker.asked_at_s,
        ready_at_s=worker.ready_at_s if ready else None,
        partitions=tuple(sorted(worker.partitions)),
        batches=worker.batches,
        rows=worker.rows,
        ok=worker.rows,
        failed=0,
        expired=0,
        busy_s=worker.busy_s,
        curve=kind.curve if ready else None,
        latency_counts=counts,
        rebalances=0,
        retraces=0,
        model_version="1",
    )
