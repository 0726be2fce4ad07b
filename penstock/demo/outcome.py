"""A finished run as one value: what the verdict, the figures and the summary are made from."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING

from autoscaler.simulation.fleet import smallest_fixed_fleet
from penstock.demo.history import extremes, seconds_above

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from autoscaler.model import Objective, ServiceCurve
    from penstock.demo.arrivals import Arrivals
    from penstock.demo.history import History, Numbers
    from penstock.demo.ledger import Audit, Check

#: Distributions whose versions are worth knowing beside the figures.
VERSIONS = (
    "penstock",
    "kafka-python",
    "tensorflow",
    "tensorflow-cpu",
    "faust-streaming",
    "statsmodels",
    "numpy",
    "redis",
)


@dataclass(frozen=True, slots=True)
class Cost:
    """What the fleet cost, beside a fixed one."""

    workers_min: int
    workers_max: int
    scale_ups: int
    scale_downs: int
    #: Integral of running workers over the load, in worker-seconds.
    worker_seconds: float
    #: The smallest fixed fleet that meets the objective on the same arrivals: in hindsight, and without any overhead.
    fixed_workers: int
    fixed_worker_seconds: float
    #: Its attainment; below the share when even the largest fleet is too small.
    fixed_attainment: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything a finished run leaves behind."""

    arrivals: Arrivals
    objective: Objective
    device: str
    #: Service curve of a worker: stated for emulated devices, fitted by the workers otherwise.
    curve: ServiceCurve
    partitions: int
    model_accuracy: float
    audit: Audit
    checks: tuple[Check, ...]
    history: History
    cost: Cost
    #: When the load began, Unix seconds.
    started_at_s: float
    #: Intended send of each answered request in seconds since the start, (n,), and its latency in ms, (n,).
    answered_at_s: Numbers
    latency_ms: Numbers
    #: How late the generator itself was, 99th percentile in ms.
    lateness_p99_ms: float | None

    @property
    def green(self) -> bool:
        """Whether every check holds."""
        return all(check.ok for check in self.checks)

    @property
    def device_words(self) -> str:
        """The device as it is named wherever a number of it is shown."""
        curve = self.curve
        times = f"{curve.a_s * 1000:.3g} ms + {curve.b_s * 1000:.3g} ms a row, up to {curve.max_batch} rows"
        if self.device == "emulated":
            return f"emulated device: real answers, each batch held for {times} ({curve.capacity_per_s:.1f}/s)"
        return f"{self.device}; fitted curve {times} ({curve.capacity_per_s:.1f}/s)"


def cost_of(
    history: History,
    arrivals: Arrivals,
    *,
    partition_of: Sequence[int] | NDArray[np.int64] | None,
    partitions: int,
    curve: ServiceCurve,
    objective: Objective,
    max_workers: int,
) -> Cost:
    """Worker-seconds of the run beside those of the smallest fixed fleet.

    Args:
        history: the run.
        arrivals: what was sent.
        partition_of: partition of each request, in the order of `arrivals`; `None` = drawn.
        partitions: of the requests topic.
        curve: of each worker.
        objective: what must hold.
        max_workers: most workers of a fixed fleet.
    """
    end_s = arrivals.duration_s
    fleet = extremes(history.running, 0.0, end_s) or (0, 0)
    inside = [change for change in history.changes if 0 <= change.at_s <= end_s]
    fixed, attained = smallest_fixed_fleet(
        arrivals.times_s, partitions, curve, objective, max_workers, partition_of=partition_of
    )
    return Cost(
        workers_min=fleet[0],
        workers_max=fleet[1],
        scale_ups=sum(change.action == "scale-up" for change in inside),
        scale_downs=sum(change.action == "scale-down" for change in inside),
        worker_seconds=seconds_above(history.running, 0.0, end_s),
        fixed_workers=fixed,
        fixed_worker_seconds=fixed * end_s,
        fixed_attainment=attained,
    )


def summary(outcome: Outcome) -> dict[str, object]:
    """The content of `summary.json`; what is not known is null."""
    audit, cost = outcome.audit, outcome.cost
    return {
        "verdict": "green" if outcome.green else "red",
        "sent": audit.sent,
        "results": audit.results,
        "ok": audit.ok,
        "failed": audit.failed,
        "expired": audit.expired,
        "lost": len(audit.lost),
        "duplicated": len(audit.duplicated),
        "accuracy": _rounded(audit.accuracy, 6),
        "p50_ms": _rounded(audit.percentile_ms(50)),
        "p90_ms": _rounded(audit.percentile_ms(90)),
        "p99_ms": _rounded(audit.percentile_ms(99)),
        "max_ms": _rounded(audit.percentile_ms(100)),
        "objective_ms": _rounded(outcome.objective.within_s * 1000),
        "objective_share": outcome.objective.share,
        "attainment": _rounded(audit.attainment, 6),
        "workers_min": cost.workers_min,
        "workers_max": cost.workers_max,
        "scale_ups": cost.scale_ups,
        "scale_downs": cost.scale_downs,
        "worker_seconds": _rounded(cost.worker_seconds),
        "fixed_fleet_worker_seconds": _rounded(cost.fixed_worker_seconds),
        "fixed_fleet_workers": cost.fixed_workers,
        "fixed_fleet_attainment": _rounded(cost.fixed_attainment, 6),
        "device": outcome.device,
        "device_description": outcome.device_words,
        "arrivals": outcome.arrivals.kind,
        "arrivals_description": outcome.arrivals.description,
        "arrivals_facts": dict(outcome.arrivals.facts),
        "seconds": outcome.arrivals.duration_s,
        "mean_per_s": _rounded(outcome.arrivals.mean_per_s),
        "partitions": outcome.partitions,
        "worker_start_s": _rounded(outcome.history.start_s),
        "generator_lateness_p99_ms": _rounded(outcome.lateness_p99_ms),
        "latency_definition": "intended send to the moment a read_committed reader had the result",
        "model_held_out_accuracy": _rounded(outcome.model_accuracy, 6),
        "checks": [{"name": c.name, "found": c.found, "wanted": c.wanted, "ok": c.ok} for c in outcome.checks],
        "started_at_s": outcome.started_at_s,
        "machine": machine(),
        "versions": versions(),
    }


def machine() -> dict[str, object]:
    """What the figures were made on."""
    return {
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "architecture": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def versions() -> dict[str, str]:
    """Python and the libraries that matter; what is not installed is left out."""
    found = {"python": platform.python_version()}
    for name in VERSIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _rounded(value: float | None, digits: int = 2) -> float | None:
    return None if value is None else round(value, digits)
