"""One worker that serves batches: when free it takes what waits, at most `max_batch`, for `a + b * n` seconds.

Symbols: lambda = arrivals a second on this worker, B = max batch, s(n) = a + b n, mu = B / s(B) = capacity, rho =
lambda / mu, D = index of dispersion of the arrivals (variance over mean of counts; 1 = Poisson).

There is no closed form for the sojourn time of this bulk queue. The estimate here joins two limits:

- *light load*: a batch is what came in during the one before, on average n = lambda a / (1 - lambda b), and its high
quantile is that of a
  Poisson count during s(n). Such a request waits for the batch in progress and then for its own: 2 s(n).
- *heavy load*: all batches are full, so the queue is a random walk with steps Poisson(lambda s(B)) - B, whose
stationary tail decays
  as exp(-theta k), theta the positive root of lambda s(B) (e^theta - 1) = theta B (Cramer-Lundberg; J. F. C. Kingman,
  1970). Bursts of index D stretch it D times.

The larger of the two queues is taken; beyond one batch it drains at mu. Compared with an exact simulation the 99th
percentile is within -20 and +50 % for rho 0.05-0.97; it errs high at light load, where it does not decide.
"""

from __future__ import annotations

import functools
import math
from statistics import NormalDist
from typing import TYPE_CHECKING

from autoscaler.errors import UnstableQueue

if TYPE_CHECKING:
    from autoscaler.model import Objective, ServiceCurve

#: Steps of a bisection: 40 halvings leave 1e-12 of the interval.
_BISECTIONS = 40
#: A tail that decays by more than exp(500) from one record to the next is no queue (and beyond the range of floats).
_STEEPEST = 500.0


def sojourn_quantile_s(arrivals_per_s: float, curve: ServiceCurve, q: float, dispersion: float = 1.0) -> float:
    """Estimate of the time from arrival to answer that a part `q` of the requests does not exceed, in seconds.

    Args:
        arrivals_per_s: Records a second that reach this worker, >= 0.
        curve: Its service curve.
        q: Part, between 0 and 1.
        dispersion: Index of dispersion of the arrivals, > 0; values below 1 count as 1.

    Raises:
        UnstableQueue: arrivals_per_s >= the curve's capacity.
        ValueError: q is not between 0 and 1.
    """
    if not 0 < q < 1:
        raise ValueError(f"q={q}: must be between 0 and 1, e.g. 0.99")
    capacity_per_s = curve.capacity_per_s
    if arrivals_per_s >= capacity_per_s:
        raise UnstableQueue(
            f"arrivals_per_s={arrivals_per_s} >= capacity={capacity_per_s:.3f} of one worker: the queue only grows; "
            "give it fewer partitions"
        )
    spread = max(1.0, dispersion)
    queue = max(_light_queue(arrivals_per_s, curve, q, spread), _heavy_queue(arrivals_per_s, curve, q, spread))
    own_s = curve.seconds(curve.max_batch)
    if queue >= curve.max_batch:
        return queue / capacity_per_s + own_s
    return 2 * (curve.a_s + curve.b_s * max(1.0, queue))


@functools.lru_cache(maxsize=256)
def highest_rate(curve: ServiceCurve, objective: Objective, utilisation: float = 1.0, dispersion: float = 1.0) -> float:
    """Most records a second with which one worker meets the objective, at most `utilisation` of its capacity.

    Bisection over `sojourn_quantile_s`, which grows with the rate. 0 = not even an idle worker is fast enough.
    """
    low, high = 0.0, curve.capacity_per_s * min(utilisation, 1 - 1e-6)

    def holds(rate_per_s: float) -> bool:
        return sojourn_quantile_s(rate_per_s, curve, objective.share, dispersion) <= objective.within_s

    if holds(high):
        return high
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low if low > curve.capacity_per_s * 1e-9 else 0.0


def _light_queue(arrivals_per_s: float, curve: ServiceCurve, q: float, dispersion: float) -> float:
    """Quantile of the records that come in during one batch of the usual size."""
    slack = 1 - arrivals_per_s * curve.b_s
    usual = arrivals_per_s * curve.a_s / slack if slack > 0 else float(curve.max_batch)
    usual = min(float(curve.max_batch), max(1.0, usual))
    mean = arrivals_per_s * curve.seconds(1) if usual <= 1 else arrivals_per_s * (curve.a_s + curve.b_s * usual)
    # Cornish-Fisher expansion of the Poisson quantile: normal, plus the skew.
    z = NormalDist().inv_cdf(q)
    return mean + z * math.sqrt(mean * dispersion) + dispersion * (z * z - 1) / 6


def _heavy_queue(arrivals_per_s: float, curve: ServiceCurve, q: float, dispersion: float) -> float:
    """Quantile of the queue when all batches are full: -ln(1 - q) / theta, stretched by the dispersion."""
    mean = arrivals_per_s * curve.seconds(curve.max_batch)
    if mean <= 0:
        return 0.0
    batch = curve.max_batch

    def positive(theta: float) -> bool:
        return mean * math.expm1(theta) > theta * batch

    high = 1.0
    while not positive(high):
        high *= 2
        if high > _STEEPEST:
            return 0.0
    low = 0.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if positive(middle) else (middle, high)
    return -math.log(1 - q) / high * dispersion
