"""A schedule: fleets declared at times known beforehand, run by the same engine as any policy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from autoscaler.model import Action, Decision
from autoscaler.simulation.run import first_fleet, new_engine, start

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from autoscaler.model import Observation, WorkerType
    from autoscaler.simulation.arrivals import Load
    from autoscaler.simulation.scenario import Scenario

    Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, order=True)
class Change:
    """So many workers of a type more (or less): when that is ordered, not when it takes effect."""

    at_s: float
    kind: str
    #: Not 0.
    by: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """Changes in order of time, on top of the fleet at the start."""

    first: dict[str, int]
    changes: tuple[Change, ...] = ()

    def fleets(self) -> list[tuple[float, dict[str, int]]]:
        """The declared fleet from each time on, changes of one moment together; none below 0."""
        fleet, out = dict(self.first), list[tuple[float, dict[str, int]]]()
        for change in sorted(self.changes):
            fleet = {**fleet, change.kind: max(0, fleet.get(change.kind, 0) + change.by)}
            if out and out[-1][0] == change.at_s:
                out[-1] = (change.at_s, fleet)
            else:
                out.append((change.at_s, fleet))
        return out


@dataclass(frozen=True, slots=True, eq=False)
class Executed:
    """What came of a schedule, exactly."""

    schedule: Schedule
    cost: float
    #: Share of the requests after the warm-up that were late.
    violation: float
    #: When those arrived, ascending.
    late_s: Floats


class Executor:
    """Runs schedules on a load, again and again."""

    def __init__(self, load: Load, scenario: Scenario) -> None:
        self.load, self.scenario = load, scenario
        self._engine = new_engine(load, scenario)
        self._warm_s = min(scenario.warm_up_s, load.length_s)
        self.counted = load.arrivals_s.size - int(np.searchsorted(load.arrivals_s, self._warm_s))
        self.first = first_fleet(load, scenario)

    def run(self, schedule: Schedule) -> Executed:
        """Execute a schedule from the start."""
        engine, end_s = self._engine, self.load.length_s
        engine.restart()
        start(engine, schedule.first)
        for at_s, fleet in schedule.fleets():
            if at_s >= end_s:
                break
            engine.advance(at_s)
            engine.declare(fleet)
        engine.advance(end_s)
        cost = engine.cost(self._warm_s, end_s)
        # With the last fleet; what is late by then stays late.
        engine.advance(end_s + self.scenario.objective_s)
        late_s = np.sort(engine.late_s(self.scenario.objective_s, self._warm_s))
        return Executed(schedule, cost, late_s.size / max(1, self.counted), late_s)


@dataclass(frozen=True, slots=True)
class SchedulePolicy:
    """A schedule as a policy, so that it is run and drawn like one; looks twice a second."""

    schedule: Schedule
    name: str = "clairvoyant"
    tick_s: float = 0.5

    def initial(self) -> None:
        """Nothing is remembered."""

    def decide(
        self, observation: Observation, worker_types: Sequence[WorkerType], state: None
    ) -> tuple[Decision, None]:
        """The fleet that the schedule has at this moment."""
        fleet = self.schedule.first
        for at_s, later in self.schedule.fleets():
            if at_s > observation.at_s:
                break
            fleet = later
        before = observation.fleet.declared if observation.fleet is not None else fleet
        grown = sum(fleet.values()) - sum(before.values())
        action = Action.HOLD if dict(before) == fleet else Action.SCALE_UP if grown >= 0 else Action.SCALE_DOWN
        price = sum(kind.price_per_hour * fleet.get(kind.name, 0) for kind in worker_types)
        return (
            Decision(
                pipeline=observation.pipeline,
                at_s=observation.at_s,
                action=action,
                fleet=fleet,
                reason="as scheduled, with the load known",
                bound="plan",
                plan=None,
                forecast=None,
                runner_up=None,
                runner_up_price_per_hour=None,
                price_per_hour=price,
                advisory=False,
            ),
            state,
        )
