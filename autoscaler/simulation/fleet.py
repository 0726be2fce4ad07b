"""A fixed fleet, request by request: which latency would each request have had with c workers?

Exact for its model: partitions belong to workers in even contiguous ranges, a free worker takes what waits in its
partitions in order of arrival, at most `max_batch`, and answers it `a + b * n` seconds later. No boot, no rebalance, no
broker; `overhead_s` stands for what a request needs besides waiting and service (poll, commit).
"""

from __future__ import annotations

import bisect
import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from autoscaler.model import Objective, ServiceCurve

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


def owners(partitions: int, workers: int) -> Ints:
    """Worker (0 to workers - 1) of each partition: contiguous ranges whose sizes differ by at most 1."""
    if partitions < 1 or workers < 1:
        raise ValueError(f"partitions={partitions}, workers={workers}: both must be at least 1")
    return np.arange(partitions, dtype=np.int64) * min(workers, partitions) // partitions


def spread(count: int, partitions: int, seed: int) -> Ints:
    """Partitions of `count` requests whose keys are many and alike: uniform at random, the same for the same seed."""
    return np.random.default_rng(seed).integers(0, partitions, size=count)


def queue_latencies_s(arrivals_s: Sequence[float], curve: ServiceCurve) -> list[float]:
    """Seconds from arrival to answer on one worker, in order of arrival.

    Args:
        arrivals_s: Arrival times in seconds, ascending.
        curve: The worker's service curve.
    """
    times = list(arrivals_s)
    out: list[float] = []
    free_s = -math.inf
    first, count = 0, len(times)
    while first < count:
        start_s = max(free_s, times[first])
        # Self-clocking: what has arrived by now, at most a batch.
        last = bisect.bisect_right(times, start_s, first, min(count, first + curve.max_batch))
        free_s = start_s + curve.seconds(last - first)
        out.extend(free_s - arrived_s for arrived_s in times[first:last])
        first = last
    return out


def latencies_s(
    arrivals_s: Sequence[float] | Floats,
    partition_of: Sequence[int] | Ints,
    *,
    partitions: int,
    workers: int,
    curve: ServiceCurve,
    overhead_s: float = 0.0,
) -> Floats:
    """Seconds from arrival to answer of each request with a fixed fleet of `workers`.

    Args:
        arrivals_s: Arrival times in seconds, in any order; shape (n,).
        partition_of: Partition of each request, 0 to partitions - 1; shape (n,).
        partitions: Number of partitions.
        workers: Number of workers; those beyond `partitions` stay idle.
        curve: Service curve of each.
        overhead_s: Seconds added to each latency.

    Returns:
        Latencies in the order of `arrivals_s`, shape (n,).
    """
    times = np.asarray(arrivals_s, dtype=np.float64)
    owner = owners(partitions, workers)[np.asarray(partition_of, dtype=np.int64)]
    out = np.empty(times.size)
    for worker in range(min(workers, partitions)):
        mine = np.flatnonzero(owner == worker)
        mine = mine[np.argsort(times[mine], kind="stable")]
        out[mine] = queue_latencies_s(times[mine].tolist(), curve)
    return out + overhead_s


def attainment(latencies: Floats, objective: Objective) -> float:
    """Part (0-1) of the requests answered within the objective's time; 1 when there are none."""
    return float(np.mean(latencies <= objective.within_s)) if latencies.size else 1.0


def smallest_fixed_fleet(
    arrivals_s: Sequence[float] | Floats,
    partitions: int,
    curve: ServiceCurve,
    objective: Objective,
    max_workers: int,
    *,
    partition_of: Sequence[int] | Ints | None = None,
    overhead_s: float = 0.0,
    seed: int = 0,
) -> tuple[int, float]:
    """The smallest fixed fleet that would have met the objective on these arrivals, known in hindsight.

    Args:
        arrivals_s: Arrival times in seconds, shape (n,).
        partitions: Number of partitions.
        curve: Service curve of each worker.
        objective: Share of requests and their time.
        max_workers: Most workers tried.
        partition_of: Partition of each request, shape (n,); drawn uniformly with `seed` when left out.
        overhead_s: Seconds added to each latency (poll, commit).
        seed: Of that draw.

    Returns:
        Workers and the attainment (0-1) with them. When not even `max_workers` meet the objective, those and their
        attainment, which is then below `objective.share`.
    """
    times = np.asarray(arrivals_s, dtype=np.float64)
    if partition_of is None:
        partition_of = spread(times.size, partitions, seed)
    most = max(1, min(max_workers, partitions))
    tried, met = 1, 1.0
    for workers in range(1, most + 1):
        # More workers with as many partitions on the busiest are no better (see queueing.split); leave those out.
        if workers > 1 and math.ceil(partitions / workers) == math.ceil(partitions / (workers - 1)):
            continue
        found = latencies_s(
            times, partition_of, partitions=partitions, workers=workers, curve=curve, overhead_s=overhead_s
        )
        tried, met = workers, attainment(found, objective)
        if met >= objective.share:
            break
    return tried, met
