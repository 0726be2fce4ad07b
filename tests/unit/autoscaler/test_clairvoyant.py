"""The schedule that knew the load: a real one, which keeps the objective, near what can be worked out by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from autoscaler.model import ServiceCurve
from autoscaler.simulation.arrivals import Load, of_pattern
from autoscaler.simulation.clairvoyant import clairvoyant, fixed
from autoscaler.simulation.fleets import candidates, useful_counts
from autoscaler.simulation.measures import fluid_cost, measure
from autoscaler.simulation.patterns import PATTERNS
from autoscaler.simulation.polish import polish
from autoscaler.simulation.run import first_fleet, run
from autoscaler.simulation.scenario import Scenario, SimulatedType
from autoscaler.simulation.schedule import Change, Executor, Schedule, SchedulePolicy

CPU = SimulatedType("cpu", ServiceCurve(0.02, 0.02, 8), 1.0, 10.0, 0.2, 1, 12)
GPU = SimulatedType("gpu", ServiceCurve(0.02, 0.002, 64), 4.0, 30.0, 0.0, 0, 3)
SCENARIO = Scenario(
    partitions=12, rebalance_pause_s=1.5, mean_rate=130.0, mean_workers=None, warm_up_s=30.0, worker_types=(CPU,)
)


def load_of(pattern: str, seconds: float, scenario: Scenario = SCENARIO) -> Load:
    """A made-up load."""
    return of_pattern(PATTERNS[pattern], scenario, length_s=seconds)


def test_counts_that_relieve_the_busiest_worker() -> None:
    """64 partitions: where ceil(64 / n) changes."""
    assert useful_counts(64, 1, 64) == [1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 13, 16, 22, 32, 64]
    assert useful_counts(64, 9, 20) == [9, 10, 11, 13, 16]
    assert useful_counts(4, 0, 9) == [0, 1, 2, 4]


def test_what_fleets_carry_and_what_changes_cost() -> None:
    """Partitions by capacity; boots by price; moved partitions by who keeps what."""
    shares = np.full(12, 1 / 12)
    found = candidates(SCENARIO, shares, 500.0, {"cpu": 3})
    assert found.fleets[0] == (3,)
    by_count = {fleet[0]: place for place, fleet in enumerate(found.fleets)}
    # Five workers: the busiest has three of twelve partitions, so the group is full at four workers' worth.
    assert found.capacity_per_s[by_count[6]] == pytest.approx(6 * CPU.curve.capacity_per_s)
    assert 5 not in by_count
    assert found.boot_price[by_count[3], by_count[6]] == pytest.approx(3 * 10 / 3600)
    assert found.boot_price[by_count[6], by_count[3]] == 0
    assert found.moved[by_count[3], by_count[6]] == pytest.approx(0.5)
    eager = candidates(dataclasses.replace(SCENARIO, rebalance="eager"), shares, 500.0, {"cpu": 3})
    assert eager.moved[0, 1] == 1


def test_a_schedule_is_executed_as_declared() -> None:
    """Two workers, a third from 50 s and one less from 100 s: paid from its order to its end, by hand."""
    executor = Executor(load_of("constant", 200), SCENARIO)
    done = executor.run(Schedule({"cpu": 4}, (Change(50.0, "cpu", 1), Change(100.0, "cpu", -2))))
    # The batches in hand at 100 s are paid for too: at most 0.18 s each.
    assert done.cost * 3600 == pytest.approx(4 * 20 + 5 * 50 + 3 * 100, abs=0.4)
    assert done.schedule.fleets() == [(50.0, {"cpu": 5}), (100.0, {"cpu": 3})]
    again = executor.run(done.schedule)
    assert np.array_equal(again.late_s, done.late_s)


def test_a_step_is_met_before_it_comes() -> None:
    """5x for the middle third: within the allowance, near the price of 2 and then 7 workers, in few actions.

    130/s on average is 56/s and 279/s; full batches carry 44/s, and the busiest of n workers has ceil(12/n)/12 of the
    load. So 2 workers are enough outside (2 carry 88/s), 12 inside (6 carry 267/s: too few).
    """
    load = load_of("step5", 900)
    found = clairvoyant(load, SCENARIO)
    assert found.feasible
    assert found.executed.violation <= 0.01
    by_hand = (2 * (300 - 30 + 300) + 12 * 300 + 10 * 10) / 3600
    assert found.cost <= by_hand * 1.03
    assert found.cost >= fluid_cost(load, SCENARIO)
    ups = [change for change in found.executed.schedule.changes if change.by > 0]
    assert ups
    assert min(change.at_s for change in ups) < 300
    assert len(found.executed.schedule.changes) <= 8


def test_it_is_a_schedule_that_any_policy_could_have_followed() -> None:
    """Run as a policy in the closed loop: the same cost and the same late records."""
    load = load_of("sawtooth6", 700)
    found = clairvoyant(load, SCENARIO)
    done = run(SchedulePolicy(found.executed.schedule), load, SCENARIO)
    judged = measure(done, clairvoyant_cost=found.cost)
    assert judged.violation == pytest.approx(found.executed.violation, abs=1e-9)
    assert judged.cost_over_clairvoyant == pytest.approx(1.0)
    assert judged.policy == "clairvoyant"


def test_constant_load_is_for_a_fixed_fleet() -> None:
    """What the allowance of late records buys is less than 5 %, in a few changes."""
    load = load_of("constant", 600)
    found, best = clairvoyant(load, SCENARIO), fixed(load, SCENARIO)
    assert best is not None
    assert best.cost * 0.95 <= found.cost <= best.cost
    assert len(found.executed.schedule.changes) <= 3


def test_an_objective_out_of_reach_is_said() -> None:
    """One worker allowed at three workers' load: the least late schedule, and not feasible."""
    scenario = dataclasses.replace(SCENARIO, worker_types=(dataclasses.replace(CPU, max_workers=1),))
    found = clairvoyant(load_of("constant", 120, scenario), scenario)
    assert not found.feasible
    assert found.executed.violation > 0.5
    assert fixed(load_of("constant", 120, scenario), scenario) is None


def test_the_fixed_fleet_in_hindsight_is_the_smallest_that_holds() -> None:
    """And one step fewer does not."""
    load = load_of("step5", 600)
    found = fixed(load, SCENARIO)
    assert found is not None
    assert found.violation <= 0.01
    count = found.schedule.first["cpu"]
    fewer = max(n for n in useful_counts(12, 1, 12) if n < count)
    assert Executor(load, SCENARIO).run(Schedule({"cpu": fewer})).violation > 0.01
    assert clairvoyant(load, SCENARIO).cost <= found.cost


def test_polishing_saves_and_keeps_the_allowance() -> None:
    """A schedule that orders 40 s too early and lets go 40 s too late gets most of that back."""
    load = load_of("step5", 900)
    executor = Executor(load, SCENARIO)
    wide = Schedule({"cpu": 2}, (Change(240.0, "cpu", 10), Change(640.0, "cpu", -10)))
    before = executor.run(wide)
    assert before.violation <= 0.01
    after = polish(executor, before, 0.01)
    assert after.violation <= 0.01
    assert before.cost - after.cost > 10 * 50 / 3600


def test_a_mixed_fleet_is_cheaper_where_the_large_worker_is() -> None:
    """A GPU carries ten CPU workers' load at the price of four: at a high load it is used, and it pays."""
    scenario = dataclasses.replace(SCENARIO, mean_rate=320.0, worker_types=(CPU, GPU))
    load = load_of("step5", 600, scenario)
    mixed = clairvoyant(load, scenario)
    single = dataclasses.replace(scenario, worker_types=(CPU,))
    alone = clairvoyant(dataclasses.replace(load), single)
    assert mixed.feasible
    assert any(change.kind == "gpu" for change in mixed.executed.schedule.changes)
    assert mixed.cost < (alone.cost if alone.feasible else np.inf)
    assert first_fleet(load, scenario)["gpu"] == 0
