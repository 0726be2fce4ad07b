"""Constant service time: M/D/1 and M/D/c. Poisson arrivals, c servers, one queue, first come first served.

Symbols: lambda = arrivals a second, D = seconds of service, always the same, c = servers, a = lambda D = offered load
in erlangs, rho = a / c < 1, X = number in the system. Assumptions: Poisson arrivals; every service takes D; any free
server takes the next one. Range: rho < 1; the distribution is computed for c up to 500.

Sources: mean wait, F. Pollaczek (1930) and A. Khinchine (1932) for c = 1, C. D. Crommelin (1932) for c servers;
distribution, A. K. Erlang (1909) for c = 1 and G. J. Franx, "A simple solution for the M/D/c waiting time
distribution", Operations Research Letters 29 (2001). Whoever is in service at t has left at t + D, so X(t + D) =
max(X(t) - c, 0) + Poisson(a): that gives the distribution of X (`embedded`).

A constant service halves the wait of an exponential one at c = 1 and in heavy traffic, not everywhere: at rho = 0.5 and
c = 8 the mean wait is 0.63 times the exponential's.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from scipy import special, stats

from autoscaler.errors import UnstableQueue
from autoscaler.queueing.embedded import stationary

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: Terms of Crommelin's series below this part of the sum are left out.
_NEGLIGIBLE = 1e-13
#: Most servers for which the distribution is computed: a dense system of about three times as many equations.
_MOST_SERVERS = 500
_BISECTIONS = 60


def mean_wait_s(arrivals_per_s: float, service_s: float, servers: int = 1) -> float:
    """Mean wait, without service, in seconds: rho D / (2 (1 - rho)) for one server, Crommelin's series for more.

    Wq = D sum over i >= 1 of P(N_i >= i c) - (c / a) P(N_i >= i c + 1), N_i Poisson with mean i a.

    Args:
        arrivals_per_s: lambda >= 0, in sum.
        service_s: D > 0.
        servers: c >= 1.

    Raises:
        UnstableQueue: lambda D >= c.
    """
    load = _load(arrivals_per_s, service_s, servers)
    if load == 0:
        return 0.0
    if servers == 1:
        return load * service_s / (2 * (1 - load))
    total, i = 0.0, 0
    while True:
        # In blocks: near saturation thousands of terms count.
        steps = np.arange(i + 1, i + 257, dtype=np.float64)
        # P(N >= k) of a Poisson count is the regularised lower incomplete gamma function at k.
        waits = special.gammainc(steps * servers, steps * load)
        waits -= servers / load * special.gammainc(steps * servers + 1, steps * load)
        total += float(waits.sum())
        i += 256
        if abs(waits[-1]) <= _NEGLIGIBLE * max(total, _NEGLIGIBLE):
            return max(0.0, total) * service_s


def wait_within(seconds: float, arrivals_per_s: float, service_s: float, servers: int = 1) -> float:
    """P(wait <= seconds), 0 to 1.

    Franx: with (k - 1) D <= t < k D, P(wait <= t) = sum over j < k c of Q(k c - 1 - j) * Poisson(j; lambda (k D - t)),
    where Q(m) = P(at most m wait). All terms are positive, so nothing cancels.

    Args:
        seconds: t >= 0.
        arrivals_per_s: lambda >= 0, in sum.
        service_s: D > 0.
        servers: c >= 1, at most 500.

    Raises:
        UnstableQueue: lambda D >= c.
        ValueError: more servers than this is computed for.
    """
    load = _load(arrivals_per_s, service_s, servers)
    if load == 0:
        return 1.0
    k = math.floor(seconds / service_s) + 1
    most = k * servers
    queued = _queue_at_most(load, servers, most)
    arrivals = stats.poisson.pmf(np.arange(most), arrivals_per_s * (k * service_s - seconds))
    return float(min(1.0, np.dot(queued[:most][::-1], arrivals)))


def wait_quantile_s(arrivals_per_s: float, service_s: float, servers: int, q: float) -> float:
    """Wait, without service, that a part `q` of the arrivals does not exceed, in seconds; 0 where so many do not wait.

    Raises:
        UnstableQueue: lambda D >= c.
        ValueError: q is not between 0 and 1, or more servers than this is computed for.
    """
    if not 0 < q < 1:
        raise ValueError(f"q={q}: must be between 0 and 1, e.g. 0.99")

    def within(seconds: float) -> bool:
        return wait_within(seconds, arrivals_per_s, service_s, servers) >= q

    if within(0.0):
        return 0.0
    low, high = 0.0, service_s
    while not within(high):
        low, high = high, 2 * high
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if within(middle) else (middle, high)
    return high


def _load(arrivals_per_s: float, service_s: float, servers: int) -> float:
    if arrivals_per_s < 0 or service_s <= 0 or servers < 1:
        raise ValueError(
            f"arrivals_per_s={arrivals_per_s}, service_s={service_s}, servers={servers}: must be >= 0, > 0 and >= 1"
        )
    load = arrivals_per_s * service_s
    if load >= servers:
        raise UnstableQueue(
            f"arrivals_per_s={arrivals_per_s} for {service_s} s each are {load:.3f} erlangs >= servers={servers}: no "
            "steady state; add servers"
        )
    return load


def _queue_at_most(load: float, servers: int, most: int) -> Floats:
    """P(at most m wait) for m = 0 to `most`, shape (most + 1,)."""
    if servers > _MOST_SERVERS:
        raise ValueError(f"servers={servers}: at most {_MOST_SERVERS}; beyond it use general.wait_quantile_s")
    in_system = stationary((load,) * (servers + 1)).upto(servers + most)
    return np.asarray(np.cumsum(in_system)[servers:], dtype=np.float64)
