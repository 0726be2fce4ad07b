"""Separate M/M/1 queues: Poisson arrivals, exponential service, one server each, first come first served.

Symbols: lambda = arrivals a second (of one queue), mu = services a second of its server, rho = lambda / mu < 1.
Source: L. Kleinrock, Queueing Systems, vol. 1 (1975), section 3.2.

The text-book shortcut T = 1 / (mu - lambda / n) for n workers is this queue, n times, with the load split evenly. It is
*not* the M/M/n queue, and it means nothing where lambda / n >= mu: at lambda = 100, mu = 20 there is no steady state
for n <= 5.
"""

from __future__ import annotations

import math

from autoscaler.errors import UnstableQueue


def mean_sojourn_s(arrivals_per_s: float, services_per_s: float) -> float:
    """Mean time in the system, T = 1 / (mu - lambda), in seconds.

    Raises:
        UnstableQueue: arrivals_per_s >= services_per_s; the queue grows for ever.
    """
    return 1 / (services_per_s - _checked(arrivals_per_s, services_per_s))


def mean_wait_s(arrivals_per_s: float, services_per_s: float) -> float:
    """Mean wait without service, Wq = rho / (mu - lambda), in seconds.

    Raises:
        UnstableQueue: arrivals_per_s >= services_per_s.
    """
    return mean_sojourn_s(arrivals_per_s, services_per_s) - 1 / services_per_s


def mean_queue(arrivals_per_s: float, services_per_s: float) -> float:
    """Mean number waiting, Lq = rho^2 / (1 - rho).

    Raises:
        UnstableQueue: arrivals_per_s >= services_per_s.
    """
    return mean_wait_s(arrivals_per_s, services_per_s) * arrivals_per_s


def separate_mean_sojourn_s(arrivals_per_s: float, services_per_s: float, servers: int) -> float:
    """Mean time in the system of n separate queues with the load split evenly, T = 1 / (mu - lambda / n), in seconds.

    Args:
        arrivals_per_s: lambda in sum over the queues.
        services_per_s: mu of one server.
        servers: n >= 1.

    Raises:
        UnstableQueue: lambda / n >= mu.
        ValueError: fewer than one server.
    """
    if servers < 1:
        raise ValueError(f"servers={servers}: must be at least 1")
    return mean_sojourn_s(arrivals_per_s / servers, services_per_s)


def sojourn_quantile_s(arrivals_per_s: float, services_per_s: float, q: float) -> float:
    """Time in the system that a part `q` (0-1) does not exceed: -ln(1 - q) * T, since it is exponential with mean T.

    Raises:
        UnstableQueue: arrivals_per_s >= services_per_s.
        ValueError: q is not between 0 and 1.
    """
    if not 0 < q < 1:
        raise ValueError(f"q={q}: must be between 0 and 1, e.g. 0.99")
    return -math.log(1 - q) * mean_sojourn_s(arrivals_per_s, services_per_s)


def servers_for_quantile(arrivals_per_s: float, services_per_s: float, within_s: float, q: float) -> int | None:
    """Fewest separate queues, the load split evenly, whose time in the system is within `within_s` for a part `q`.

    Solves -ln(1 - q) / (mu - lambda / n) <= within for n. `None` = not even an empty server is that fast.
    """
    spare_per_s = services_per_s - (-math.log(1 - q)) / within_s
    if spare_per_s <= 0:
        return None
    return max(1, math.ceil(arrivals_per_s / spare_per_s - 1e-9))


def _checked(arrivals_per_s: float, services_per_s: float) -> float:
    if arrivals_per_s < 0 or services_per_s <= 0:
        raise ValueError(
            f"arrivals_per_s={arrivals_per_s}, services_per_s={services_per_s}: must be >= 0 and > 0 records a second"
        )
    if arrivals_per_s >= services_per_s:
        raise UnstableQueue(
            f"arrivals_per_s={arrivals_per_s} >= services_per_s={services_per_s}: no steady state; add servers"
        )
    return arrivals_per_s
