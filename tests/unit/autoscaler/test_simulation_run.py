"""The run loop: what a policy is shown is what the tape would show, and what a run is judged by."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pytest

from autoscaler.model import Action, Decision, Objective, Observation, ServiceCurve
from autoscaler.simulation.arrivals import Load, of_pattern
from autoscaler.simulation.measures import fluid_cost, measure
from autoscaler.simulation.patterns import PATTERNS
from autoscaler.simulation.run import first_fleet, run
from autoscaler.simulation.scenario import Scenario, SimulatedType
from autoscaler.simulation.tape import run_on_tape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from autoscaler.model import WorkerType

CPU = SimulatedType("cpu", ServiceCurve(0.02, 0.02, 8), 0.5, 6.0, 0.3, 1, 12)
GPU = SimulatedType("gpu", ServiceCurve(0.02, 0.002, 32), 2.0, 9.0, 0.0, 0, 4)
SCENARIO = Scenario(
    partitions=12, commit_interval_s=0.7, rebalance_pause_s=0.8, mean_rate=70.0, warm_up_s=20.0, worker_types=(CPU, GPU)
)


@dataclass
class Scripted:
    """A policy that declares fleets at given times and keeps what it was shown."""

    fleets: Mapping[float, Mapping[str, int]]
    tick_s: float = 1.0
    name: str = "scripted"
    #: Whether reports are looked at.
    curious: bool = True
    seen: list[Observation] = field(default_factory=list)
    kinds: list[tuple[WorkerType, ...]] = field(default_factory=list)

    def initial(self) -> int:
        """Ticks so far."""
        return 0

    def decide(self, observation: Observation, worker_types: Sequence[WorkerType], state: int) -> tuple[Decision, int]:
        """As scripted."""
        held = dataclasses.replace(observation, reports=dict(observation.reports) if self.curious else {})
        self.seen.append(held)
        self.kinds.append(tuple(worker_types))
        assert observation.fleet is not None
        fleet = {**observation.fleet.declared, **self.fleets.get(observation.at_s, {})}
        decision = Decision(
            "simulated", observation.at_s, Action.HOLD, fleet, "", "plan", None, None, None, None, 0.0, advisory=False
        )
        return decision, state + 1


SCRIPT = {30.0: {"cpu": 6, "gpu": 1}, 60.0: {"cpu": 2}, 64.0: {"cpu": 3, "gpu": 0}, 90.0: {"cpu": 5}}


def load_of(seconds: float, name: str = "bursts", scenario: Scenario = SCENARIO) -> Load:
    """A made-up load."""
    return of_pattern(PATTERNS[name], scenario, length_s=seconds)


@pytest.mark.parametrize("tick_s", [1.0, 0.5])
def test_the_arrays_show_what_the_tape_shows(tick_s: float) -> None:
    """Look by look: rates, history, backlog, fleet, workers, reports, 99th percentile, and what was learnt."""
    load = load_of(110)
    fast, slow = Scripted(SCRIPT, tick_s), Scripted(SCRIPT, tick_s)
    run(fast, load, SCENARIO)
    tape = run_on_tape(slow, load, SCENARIO)
    assert len(fast.seen) == len(slow.seen) == len(tape.decisions) == 110 / tick_s
    for ours, theirs in zip(fast.seen[2:], slow.seen[2:], strict=True):
        assert (ours.rates is None) == (theirs.rates is None)
        if ours.rates is None or theirs.rates is None:
            continue
        for name in ("last_1s", "last_10s", "last_60s", "trend_per_s2", "burstiness", "busiest_share"):
            assert getattr(ours.rates, name) == pytest.approx(getattr(theirs.rates, name), abs=1e-5), name
        assert ours.rates.by_partition == pytest.approx(theirs.rates.by_partition, abs=1e-5)
        assert ours.history is not None
        assert theirs.history is not None
        seconds = min(ours.history.counts.size, theirs.history.counts.size)
        assert seconds >= ours.at_s - 1
        assert ours.history.counts[-seconds:] == pytest.approx(theirs.history.counts[-seconds:], abs=1e-5)
        assert ours.history.by_partition == pytest.approx(theirs.history.by_partition, abs=1e-5)
        assert ours.backlog == theirs.backlog
        assert ours.fleet == theirs.fleet
        for name, status in theirs.workers.items():
            # A type that nobody reported for is left out there.
            assert ours.workers[name] == status
        assert {name: dataclasses.replace(one, latency_counts=()) for name, one in ours.reports.items()} == {
            name: dataclasses.replace(one, latency_counts=()) for name, one in theirs.reports.items()
        }
        if tick_s >= 1:
            assert ours.p99_s == theirs.p99_s
    assert fast.kinds[-1] == slow.kinds[-1]
    # The boots of the workers were learnt: none was the configured one.
    assert fast.kinds[-1][0].boot_s != CPU.boot_s


def test_a_rebalance_is_shown_when_it_happened() -> None:
    """None before the first; then the time at which the last worker joined or left."""
    policy = Scripted({10.0: {"gpu": 1}})
    run(policy, load_of(40), SCENARIO)
    assert policy.seen[15].rebalanced_at_s is None
    assert policy.seen[25].rebalanced_at_s == pytest.approx(19.0)


def test_reports_are_made_only_for_who_looks() -> None:
    """The latencies do not depend on it."""
    load = load_of(60)
    curious, quiet = run(Scripted(SCRIPT), load, SCENARIO), run(Scripted(SCRIPT, curious=False), load, SCENARIO)
    assert np.array_equal(curious.latencies_s, quiet.latencies_s)


def test_measures_by_hand() -> None:
    """Two workers at 0.5 an hour for 100 s after the warm-up; a third for the last 40 s; one action."""
    load = Load("few", np.arange(0.5, 120.0, 1.0), np.zeros(120, dtype=np.int32), 120.0, "")
    scenario = dataclasses.replace(SCENARIO, worker_types=(CPU,))
    policy = Scripted({0.0: {"cpu": 2}, 80.0: {"cpu": 3}})
    done = run(policy, load, scenario)
    found = measure(done, clairvoyant_cost=0.5 * 120 / 3600)
    assert found.cost == pytest.approx(0.5 * (2 * 100 + 40) / 3600)
    assert found.cost_over_clairvoyant == pytest.approx(2.0)
    # 100 requests after the warm-up, at 8 in 0.18 s.
    assert fluid_cost(load, scenario) == pytest.approx(100 * 0.18 / 8 * 0.5 / 3600)
    assert found.cost_over_fluid == pytest.approx(found.cost / fluid_cost(load, scenario))
    assert (found.scale_actions, found.max_workers) == (1, 3)
    # The looks are at 20, 21 ... 119 s, each before that moment's decision is seen in the next.
    assert found.mean_workers == pytest.approx(2.4)
    assert found.violation == 0
    assert found.p50_s == pytest.approx(0.04)
    assert found.decide_ms_p99 == 0


def test_what_is_never_answered_is_late() -> None:
    """No worker at all: all late, no latency to name."""
    scenario = dataclasses.replace(SCENARIO, worker_types=(dataclasses.replace(CPU, min_workers=0),))
    found = measure(run(Scripted({0.0: {"cpu": 0}}), load_of(60, scenario=scenario), scenario))
    assert found.violation == 1.0
    assert found.p99_s is None
    assert found.max_workers == 0


def test_the_first_fleet_is_what_the_first_minute_needs() -> None:
    """70/s on workers of 44/s at 80 %: two, whatever comes later; within the type's bounds."""
    load = load_of(300, "constant")
    assert first_fleet(load, SCENARIO) == {"cpu": 2, "gpu": 0}
    small = dataclasses.replace(SCENARIO, worker_types=(dataclasses.replace(CPU, max_workers=1),))
    assert first_fleet(load, small) == {"cpu": 1}


def test_the_same_seed_gives_the_same_run() -> None:
    """And another seed other boots."""
    load = load_of(120)
    first, again = run(Scripted(SCRIPT), load, SCENARIO), run(Scripted(SCRIPT), load, SCENARIO)
    other = run(Scripted(SCRIPT), load, dataclasses.replace(SCENARIO, seed=5))
    assert np.array_equal(first.latencies_s, again.latencies_s)
    assert not np.array_equal(first.latencies_s, other.latencies_s)


def test_an_objective_is_taken_from_the_scenario() -> None:
    """Seconds and share."""
    assert Scenario(objective_s=0.5, objective_share=0.9).objective == Objective(0.5, 0.9)


def test_a_run_begins_with_the_fleet_that_is_given() -> None:
    """As a live run does, whose first fleet is known."""
    load = load_of(30)
    assert first_fleet(load, SCENARIO)["cpu"] < 7
    done = run(Scripted({}), load, SCENARIO, first={"cpu": 7, "gpu": 0})
    assert set(done.series.ready) == {7}


def test_commits_with_each_batch_leave_only_what_is_unanswered() -> None:
    """With an interval of 0 a record counts as backlog until its batch ends, and no longer."""
    scenario = dataclasses.replace(SCENARIO, commit_interval_s=0.0)
    load = load_of(60, scenario=scenario)
    policy = Scripted({})
    done = run(policy, load, scenario)
    answered_s = load.arrivals_s + done.latencies_s
    for seen in policy.seen:
        assert seen.backlog is not None
        open_ = (load.arrivals_s <= seen.at_s) & (answered_s > seen.at_s)
        assert sum(seen.backlog.values()) == int(open_.sum())
