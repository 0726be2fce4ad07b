"""What a simulated worker would write about itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoscaler.model import WorkerReport, WorkerState

if TYPE_CHECKING:
    from autoscaler.simulation.engine import SimulatedWorker


def report(
    worker: SimulatedWorker, at_s: float, partitions: tuple[int, ...], latency_counts: tuple[int, ...]
) -> WorkerReport:
    """The worker's report at `at_s`.

    Args:
        worker: With its counters up to date.
        at_s: Simulated seconds.
        partitions: That it owns.
        latency_counts: Of the answers since its last report.
    """
    ready = worker.ready_at_s <= at_s
    return WorkerReport(
        pipeline="simulated",
        worker=worker.name,
        worker_type=worker.kind.name,
        device="emulated",
        at_s=at_s,
        pid=1,
        host="simulated",
        state=WorkerState.READY if ready else WorkerState.STARTING,
        asked_at_s=worker.asked_at_s,
        ready_at_s=worker.ready_at_s if ready else None,
        partitions=partitions,
        batches=worker.batches,
        rows=worker.rows,
        ok=worker.rows,
        failed=0,
        expired=0,
        busy_s=worker.busy_s,
        curve=worker.kind.curve if ready else None,
        latency_counts=latency_counts,
        rebalances=0,
        retraces=0,
        model_version="1",
    )
