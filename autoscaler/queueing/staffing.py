"""How many servers: square-root staffing of a pool, separate queues of whole partitions, and what the split costs.

Symbols: lambda = arrivals a second, mu = services a second of one server, R = lambda / mu = offered load in erlangs, c
= servers, beta = (c - R) / sqrt R = safety, alpha = probability of waiting, sigma(c) = share of the load on the busiest
of c workers (`split`).
Sources: S. Halfin and W. Whitt, "Heavy-traffic limits for queues with many exponential servers", Operations Research 29
(1981); the rest is defined here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

from autoscaler.errors import UnstableQueue
from autoscaler.queueing import batch, erlang, mm1, split

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autoscaler.model import Objective, ServiceCurve

_NORMAL = NormalDist()
_BISECTIONS = 60


def square_root_servers(erlangs: float, beta: float) -> int:
    """C = ceil(R + beta sqrt R) servers for a pool; at least 1.

    Assumptions: M/M/c in many servers (R of ten or more); at small R it errs by a server.

    Args:
        erlangs: R >= 0.
        beta: Safety > 0. At 0 and below a pool has no steady state.

    Raises:
        UnstableQueue: beta <= 0.
        ValueError: erlangs is below 0.
    """
    if erlangs < 0:
        raise ValueError(f"erlangs={erlangs}: must be at least 0")
    if beta <= 0:
        raise UnstableQueue(f"beta={beta}: R servers or fewer have no steady state; give a safety above 0, e.g. 1")
    return max(1, math.ceil(erlangs + beta * math.sqrt(erlangs) - 1e-9))


def waiting_probability(beta: float) -> float:
    """Alpha = 1 / (1 + beta Phi(beta) / phi(beta)): the part that waits in a large pool staffed with `beta`.

    Raises:
        UnstableQueue: beta <= 0.
    """
    if beta <= 0:
        raise UnstableQueue(f"beta={beta}: R servers or fewer have no steady state; give a safety above 0, e.g. 1")
    return 1 / (1 + beta * _NORMAL.cdf(beta) / _NORMAL.pdf(beta))


def safety(waiting: float) -> float:
    """The beta with which a part `waiting` (0-1) of the arrivals waits: the inverse of `waiting_probability`.

    Raises:
        ValueError: waiting is not between 0 and 1.
    """
    if not 0 < waiting < 1:
        raise ValueError(f"waiting={waiting}: must be between 0 and 1, e.g. 0.2")
    low, high = 0.0, 1.0
    while waiting_probability(high) > waiting:
        high *= 2
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if waiting_probability(middle) > waiting else (low, middle)
    return high


def split_workers(
    arrivals_per_s: float, services_per_s: float, within_s: float, q: float, shares: Sequence[float]
) -> int | None:
    """Fewest workers with whole partitions of which the busiest keeps a part `q` within `within_s`; M/M/1 each.

    Solves -ln(1 - q) / (mu - sigma(c) lambda) <= within for the time in the system.

    Args:
        arrivals_per_s: lambda in sum.
        services_per_s: mu of one worker.
        within_s: Seconds, wait and service.
        q: Part, 0-1.
        shares: Of the partitions, largest first, in sum 1 (`split.smoothed_shares`).

    Returns:
        `None` where one worker a partition is too few.
    """
    for workers in split.useful_counts(shares):
        busiest_per_s = split.busiest_share(shares, workers) * arrivals_per_s
        if busiest_per_s < services_per_s and mm1.sojourn_quantile_s(busiest_per_s, services_per_s, q) <= within_s:
            return workers
    return None


def split_batch_workers(
    arrivals_per_s: float, curve: ServiceCurve, objective: Objective, shares: Sequence[float], utilisation: float = 1.0
) -> int | None:
    """The same for workers that serve batches: the fewest of which the busiest has at most `batch.highest_rate`.

    Args:
        arrivals_per_s: lambda in sum.
        curve: Service curve of each worker.
        objective: Share of requests and their time.
        shares: Of the partitions, largest first.
        utilisation: Most of a worker's capacity that is used, 0-1.
    """
    most_per_s = batch.highest_rate(curve, objective, utilisation)
    for workers in split.useful_counts(shares):
        if split.busiest_share(shares, workers) * arrivals_per_s <= most_per_s:
            return workers
    return None


@dataclass(frozen=True, slots=True)
class PoolingLoss:
    """What whole partitions cost against one pooled queue."""

    #: Servers of one pooled M/M/c queue; `None` = never fast enough.
    pooled: int | None
    #: Workers with whole partitions; `None` = one a partition is too few.
    separate: int | None

    @property
    def workers(self) -> int | None:
        """More workers, since partitions are not shared; `None` where one of both is not known."""
        return None if self.pooled is None or self.separate is None else self.separate - self.pooled


def pooling_loss(
    arrivals_per_s: float, services_per_s: float, within_s: float, q: float, shares: Sequence[float]
) -> PoolingLoss:
    """Pooled servers and separate workers whose time in the system is within `within_s` for a part `q`.

    The same objective for both: a text book that compares a wait here and a time in the system there hides the loss.

    Args:
        arrivals_per_s: lambda in sum.
        services_per_s: mu of one server.
        within_s: Seconds, wait and service.
        q: Part, 0-1.
        shares: Of the partitions, largest first.
    """
    least = math.floor(arrivals_per_s / services_per_s) + 1
    pooled = next(
        (
            servers
            for servers in range(least, 2 * least + 50)
            if erlang.sojourn_quantile_s(arrivals_per_s, services_per_s, servers, q) <= within_s
        ),
        None,
    )
    return PoolingLoss(pooled, split_workers(arrivals_per_s, services_per_s, within_s, q, shares))
