"""What a policy would know of a simulated group: the observation that the tape would give, straight from the arrays.

A day has 86,400 looks at one second each, so nothing is folded record by record here; a test holds it against
`PipelineState` on the same group's tape. Reports are made when a policy looks at them, which most do not.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from autoscaler import latency
from autoscaler.model import LATENCY_BOUNDS_S, ArrivalHistory, FleetStatus, Observation, Rates, TypeStatus, WorkerReport
from autoscaler.simulation.reports import report

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from autoscaler.model import WorkerType
    from autoscaler.simulation.engine import Engine, SimulatedWorker
    from autoscaler.simulation.scenario import SimulatedType

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

PIPELINE = "simulated"
#: Seconds of arrivals by partition behind the shares, as in `autoscaler.rates`.
_SHARE_WINDOW_S = 120.0
_RATE_WINDOWS_S = (1.0, 10.0, 60.0)
#: Fewest one-second counts that a trend or a dispersion is computed from.
_LEAST_COUNTS = 10
_BOUNDS_S = np.array(LATENCY_BOUNDS_S)
#: Starts remembered by type, and the quantile of their lengths that is believed; as in `PipelineState`.
_STARTS, _START_QUANTILE = 16, 0.9
_WHOLE = 1e-9


class Observer:
    """Looks at a group, once a step.

    Args:
        engine: The group.
        arrivals_s: Arrival times, ascending, shape (n,).
        types: Of its workers.
        step_s: Seconds between two looks.
        history_s: Seconds of counts that a policy is given.
        latency_window_s: Seconds of answers behind the shown 99th percentile.
    """

    def __init__(
        self,
        engine: Engine,
        arrivals_s: Floats,
        types: tuple[SimulatedType, ...],
        *,
        step_s: float,
        history_s: float,
        latency_window_s: float,
    ) -> None:
        self._engine, self._arrivals_s, self._types = engine, arrivals_s, types
        self._history_s = int(history_s)
        seconds = int(arrivals_s[-1]) + 1 if arrivals_s.size else 0
        # An arrival on the dot of a second belongs to the second before: a sample counts what is there.
        self._per_s = np.bincount(np.ceil(arrivals_s).astype(np.int64), minlength=seconds + 1)[1:].astype(np.float64)
        self._known = np.ones(self._history_s, dtype=bool)
        rows = math.ceil(_SHARE_WINDOW_S / step_s) + 2
        #: Arrived by partition at each of the last looks.
        self._looks: deque[tuple[float, Ints]] = deque(maxlen=rows)
        self._tallies: deque[Ints] = deque(maxlen=max(1, round(latency_window_s / step_s)))
        self._sum = np.zeros(latency.BUCKETS, dtype=np.int64)
        self._starts: dict[str, deque[float]] = {kind.name: deque(maxlen=_STARTS) for kind in types}
        self._seen: set[str] = set()
        self._seen_at_s: float | None = None
        self._learnt = tuple(kind.as_worker_type() for kind in types)
        self.backlog = 0

    def look(self) -> None:
        """Note where the group stands now; to be called at each step."""
        engine = self._engine
        self._looks.append((engine.now_s, engine.arrived.copy()))
        if len(self._tallies) == self._tallies.maxlen:
            self._sum -= self._tallies[0]
        self._tallies.append(engine.tally(_BOUNDS_S))
        self._sum += self._tallies[-1]
        if engine.rebalanced_at_s != self._seen_at_s:
            self._seen_at_s = engine.rebalanced_at_s
            self._learn()

    def worker_types(self) -> tuple[WorkerType, ...]:
        """As configured, with the boots that were seen: the 90th percentile of the last ones."""
        return self._learnt

    def observation(self, declared: Mapping[str, int]) -> Observation:
        """What a policy may look at now."""
        engine = self._engine
        now_s = engine.now_s
        ready, starting = engine.ready(), engine.starting()
        waiting = engine.arrived - engine.committed
        counts = self._counts(now_s)
        known = counts.size >= 1
        shares = self._since(_SHARE_WINDOW_S) if known else None
        return Observation(
            pipeline=PIPELINE,
            at_s=now_s,
            partitions=engine.arrived.size,
            rates=self._rates(now_s, counts) if known else None,
            backlog=dict(enumerate(waiting.tolist())),
            fleet=FleetStatus(declared, engine.running()),
            control=None,
            workers={name: TypeStatus(count, tuple(starting[name])) for name, count in ready.items()},
            rebalanced_at_s=self._seen_at_s if self._seen_at_s is not None and self._seen_at_s > 0 else None,
            reports=_Reports(engine, self._tallies[-1]),
            p99_s=latency.quantile(self._sum.tolist(), 0.99),
            latency_counts=tuple(self._sum.tolist()),
            history=None
            if shares is None
            else ArrivalHistory(now_s, counts, self._known[: counts.size], dict(enumerate(shares.tolist()))),
        )

    def _counts(self, now_s: float) -> Floats:
        """Arrivals of each of the last seconds, oldest first."""
        seconds = min(self._history_s, int(now_s + _WHOLE))
        end = round(now_s)
        if abs(now_s - end) < _WHOLE and end <= self._per_s.size:
            return self._per_s[end - seconds : end]
        edges = now_s - np.arange(seconds, -1, -1.0)
        return np.diff(np.searchsorted(self._arrivals_s, edges, side="right")).astype(np.float64)

    def _since(self, window_s: float) -> Floats:
        """Arrivals by partition over the last `window_s` seconds, or as many as there were."""
        now_s, newest = self._looks[-1]
        start_s = max(now_s - window_s, self._looks[0][0])
        for (later_s, later), (earlier_s, earlier) in self._pairs(start_s):
            part = (start_s - earlier_s) / (later_s - earlier_s)
            return np.asarray(newest - (earlier + part * (later - earlier)))
        return np.zeros(newest.size)

    def _pairs(self, start_s: float) -> Iterator[tuple[tuple[float, Ints], tuple[float, Ints]]]:
        """The looks on both sides of a time; nothing where there is only one look."""
        looks = self._looks
        if len(looks) < 2:  # noqa: PLR2004 - a pair
            return
        step_s = looks[-1][0] - looks[-2][0]
        # Looks are evenly spaced: guess the place, then mend it.
        place = len(looks) - 1 - int((looks[-1][0] - start_s) / step_s + _WHOLE)
        place = min(max(place, 1), len(looks) - 1)
        while place > 1 and looks[place - 1][0] > start_s:
            place -= 1
        yield looks[place], looks[place - 1]

    def _rates(self, now_s: float, counts: Floats) -> Rates:
        ends = np.searchsorted(self._arrivals_s, [now_s, *(now_s - w for w in _RATE_WINDOWS_S)], side="right").tolist()
        last = [
            (ends[0] - ends[i + 1]) / window_s if now_s >= window_s - _WHOLE else None
            for i, window_s in enumerate(_RATE_WINDOWS_S)
        ]
        recent = counts[-60:]
        minute = self._since(60.0)
        arrivals = float(minute.sum())
        per_s = self._since(10.0) / min(10.0, now_s)
        return Rates(
            at_s=now_s,
            last_1s=last[0],
            last_10s=last[1],
            last_60s=last[2],
            by_partition=dict(enumerate(per_s.tolist())),
            trend_per_s2=_trend(recent),
            burstiness=_dispersion(recent),
            busiest_share=float(minute.max()) / arrivals if arrivals > 0 else None,
        )

    def _learn(self) -> None:
        """Starts that came to their end since the last rebalance."""
        fresh = False
        for worker in self._engine.workers:
            if worker.ready_at_s <= self._engine.now_s and worker.name not in self._seen:
                self._seen.add(worker.name)
                self._starts[worker.kind.name].append(worker.ready_at_s - worker.asked_at_s)
                fresh = True
        if fresh:
            self._learnt = tuple(kind.as_worker_type(self._boot_s(kind)) for kind in self._types)

    def _boot_s(self, kind: SimulatedType) -> float | None:
        delays = sorted(self._starts[kind.name])
        return delays[math.ceil(_START_QUANTILE * len(delays)) - 1] if delays else None


class _Reports(Mapping[str, WorkerReport]):
    """The reports of the workers as of now, made when somebody looks."""

    def __init__(self, engine: Engine, answered: Ints) -> None:
        self._engine, self._answered = engine, answered
        self._made: dict[str, WorkerReport] | None = None

    def __getitem__(self, name: str) -> WorkerReport:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> dict[str, WorkerReport]:
        if self._made is None:
            self._made = reports(self._engine, tuple(self._answered.tolist()))
        return self._made


def reports(engine: Engine, answered: tuple[int, ...]) -> dict[str, WorkerReport]:
    """A report of each worker by name, in order of names.

    Args:
        engine: The group.
        answered: Answers since the last look, by bucket of latency. Which worker gave them does not matter to a policy:
            the first one tells for all.
    """
    nothing = (0,) * latency.BUCKETS
    owned: dict[str, list[int]] = {}
    for partition, worker in enumerate(engine.owner):
        if worker is not None:
            owned.setdefault(worker.name, []).append(partition)
    workers: list[SimulatedWorker] = sorted(engine.workers, key=lambda worker: worker.name)
    return {
        worker.name: report(worker, engine.now_s, tuple(owned.get(worker.name, ())), nothing if place else answered)
        for place, worker in enumerate(workers)
    }


def _trend(counts: Floats) -> float | None:
    """Slope of one-second counts by least squares, records a second per second."""
    if counts.size < _LEAST_COUNTS:
        return None
    t = np.arange(counts.size) - (counts.size - 1) / 2
    return round(float(t @ counts / (t @ t)), 6)


def _dispersion(counts: Floats) -> float | None:
    """Variance over mean of one-second counts."""
    if counts.size < _LEAST_COUNTS:
        return None
    mean = float(counts.mean())
    return round(float(counts.var(ddof=1)) / mean, 6) if mean > 0 else None
