"""One worker that serves batches, exactly: when free it takes what waits, at most B, for a + b n seconds.

Symbols: lambda = arrivals a second, B = max batch, s(n) = a + b n, mu = B / s(B) = capacity, rho = lambda / mu < 1, X =
records that wait when a batch ends. Assumptions: Poisson arrivals (bursts are left to `batch`, whose quantile is an
estimate), one server, first come first served, service begins with the first record that comes to an idle worker.

The chain is X' = max(X - B, 0) + Poisson(lambda s(n)), n = min(max(X, 1), B) (`embedded`). The mean follows by the
theory of regenerative processes and Little's law; the distribution by following one record: its place in the queue when
it comes, the full batches before its own, and how many join its own until that begins. The integral over the moment of
arrival within a batch is numerical, so the distribution is exact to about 1e-3.
Source: N. T. J. Bailey, "On queueing processes with bulk service" (1954), for constant service; M. F. Neuts (1967) for
service that depends on the batch.

Trap: at half load a worker is not half busy, nor are its batches half full. With a = 15 ms, b = 5 ms, B = 16 and rho =
0.5 it is 95 % busy with batches of 2.4 on average: neither tells how much more it could do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import special, stats

from autoscaler.errors import UnstableQueue
from autoscaler.queueing.embedded import stationary

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from autoscaler.model import ServiceCurve

    Floats = NDArray[np.float64]

#: Points of the integral over the moment of arrival within a batch.
_POINTS = 24
#: Probability that is left out far in the tail.
_NEGLIGIBLE = 1e-9
_BISECTIONS = 40
#: Seconds by which sums of floats may be off.
_ROUNDING_S = 1e-12


class BulkMeans(NamedTuple):
    """Long-run means of one worker."""

    #: Time from arrival to answer.
    sojourn_s: float
    #: Records in a batch.
    batch: float
    #: Part of the time with a batch in service, 0-1.
    busy: float


def means(arrivals_per_s: float, curve: ServiceCurve) -> BulkMeans:
    """Mean time in the system, batch and busy part.

    Args:
        arrivals_per_s: lambda > 0.
        curve: Service curve.

    Raises:
        UnstableQueue: lambda >= mu.
        ValueError: no arrivals.
    """
    sizes, seconds = _batches(arrivals_per_s, curve)
    chain = stationary(tuple(float(arrivals_per_s * one) for one in seconds))
    waiting = chain.upto(chain.negligible_beyond(_NEGLIGIBLE))
    k = np.arange(waiting.size)
    served = sizes[np.minimum(k, curve.max_batch)]
    lasting_s = seconds[np.minimum(k, curve.max_batch)]
    service_s = float(waiting @ lasting_s)
    cycle_s = service_s + float(waiting[0]) / arrivals_per_s
    present = waiting @ (np.maximum(k, 1) * lasting_s + arrivals_per_s * lasting_s**2 / 2)
    return BulkMeans(float(present) / cycle_s / arrivals_per_s, float(waiting @ served), service_s / cycle_s)


def sojourn_within(seconds: float, arrivals_per_s: float, curve: ServiceCurve) -> float:
    """P(time from arrival to answer <= seconds), 0 to 1.

    Raises:
        UnstableQueue: lambda >= mu.
        ValueError: no arrivals.
    """
    return _within(seconds, curve, _paths(arrivals_per_s, curve), arrivals_per_s)


def sojourn_quantile_s(arrivals_per_s: float, curve: ServiceCurve, q: float) -> float:
    """Time from arrival to answer that a part `q` does not exceed, in seconds; a quarter of a second of computing.

    Raises:
        UnstableQueue: lambda >= mu.
        ValueError: no arrivals, or q is not between 0 and 1.
    """
    if not 0 < q < 1:
        raise ValueError(f"q={q}: must be between 0 and 1, e.g. 0.99")
    paths = _paths(arrivals_per_s, curve)
    low, high = 0.0, 2 * curve.seconds(curve.max_batch)
    while _within(high, curve, paths, arrivals_per_s) < q:
        low, high = high, 2 * high
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        within = _within(middle, curve, paths, arrivals_per_s) >= q
        low, high = (low, middle) if within else (middle, high)
    return high


class _Paths(NamedTuple):
    """Ways that one record may go: each with its probability."""

    #: P(it comes to an idle worker).
    idle: float
    #: Seconds until its own batch begins, shape (ways,).
    starts_s: Floats
    #: Records before it in its own batch, shape (ways,).
    before: Floats
    #: Shape (ways,); with `idle` in sum 1.
    weights: Floats


def _batches(arrivals_per_s: float, curve: ServiceCurve) -> tuple[Floats, Floats]:
    """Size and seconds of the batch that begins with X = 0 .. B waiting, shape (B + 1,) each."""
    if arrivals_per_s <= 0:
        raise ValueError(f"arrivals_per_s={arrivals_per_s}: must be above 0; an idle worker answers in s(1)")
    if arrivals_per_s >= curve.capacity_per_s:
        raise UnstableQueue(
            f"arrivals_per_s={arrivals_per_s} >= capacity={curve.capacity_per_s:.3f} of one worker: the queue only "
            "grows; give it fewer partitions"
        )
    sizes = np.maximum(1.0, np.arange(curve.max_batch + 1))
    return sizes, curve.a_s + curve.b_s * sizes


def _paths(arrivals_per_s: float, curve: ServiceCurve) -> _Paths:
    _, seconds = _batches(arrivals_per_s, curve)
    most = curve.max_batch
    chain = stationary(tuple(float(arrivals_per_s * one) for one in seconds))
    waiting = chain.upto(chain.negligible_beyond(_NEGLIGIBLE))
    cycle_s = float(waiting[0]) / arrivals_per_s + float(waiting @ seconds[np.minimum(np.arange(waiting.size), most)])
    nodes, node_weights = np.polynomial.legendre.leggauss(_POINTS)
    # What is left behind by a full batch; smaller batches leave nothing.
    left = waiting[most:]
    starts_s, before, weights = [], [], []
    for size in range(most + 1):
        lasting_s = float(seconds[size])
        behind = left if size == most else waiting[size : size + 1]
        for node, node_weight in zip(nodes, node_weights, strict=True):
            age_s = (node + 1) / 2 * lasting_s
            mean = arrivals_per_s * age_s
            came = stats.poisson.pmf(np.arange(int(stats.poisson.isf(_NEGLIGIBLE, mean)) + 2), mean)
            ahead = np.convolve(behind, came)
            place = np.arange(ahead.size)
            starts_s.append(lasting_s - age_s + place // most * seconds[most])
            before.append((place % most).astype(np.float64))
            weights.append(ahead * (node_weight / 2 * lasting_s / cycle_s))
    idle = float(waiting[0]) / arrivals_per_s / cycle_s
    every = np.concatenate(weights)
    return _Paths(idle, np.concatenate(starts_s), np.concatenate(before), every * ((1 - idle) / every.sum()))


def _within(seconds: float, curve: ServiceCurve, paths: _Paths, arrivals_per_s: float) -> float:
    left_s = seconds - paths.starts_s - curve.a_s
    if curve.b_s > 0:
        # The largest own batch that is still in time, and how many may join it until it begins.
        largest = np.floor(left_s / curve.b_s + 1e-9)
        joining = np.minimum(largest, curve.max_batch) - paths.before - 1
        in_time = np.where(largest >= curve.max_batch, 1.0, 0.0)
        some = (largest < curve.max_batch) & (joining >= 0)
        in_time[some] = special.pdtr(joining[some], arrivals_per_s * paths.starts_s[some])
    else:
        in_time = (left_s > -_ROUNDING_S).astype(np.float64)
    alone = paths.idle if seconds >= curve.seconds(1) else 0.0
    return min(1.0, alone + float(paths.weights @ in_time))
