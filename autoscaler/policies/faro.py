"""Faro's sizing by the M/D/c queue on a forecast, written anew from its publication (EuroSys 2025) and artefact.

Per candidate count n: the 99th percentile of the latency along sampled paths of the arrivals, each path's utility the
mean over time of min(1, objective / latency); the fewest workers whose utility is the best one's but for a trim. The
percentile is half of the M/M/c wait's plus the service time; above a utilisation of 0.95 it goes on linearly instead of
becoming infinite ("relaxed"), so that the optimiser keeps a slope. While new workers start the present count serves. A
smaller count waits for ten minutes.

Mapping and caveats: Faro shares a quota among many jobs, here one job takes what it needs. Its N-HiTS network is
trained on days of a trace and predicts seven minutes from fifteen one-minute counts; here 100 paths of an
autoregression on 10-s counts take its place, with no training on what is to come. Faro fixes the start at 65 s; here it
is the learnt one, which favours it. Faro's replica serves one request at a time, with an objective of four service
times; here its request is a full batch of B records with D = s(B), arriving at rate / B. Where the objective is many
service times, the linear continuation calls even an overloaded group in time (at 10 s(B), 7 workers for the work of 8);
so above 0.95 the latency is at least the objective times the excess, in its favour. The queue is pooled, as behind
Faro's router: partitions are not known to it, and that is its weakness here.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from autoscaler.policies.hysteresis import NeedWindow
from autoscaler.policies.rival import declare, group, keep
from autoscaler.queueing import erlang

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from autoscaler.model import Decision, Objective, Observation, WorkerType

    Floats = NDArray[np.float64]

#: Utilisation above which latency goes on linearly.
_RELAXED = 0.95
#: Seconds of one step of the forecast, and of history behind it.
_STEP_S, _HISTORY_S = 10, 900
#: Lags of the autoregression, and fewest steps that it is fitted to.
_LAGS, _LEAST_STEPS = 6, 24
#: A path stays below so many times the highest rate seen: an unstable fit must not run away. Three times cost twice as
#: much on a sawtooth, for a fifth fewer late records.
_HIGHEST = 1.5


@dataclass(frozen=True, slots=True)
class FaroState:
    """Counts of the last `downscale_delay_s`."""

    needs: NeedWindow = field(default_factory=NeedWindow)


@dataclass(frozen=True, slots=True)
class FaroPolicy:
    """Faro's rule for one job.

    Args:
        objective: Share (the percentile) and time.
        horizon_s: The forecast goes so far.
        paths: Sampled.
        trim: Part of the best utility that may be given up for fewer workers.
        downscale_delay_s: A smaller count waits for so long.
        tick_s: Seconds between two decisions.
        name: As in the registry.

    Raises:
        ValueError: a value is out of its range.
    """

    objective: Objective
    horizon_s: float = 420.0
    paths: int = 100
    trim: float = 0.005
    downscale_delay_s: float = 600.0
    tick_s: float = 10.0
    name: str = "faro-mdc"

    def __post_init__(self) -> None:
        if self.horizon_s < _STEP_S or self.paths < 1 or not 0 <= self.trim < 1:
            raise ValueError(
                f"faro-mdc: horizon_s={self.horizon_s}, paths={self.paths}, trim={self.trim}: at least {_STEP_S} s and "
                "one path, trim from 0 and below 1"
            )

    def initial(self) -> FaroState:
        """Nothing seen."""
        return FaroState()

    def decide(
        self, observation: Observation, worker_types: Sequence[WorkerType], state: FaroState
    ) -> tuple[Decision, FaroState]:
        """One decision.

        Raises:
            NoWorkerTypes: `worker_types` is empty.
        """
        now = group(observation, worker_types)
        history = observation.history
        if history is None or not history.recent.size:
            return keep(observation, worker_types, "no arrivals known"), state
        paths = sample_paths(history.recent[-_HISTORY_S:], round(self.horizon_s / _STEP_S), self.paths)
        # What comes in while workers start is met by those that are there, whatever is decided.
        first = min(paths.shape[1] - 1, math.ceil(now.kind.boot_s / _STEP_S))
        curve = now.kind.curve
        utilities = utilities_by_count(
            paths[:, first:] / curve.max_batch, curve.seconds(curve.max_batch), self.objective, now.kind.max_workers
        )
        good = np.flatnonzero(utilities >= utilities.max() - self.trim)
        wanted = max(int(good[0]) + 1, now.kind.min_workers)
        needs = state.needs.add(observation.at_s, wanted, self.downscale_delay_s)
        highest = needs.needs[0][1]
        count = wanted if wanted >= now.declared else min(now.declared, highest)
        if count < now.declared and needs.highest(observation.at_s, self.downscale_delay_s) is None:
            count = now.declared
        reason = (
            f"{wanted} pooled workers have {utilities[wanted - 1]:.3f} of the best utility {utilities.max():.3f} on "
            f"{self.paths} paths of mean {paths.mean():.1f}/s"
        )
        bound = "plan" if count == wanted else "hysteresis"
        return declare(observation, worker_types, count, reason, bound), FaroState(needs)


@dataclass(frozen=True, slots=True)
class PooledQueue:
    """M/D/c: any free server takes the next request."""

    #: D of one request on one server, seconds.
    service_s: float
    servers: int


def latency_quantile_s(arrivals_per_s: float, queue: PooledQueue, q: float) -> float:
    """Faro's relaxed percentile of the latency, seconds; defined above capacity too.

    Args:
        arrivals_per_s: Requests a second, >= 0.
        queue: Servers and their time.
        q: Percentile as a part, e.g. 0.99.
    """
    blocked = np.array([erlang.blocking(arrivals_per_s * queue.service_s, queue.servers)])
    return float(_latencies(np.array([arrivals_per_s]), blocked, queue, q)[0])


def utilities_by_count(paths: Floats, service_s: float, objective: Objective, most: int) -> Floats:
    """Mean over paths and time of min(1, objective / latency), for 1 to `most` servers; shape (most,).

    Args:
        paths: Requests a second, shape (paths, steps).
        service_s: D of one request.
        objective: Share and time.
        most: Servers.
    """
    rates = paths.ravel()
    offered = rates * service_s
    out = np.empty(most)
    blocked = np.ones_like(offered)
    for servers in range(1, most + 1):
        # Erlang B by its recursion, for all rates at once.
        blocked = offered * blocked / (servers + offered * blocked)
        queue = PooledQueue(service_s, servers)
        latencies = _latencies(rates, blocked, queue, objective.share)
        # Above 0.95 nothing counts as in time, and more of an excess counts less.
        excess = offered / (_RELAXED * servers)
        latencies = np.where(excess > 1, np.maximum(latencies, objective.within_s * excess), latencies)
        utility = np.minimum(1.0, objective.within_s / latencies).mean()
        if utility >= 1.0:
            # More servers are no better than in time.
            out[servers - 1 :] = 1.0
            break
        out[servers - 1] = utility
    return out


def sample_paths(counts: Floats, steps: int, paths: int) -> Floats:
    """Paths of the rate, records a second in steps of 10 s, shape (paths, steps).

    An autoregression of six lags with normal residuals, drawn with a fixed seed so that the same history gives the same
    paths; too short a history goes on at its mean with the noise of a Poisson process.

    Args:
        counts: Arrivals by second, oldest first, at least one.
        steps: Of 10 s.
        paths: Number of them.
    """
    noise = np.random.default_rng(0).standard_normal((paths, steps))
    whole = counts.size // _STEP_S
    if whole < _LEAST_STEPS:
        mean = float(counts.mean())
        return np.asarray(np.maximum(0.0, mean + noise * math.sqrt(mean / _STEP_S)), dtype=np.float64)
    rates = counts[counts.size - whole * _STEP_S :].reshape(whole, _STEP_S).mean(axis=1)
    lagged = np.column_stack([np.ones(whole - _LAGS)] + [rates[lag : whole - _LAGS + lag] for lag in range(_LAGS)])
    fitted, *_ = np.linalg.lstsq(lagged, rates[_LAGS:], rcond=None)
    spread = float(np.std(rates[_LAGS:] - lagged @ fitted))
    out = np.empty((paths, steps))
    window = np.tile(rates[-_LAGS:], (paths, 1))
    highest = _HIGHEST * float(rates.max())
    for step in range(steps):
        value = np.clip(fitted[0] + window @ fitted[1:] + spread * noise[:, step], 0.0, highest)
        out[:, step] = value
        window = np.column_stack([window[:, 1:], value])
    return out


def _latencies(rates: Floats, blocked: Floats, queue: PooledQueue, q: float) -> Floats:
    """Percentiles for rates whose Erlang B is known; shapes (n,)."""
    most_per_s = _RELAXED * queue.servers / queue.service_s
    over = rates > most_per_s
    rho = np.where(over, _RELAXED, rates * queue.service_s / queue.servers)
    blocking = np.where(over, _relaxed_blocking(queue.servers), blocked)
    waiting = blocking / (1 - rho * (1 - blocking))
    # P(wait > t) = C exp(-(c mu - lambda) t) of M/M/c, of which M/D/c has about half.
    with np.errstate(divide="ignore"):
        wait_s = np.maximum(0.0, np.log(waiting / (1 - q))) * queue.service_s / (queue.servers * (1 - rho))
    latency_s = wait_s / 2 + queue.service_s
    return np.asarray(np.where(over, latency_s * rates / most_per_s, latency_s), dtype=np.float64)


@functools.lru_cache(maxsize=4096)
def _relaxed_blocking(servers: int) -> float:
    return erlang.blocking(_RELAXED * servers, servers)
