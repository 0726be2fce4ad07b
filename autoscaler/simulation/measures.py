"""What a run is judged by. Everything is counted from the end of the warm-up to the end of the load."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from autoscaler.simulation.arrivals import Load
    from autoscaler.simulation.run import Run
    from autoscaler.simulation.scenario import Scenario


@dataclass(frozen=True, slots=True)
class Measures:
    """Figures of one run."""

    policy: str
    #: Name of the load.
    trace: str
    #: Price of all workers alive, boots and drains included.
    cost: float
    #: `None` = no request counts.
    cost_over_fluid: float | None
    #: `None` = no clairvoyant schedule was computed, or none meets the objective.
    cost_over_clairvoyant: float | None
    #: Share of the requests later than the objective; one without an answer is late.
    violation: float
    #: Seconds from arrival to answer; `None` = the request at that place never had one.
    p50_s: float | None
    p99_s: float | None
    #: Changes of the declared fleet.
    scale_actions: int
    #: Seconds that partitions were not read in rebalances, summed over partitions.
    rebalance_pause_s: float
    #: Workers alive, over time.
    mean_workers: float
    max_workers: int
    #: 99th percentile of the time of a decision.
    decide_ms_p99: float


def measure(done: Run, *, clairvoyant_cost: float | None = None) -> Measures:
    """Judge a run.

    Args:
        done: The run.
        clairvoyant_cost: Of the schedule that knew the load, on the same scenario.
    """
    scenario, load = done.scenario, done.load
    warm_s = min(scenario.warm_up_s, load.length_s)
    counted = done.latencies_s[np.searchsorted(load.arrivals_s, warm_s) :]
    later = done.series.at_s >= warm_s
    running = done.series.running[later]
    bound = fluid_cost(load, scenario)
    return Measures(
        policy=done.policy,
        trace=load.name,
        cost=done.cost,
        cost_over_fluid=done.cost / bound if bound > 0 else None,
        cost_over_clairvoyant=done.cost / clairvoyant_cost if clairvoyant_cost else None,
        violation=float(np.mean(counted > scenario.objective_s)) if counted.size else 0.0,
        p50_s=_quantile(counted, 0.5),
        p99_s=_quantile(counted, 0.99),
        scale_actions=sum(change.at_s >= warm_s for change in done.changes),
        rebalance_pause_s=done.paused_s,
        mean_workers=float(running.mean()) if running.size else 0.0,
        max_workers=int(running.max()) if running.size else 0,
        decide_ms_p99=float(np.quantile(done.decide_s, 0.99)) * 1000 if done.decide_s.size else 0.0,
    )


def fluid_cost(load: Load, scenario: Scenario) -> float:
    """The price of serving every request at full batches on the cheapest type, nobody idle: no schedule costs less.

    The integral of rate / capacity x price an hour, from the warm-up's end on. A lower bound with whole workers,
    partitions, boots and randomness left out.
    """
    requests = load.arrivals_s.size - int(np.searchsorted(load.arrivals_s, min(scenario.warm_up_s, load.length_s)))
    return requests * min(kind.price_per_hour / 3600 / kind.curve.capacity_per_s for kind in scenario.worker_types)


def _quantile(latencies_s: np.ndarray[tuple[int, ...], np.dtype[np.float64]], q: float) -> float | None:
    if not latencies_s.size:
        return None
    # A latency that occurred; between a finite and an infinite one there is nothing.
    found = float(np.quantile(latencies_s, q, method="higher"))
    return found if math.isfinite(found) else None
