"""General arrivals and service, by their first two moments: M/G/1, G/G/1 (Kingman) and G/G/c (Allen-Cunneen).

Symbols: lambda = arrivals a second, E[S] = mean service in seconds, c = servers, rho = lambda E[S] / c < 1, Ca^2 and
Cs^2 = squared coefficients of variation (variance over squared mean) of the times between arrivals and of the service
times; 0 = always the same, 1 = exponential. For arrivals whose counts have an index of dispersion D, Ca^2 = D in the
long run. Assumptions: times are independent of each other; one queue, any free server takes the next one.

Only M/G/1 is exact. Kingman's formula is an upper bound that is tight as rho goes to 1. Allen-Cunneen is exact for
M/M/c and M/G/1 and usually within 10 % for 0.5 < rho and Cs^2 <= 1; it says nothing of correlated arrivals.
Sources: F. Pollaczek (1930), A. Khinchine (1932); J. F. C. Kingman, Proc. Camb. Phil. Soc. 57 (1961); A. O. Allen,
Probability, Statistics and Queueing Theory (1978, 2nd ed. 1990), section 5.3.
"""

from __future__ import annotations

import math

from autoscaler.errors import UnstableQueue
from autoscaler.queueing import erlang


def mg1_mean_wait_s(arrivals_per_s: float, service_s: float, cs2: float) -> float:
    """Mean wait of M/G/1, exact: Wq = rho E[S] (1 + Cs^2) / (2 (1 - rho)), seconds.

    Raises:
        UnstableQueue: lambda E[S] >= 1.
        ValueError: a value is out of its range.
    """
    rho = _utilisation(arrivals_per_s, service_s, 1, 1.0, cs2)
    return rho * service_s * (1 + cs2) / (2 * (1 - rho))


def kingman_mean_wait_s(arrivals_per_s: float, service_s: float, ca2: float, cs2: float) -> float:
    """Kingman's approximation for G/G/1: Wq = rho / (1 - rho) * (Ca^2 + Cs^2) / 2 * E[S], seconds ("VUT").

    Raises:
        UnstableQueue: lambda E[S] >= 1.
        ValueError: a value is out of its range.
    """
    rho = _utilisation(arrivals_per_s, service_s, 1, ca2, cs2)
    return rho / (1 - rho) * (ca2 + cs2) / 2 * service_s


def kingman_bound_s(arrivals_per_s: float, service_s: float, ca2: float, cs2: float) -> float:
    """Kingman's upper bound of the mean wait of G/G/1: lambda (Var A + Var S) / (2 (1 - rho)), seconds.

    Raises:
        UnstableQueue: lambda E[S] >= 1.
        ValueError: a value is out of its range, or there are no arrivals.
    """
    rho = _utilisation(arrivals_per_s, service_s, 1, ca2, cs2)
    if arrivals_per_s == 0:
        raise ValueError("arrivals_per_s=0: the bound needs arrivals; nobody waits")
    variances = ca2 / arrivals_per_s**2 + cs2 * service_s**2
    return arrivals_per_s * variances / (2 * (1 - rho))


def mean_wait_s(arrivals_per_s: float, service_s: float, servers: int, ca2: float, cs2: float) -> float:
    """Allen-Cunneen for G/G/c: the M/M/c wait times (Ca^2 + Cs^2) / 2, seconds.

    Raises:
        UnstableQueue: lambda E[S] >= c.
        ValueError: a value is out of its range.
    """
    _utilisation(arrivals_per_s, service_s, servers, ca2, cs2)
    return erlang.mean_wait_s(arrivals_per_s, 1 / service_s, servers) * (ca2 + cs2) / 2


def wait_quantile_s(  # noqa: PLR0917 - the six symbols of G/G/c, in their usual order
    arrivals_per_s: float, service_s: float, servers: int, ca2: float, cs2: float, q: float
) -> float:
    """Tail of G/G/c: the wait that a part `q` does not exceed, if those who wait do so exponentially; seconds.

    P(wait > t) = C exp(-C t / Wq) with Erlang's C and Allen-Cunneen's Wq: exact for M/M/c, and the form that the tail
    takes in heavy traffic (J. F. C. Kingman). For constant service it is too long: use `deterministic`.

    Raises:
        UnstableQueue: lambda E[S] >= c.
        ValueError: a value is out of its range.
    """
    if not 0 < q < 1:
        raise ValueError(f"q={q}: must be between 0 and 1, e.g. 0.99")
    mean_s = mean_wait_s(arrivals_per_s, service_s, servers, ca2, cs2)
    waiting = erlang.waiting_probability(arrivals_per_s * service_s, servers)
    if waiting <= 1 - q:
        return 0.0
    return math.log(waiting / (1 - q)) * mean_s / waiting


def _utilisation(arrivals_per_s: float, service_s: float, servers: int, ca2: float, cs2: float) -> float:
    if arrivals_per_s < 0 or service_s <= 0 or servers < 1 or ca2 < 0 or cs2 < 0:
        raise ValueError(
            f"arrivals_per_s={arrivals_per_s}, service_s={service_s}, servers={servers}, ca2={ca2}, cs2={cs2}: must be "
            ">= 0, > 0, >= 1, >= 0 and >= 0"
        )
    rho = arrivals_per_s * service_s / servers
    if rho >= 1:
        raise UnstableQueue(
            f"arrivals_per_s={arrivals_per_s} for {service_s} s each on servers={servers} are a utilisation of "
            f"{rho:.3f}: no steady state; add servers"
        )
    return rho
