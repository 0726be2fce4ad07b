"""Pooled servers on one queue (M/M/c): Erlang's formulas.

Symbols: a = lambda / mu = offered load in erlangs, c = servers, rho = a / c, B = blocking (loss), C = probability of
waiting. Assumptions: Poisson arrivals, exponential service, any free server takes the next one. A consumer group is
*not* that: its partitions make it separate queues. These figures are shown beside the partition-split ones as the
pooling loss. Sources: A. K. Erlang (1917); L. Kleinrock, Queueing Systems, vol. 1 (1975), sections 3.4 and 3.6.
"""

from __future__ import annotations

import math

from autoscaler.errors import UnstableQueue


def blocking(erlangs: float, servers: int) -> float:
    """Erlang B: part of the arrivals that finds all `servers` busy when none may wait (M/M/c/c).

    By the recursion B(0) = 1, B(k) = a B(k-1) / (k + a B(k-1)), which neither overflows nor cancels.
    """
    if erlangs < 0 or servers < 0:
        raise ValueError(f"erlangs={erlangs}, servers={servers}: both must be at least 0")
    b = 1.0
    for k in range(1, servers + 1):
        b = erlangs * b / (k + erlangs * b)
    return b


def waiting_probability(erlangs: float, servers: int) -> float:
    """Erlang C: part of the arrivals that must wait, C = B / (1 - rho (1 - B)).

    Raises:
        UnstableQueue: erlangs >= servers.
    """
    if servers < 1 or erlangs >= servers:
        raise UnstableQueue(f"erlangs={erlangs} >= servers={servers}: no steady state; add servers")
    b = blocking(erlangs, servers)
    return b / (1 - erlangs / servers * (1 - b))


def mean_queue(erlangs: float, servers: int) -> float:
    """Mean number waiting, Lq = C rho / (1 - rho), equal to P0 a^c rho / (c! (1 - rho)^2).

    Raises:
        UnstableQueue: erlangs >= servers.
    """
    rho = erlangs / servers if servers else 1.0
    return waiting_probability(erlangs, servers) * rho / (1 - rho)


def mean_sojourn_s(arrivals_per_s: float, services_per_s: float, servers: int) -> float:
    """Mean time in the system, W = Lq / lambda + 1 / mu, in seconds (`services_per_s` of one server).

    Raises:
        UnstableQueue: the load is not below the capacity.
    """
    if arrivals_per_s == 0:
        return 1 / services_per_s
    return mean_queue(arrivals_per_s / services_per_s, servers) / arrivals_per_s + 1 / services_per_s


def wait_quantile_s(arrivals_per_s: float, services_per_s: float, servers: int, q: float) -> float:
    """Waiting time (without service) that a part `q` (0-1) does not exceed, in seconds.

    P(wait > t) = C exp(-(c mu - lambda) t); 0 where fewer than 1 - q wait at all.

    Raises:
        UnstableQueue: the load is not below the capacity.
    """
    if not 0 < q < 1:
        raise ValueError(f"q={q}: must be between 0 and 1, e.g. 0.99")
    waiting = waiting_probability(arrivals_per_s / services_per_s, servers)
    if waiting <= 1 - q:
        return 0.0
    return math.log(waiting / (1 - q)) / (servers * services_per_s - arrivals_per_s)


def servers_for_wait(arrivals_per_s: float, services_per_s: float, within_s: float, q: float, most: int) -> int | None:
    """Fewest pooled servers whose wait is within `within_s` for a part `q`; `None` = more than `most`."""
    least = math.floor(arrivals_per_s / services_per_s) + 1
    for servers in range(least, most + 1):
        if wait_quantile_s(arrivals_per_s, services_per_s, servers, q) <= within_s:
            return servers
    return None
