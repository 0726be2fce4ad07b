"""The schedule that knew the load: pays boots and rebalances, keeps the objective, and costs as little as was found.

A bound to compare policies with, not a proof of the optimum: a dynamic program on a fluid (`hindsight`) proposes
schedules over the price of a late record, each is run by the exact engine, and the best that keeps the objective is
improved by moving its changes in time (`polish`). No policy can know what it knows; a policy that came below it would
show that it was not searched well enough.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from autoscaler.simulation import hindsight
from autoscaler.simulation.fleets import Fleets, candidates, patience_s, useful_counts
from autoscaler.simulation.polish import polish
from autoscaler.simulation.schedule import Change, Executed, Executor, Schedule

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from autoscaler.simulation.arrivals import Load
    from autoscaler.simulation.scenario import Scenario

    Floats = NDArray[np.float64]

#: Seconds of a step: a quarter of a boot of 20 s.
STEP_S = 5
#: Most steps; longer loads have longer steps.
_MOST_STEPS = 5000
#: Levels of backlog, closer to each other near 0.
_LEVELS = 64
#: Highest and lowest price of a late record, in prices of serving one.
_CHEAPEST, _DEAREST = 0.1, 1e6
_NARROWINGS = 18
#: Steps of the search by the exact engine.
_EXACT = 6


@dataclass(frozen=True, slots=True, eq=False)
class Clairvoyant:
    """The best schedule found."""

    executed: Executed
    #: Whether it keeps the objective; if not, nothing that was tried does.
    feasible: bool

    @property
    def cost(self) -> float:
        """From the warm-up's end to the end of the load."""
        return self.executed.cost


def clairvoyant(load: Load, scenario: Scenario, progress: Callable[[float], None] | None = None) -> Clairvoyant:
    """Search the schedule.

    Args:
        load: Known from the start.
        scenario: Its objective is kept: at most 1 - share of the requests after the warm-up are late.
        progress: Is told the part done (0-1) now and then.
    """
    told = progress or (lambda _: None)
    executor = Executor(load, scenario)
    allowed = 1 - scenario.objective_share
    problem = _Problem(executor)
    # On the fluid alone first, which costs little: the late price at which its own count is as allowed.
    low, high = math.log(_CHEAPEST), math.log(_DEAREST)
    for _ in range(_NARROWINGS):
        middle = (low + high) / 2
        if problem.plan(math.exp(middle))[1] > allowed * executor.counted:
            low = middle
        else:
            high = middle
    told(0.15)
    best, worst = _bracket(problem, executor, allowed, high)
    told(0.3)
    tried = [one for _, one in (best, worst)]
    for step in range(_EXACT):
        middle = (best[0] + worst[0]) / 2
        found = executor.run(problem.schedule(math.exp(middle)))
        tried.append(found)
        if found.violation <= allowed:
            best = (middle, found)
        else:
            worst = (middle, found)
        told(0.3 + 0.3 * (step + 1) / _EXACT)
    good = [one for one in tried if one.violation <= allowed]
    if not good:
        return Clairvoyant(min(tried, key=lambda one: one.violation), feasible=False)
    start = min(good, key=lambda one: one.cost)
    return Clairvoyant(polish(executor, start, allowed, lambda part: told(0.6 + 0.4 * part)), feasible=True)


def fixed(load: Load, scenario: Scenario) -> Executed | None:
    """The cheapest fixed fleet of one type that keeps the objective, best in hindsight; `None` = none does."""
    executor = Executor(load, scenario)
    allowed = 1 - scenario.objective_share
    found: list[Executed] = []
    for kind in scenario.worker_types:
        counts = useful_counts(scenario.partitions, max(1, kind.min_workers), kind.max_workers)
        rest = {other.name: other.min_workers for other in scenario.worker_types}
        low, high, best = 0, len(counts), None
        while low < high:
            middle = (low + high) // 2
            one = executor.run(Schedule({**rest, kind.name: counts[middle]}))
            if one.violation <= allowed:
                high, best = middle, one
            else:
                low = middle + 1
        if best is not None:
            found.append(best)
    return min(found, key=lambda one: one.cost, default=None)


def _bracket(
    problem: _Problem, executor: Executor, allowed: float, at: float
) -> tuple[tuple[float, Executed], tuple[float, Executed]]:
    """A late price (its logarithm) that keeps the objective and one that does not, as far as there are such."""
    here = (at, executor.run(problem.schedule(math.exp(at))))
    best = worst = here
    towards = 1.0 if here[1].violation > allowed else -1.0
    for _ in range(6):
        at += towards * 1.2
        there = (at, executor.run(problem.schedule(math.exp(at))))
        if there[1].violation <= allowed:
            best = there
        else:
            worst = there
        if (there[1].violation <= allowed) == (towards > 0):
            break
    return best, worst


class _Problem:
    """The load and the fleets in the form of the compiled program."""

    def __init__(self, executor: Executor) -> None:
        load, scenario = executor.load, executor.scenario
        types = scenario.worker_types
        self._scenario, self._executor = scenario, executor
        self._step_s = STEP_S * math.ceil(load.length_s / STEP_S / _MOST_STEPS)
        self._steps = math.ceil(load.length_s / self._step_s)
        self._per_s = np.bincount(load.arrivals_s.astype(np.int64), minlength=self._steps * self._step_s).astype(float)
        shares = np.bincount(load.partition_of, minlength=scenario.partitions) / max(1, load.partition_of.size)
        window = np.ones(self._step_s) / self._step_s
        peak = float(np.convolve(self._per_s, window, mode="same").max())
        self.fleets: Fleets = candidates(scenario, shares, peak, executor.first)
        self._patience_s = patience_s(scenario)
        top = 10 * max(peak, 1.0) * max(1.0, scenario.objective_s)
        self._grid = top * np.linspace(0.0, 1.0, _LEVELS) ** 2
        self._unit = min(kind.price_per_hour / 3600 / kind.curve.capacity_per_s for kind in types)
        self._leads = [math.ceil(kind.boot_s * (1 + kind.boot_spread)) for kind in types]
        self._earliest = self._earliest_steps()

    def plan(self, late_price: float) -> tuple[NDArray[np.int64], float]:
        """The fleet in each step, and the late records by the fluid; the price is in prices of serving one."""
        chosen = np.zeros(self._steps, dtype=np.int64)
        late = hindsight.plan(
            self._per_s,
            self._step_s,
            math.ceil(self._scenario.warm_up_s),
            self.fleets.price_per_hour / 3600,
            self.fleets.carried_per_s,
            self.fleets.boot_price,
            self.fleets.moved,
            self._scenario.rebalance_pause_s,
            self._patience_s,
            self._earliest,
            late_price * self._unit,
            self._grid,
            chosen,
        )
        return chosen, late

    def schedule(self, late_price: float) -> Schedule:
        """The plan as orders: those to start come early by the longest boot."""
        chosen, _ = self.plan(late_price)
        names = [kind.name for kind in self._scenario.worker_types]
        changes: list[Change] = []
        before = 0
        for step, fleet in enumerate(chosen.tolist()):
            if fleet == before:
                continue
            old, new = self.fleets.fleets[before], self.fleets.fleets[fleet]
            for place, name in enumerate(names):
                by = new[place] - old[place]
                if by:
                    early_s = self._leads[place] if by > 0 else 0
                    changes.append(Change(float(max(0, step * self._step_s - early_s)), name, by))
            before = fleet
        return Schedule(self._executor.first, tuple(sorted(changes)))

    def _earliest_steps(self) -> NDArray[np.int64]:
        """First step in which a change may take effect: what is started at second 0 is not there before its boot."""
        fleets = self.fleets.fleets
        out = np.zeros((len(fleets), len(fleets)), dtype=np.int64)
        for i, old in enumerate(fleets):
            for j, new in enumerate(fleets):
                lead_s = max((lead for m, n, lead in zip(old, new, self._leads, strict=True) if n > m), default=0)
                out[i, j] = math.ceil(lead_s / self._step_s)
        return out
