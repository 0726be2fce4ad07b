"""Pooled servers on one queue (M/M/c): Erlang's formulas.

Symbols: a = lambda / mu = offered load in erlangs, c = servers, rho = a / c, B = blocking (loss), C = probability of
waiting. Assumptions: Poisson arrivals, exponential service, any free server takes the next one. A consumer group is
*not* that: its partitions make it separate queues. These figures are shown beside the partition-split ones as the
pooling loss. Sources: A. K. Erlang (1917); L. Kleinrock, Queueing Systems, vol. 1 (1975), sections 3.4 and 3.6.
"""

from __future__ import annotations

import math

from autoscaler.errors import UnstableQueue

_BISECTIONS = 60
#: Relative distance below which two rates count as equal; the formula between would cancel.
_EQUAL = 1e-6


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


def mean_wait_s(arrivals_per_s: float, services_per_s: float, servers: int) -> float:
    """Mean time of waiting, Wq = Lq / lambda = C / (c mu - lambda), in seconds.

    Raises:
        UnstableQueue: the load is not below the capacity.
    """
    waiting = waiting_probability(arrivals_per_s / services_per_s, servers)
    return waiting / (servers * services_per_s - arrivals_per_s)


def mean_sojourn_s(arrivals_per_s: float, services_per_s: float, servers: int) -> float:
    """Mean time in the system, W = Lq / lambda + 1 / mu, in seconds (`services_per_s` of one server).

    Raises:
        UnstableQueue: the load is not below the capacity.
    """
    return mean_wait_s(arrivals_per_s, services_per_s, servers) + 1 / services_per_s


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


def sojourn_exceeds(seconds: float, arrivals_per_s: float, services_per_s: float, servers: int) -> float:
    """P(time in the system > t): the service alone for those who do not wait, wait and service for the others.

    With theta = c mu - lambda: (1 - C) exp(-mu t) + C (theta exp(-mu t) - mu exp(-theta t)) / (theta - mu), and where
    theta = mu, (1 + C mu t) exp(-mu t).

    Raises:
        UnstableQueue: the load is not below the capacity.
    """
    waiting = waiting_probability(arrivals_per_s / services_per_s, servers)
    theta = servers * services_per_s - arrivals_per_s
    alone = math.exp(-services_per_s * seconds)
    if abs(theta - services_per_s) < _EQUAL * services_per_s:
        return (1 + waiting * services_per_s * seconds) * alone
    both = (theta * alone - services_per_s * math.exp(-theta * seconds)) / (theta - services_per_s)
    return (1 - waiting) * alone + waiting * both


def sojourn_quantile_s(arrivals_per_s: float, services_per_s: float, servers: int, q: float) -> float:
    """Time in the system that a part `q` (0-1) does not exceed, in seconds; by bisection.

    Raises:
        UnstableQueue: the load is not below the capacity.
        ValueError: q is not between 0 and 1.
    """
    if not 0 < q < 1:
        raise ValueError(f"q={q}: must be between 0 and 1, e.g. 0.99")
    low, high = 0.0, 1 / services_per_s
    while sojourn_exceeds(high, arrivals_per_s, services_per_s, servers) > 1 - q:
        low, high = high, 2 * high
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        within = sojourn_exceeds(middle, arrivals_per_s, services_per_s, servers) <= 1 - q
        low, high = (low, middle) if within else (middle, high)
    return high


def servers_for_blocking(erlangs: float, blocked: float, most: int) -> int | None:
    """Fewest servers with which at most a part `blocked` (0-1) is turned away (Erlang B); `None` = above `most`."""
    b = 1.0
    for servers in range(1, most + 1):
        b = erlangs * b / (servers + erlangs * b)
        if b <= blocked:
            return servers
    return None


def servers_for_wait(arrivals_per_s: float, services_per_s: float, within_s: float, q: float, most: int) -> int | None:
    """Fewest pooled servers whose wait is within `within_s` for a part `q`; `None` = more than `most`."""
    least = math.floor(arrivals_per_s / services_per_s) + 1
    for servers in range(least, most + 1):
        if wait_quantile_s(arrivals_per_s, services_per_s, servers, q) <= within_s:
            return servers
    return None
