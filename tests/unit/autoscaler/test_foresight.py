"""The policy with foresight, closed over the simulated group."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from autoscaler.model import (
    Action,
    ArrivalHistory,
    Decision,
    FleetStatus,
    Objective,
    Observation,
    ServiceCurve,
    TypeStatus,
    WorkerType,
)
from autoscaler.policies.penstock import PolicyState, decide
from autoscaler.policies.penstock_policy import PenstockPolicy
from autoscaler.settings import PolicySettings
from autoscaler.simulation.arrivals import Load, of_pattern
from autoscaler.simulation.patterns import PATTERNS
from autoscaler.simulation.run import Run, run
from autoscaler.simulation.scenario import Scenario, SimulatedType

#: A quarter of the reference's load, so that a second costs little: 2 workers' worth.
SMALL = Scenario(mean_workers=2.0)


def played(load: Load, scenario: Scenario = SMALL, **settings: float) -> Run:
    """The policy on a load."""
    policy = PenstockPolicy(Objective(scenario.objective_s, scenario.objective_share), PolicySettings(**settings))
    return run(policy, load, scenario)


def late(done: Run, from_s: float) -> float:
    """Share of the requests that came after `from_s` and were late."""
    counted = done.load.arrivals_s >= from_s
    return float((done.latencies_s[counted] > done.scenario.objective_s).mean())


def switched(load: Load, on_s: int, gap_s: int, seed: int) -> Load:
    """The same load, but in the gaps of each period only a twentieth of it."""
    rng = np.random.default_rng(seed)
    phase = load.arrivals_s % (on_s + gap_s)
    keep = (phase >= gap_s) | (rng.uniform(size=phase.size) < 0.05)
    return Load(
        **{
            **{name: getattr(load, name) for name in Load.__dataclass_fields__},
            "arrivals_s": load.arrivals_s[keep],
            "partition_of": load.partition_of[keep],
        }
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_a_constant_load_causes_no_action_after_five_minutes(seed: int) -> None:
    """40 simulated minutes; at 64 partitions and 2 workers' worth the need is 3 workers, whatever the noise."""
    done = played(of_pattern(PATTERNS["constant"], SMALL, length_s=2400, seed=seed))
    assert [change.at_s for change in done.changes if change.at_s > 300] == []
    assert late(done, 120) < 0.001


def test_a_long_objective_takes_no_load_that_lasts_for_a_passing_one() -> None:
    """Much may wait where 10 s are allowed, and 4.8 workers' worth need 6 of 64 partitions' worth for ever."""
    slow = SimulatedType("cpu", ServiceCurve(0.15, 0.05, 16), boot_s=20.0, boot_spread=0.2)
    scenario = Scenario(objective_s=10.0, mean_workers=4.8, worker_types=(slow,))
    done = played(of_pattern(PATTERNS["constant"], scenario, length_s=2400, seed=16), scenario)
    assert [change.at_s for change in done.changes if change.at_s > 300] == []
    assert done.series.declared[-1] == 6


@pytest.mark.parametrize(
    ("seed", "length_s"),
    [
        pytest.param(1, 2400, id="40 minutes"),
        pytest.param(2, 450, id="a new forecast that is right by chance"),
        pytest.param(7, 450, id="a first fleet that is larger than the need"),
    ],
)
def test_chance_at_a_low_rate_causes_no_action_after_five_minutes(seed: int, length_s: float) -> None:
    """80 records a second on slow workers: a count of 3 s is off by 6 %, the need is the same."""
    slow = dataclasses.replace(Scenario().worker_types[0], curve=ServiceCurve(0.15, 0.05, 16))
    scenario = Scenario(objective_s=10.0, mean_workers=4.8, worker_types=(slow,))
    done = played(of_pattern(PATTERNS["constant"], scenario, length_s=length_s, seed=seed), scenario)
    assert [change.at_s for change in done.changes if change.at_s > 300] == []


def test_skewed_partitions_cost_little_more_than_even_ones() -> None:
    """Zipf 0.5, four workers' worth: shared out by number the busiest would have twice its part."""
    even, skewed = (Scenario(mean_workers=4.0, skew=skew) for skew in (0.0, 0.5))
    runs = [played(of_pattern(PATTERNS["constant"], one, length_s=900, seed=1), one) for one in (even, skewed)]
    assert runs[1].cost <= 1.1 * runs[0].cost
    assert late(runs[1], 120) < 0.01


def test_a_partition_that_no_worker_can_carry_does_not_hold_up_the_others() -> None:
    """Zipf 1, six workers' worth: the first partition is 1.27 workers' worth by itself, and all others are in time."""
    scenario = Scenario(mean_workers=6.0, skew=1.0)
    done = played(of_pattern(PATTERNS["constant"], scenario, length_s=600, seed=1), scenario)
    counted = done.load.arrivals_s >= 120
    hot = done.load.partition_of == np.bincount(done.load.partition_of).argmax()
    in_time = done.latencies_s <= scenario.objective_s
    assert in_time[counted & ~hot].mean() > 0.98
    assert in_time[counted & hot].mean() < 0.5
    # The rule of the first three minutes takes all there are; with foresight the others' need decides.
    assert sum(done.changes[-1].fleet.values()) <= 12


def test_bursts_are_kept_warm_once_they_have_been_seen() -> None:
    """Two minutes off, half a minute on at six workers' worth: a quarter is late at first, later a twentieth.

    What is left are the moves of the workers that each burst's steep beginning asks for on top of those that are kept.
    """
    scenario = Scenario(mean_workers=6.0)
    load = switched(of_pattern(PATTERNS["constant"], scenario, length_s=2400, seed=3), 30, 120, 3)
    done = played(load, scenario)
    first = (load.arrivals_s > 120) & (load.arrivals_s < 300)
    assert (done.latencies_s[first] > scenario.objective_s).mean() > 0.2
    assert late(done, 900) < 0.06
    assert late(done, 120) > late(done, 900)


def test_a_fleet_is_not_let_go_while_the_load_rises() -> None:
    """Ten workers, load for three: they go, unless the last seconds say that in a boot's time ten are needed again."""
    cpu = WorkerType("cpu", "cpu", 1.0, 1, 64, ServiceCurve(0.015, 0.005, 16), 20.0)
    counts = np.random.default_rng(1).poisson(500.0, 1000).astype(float)
    rising = counts.copy()
    rising[-8:] += 40.0 * np.arange(1, 9)

    def look(second: int, counts: np.ndarray, state: PolicyState) -> tuple[Decision, PolicyState]:
        newest = counts[max(0, second - 600) : second]
        seen = Observation(
            "p", float(second), 64, None, dict.fromkeys(range(64), 0), FleetStatus({"cpu": 10}, {"cpu": 10}), None,
            workers={"cpu": TypeStatus(10, ())},
            history=ArrivalHistory(float(second), newest, np.ones(newest.size, dtype=bool), {}),
        )  # fmt: skip
        return decide(seen, PolicySettings(), [cpu], Objective(), state)

    state = PolicyState()
    for second in range(200, 1000):
        _, state = look(second, counts, state)
    flat, _ = look(1000, counts, state)
    kept, _ = look(1000, rising, state)
    assert flat.fleet["cpu"] <= 5
    assert kept.fleet["cpu"] == 10
    assert "rises" in kept.reason


def test_a_fleet_that_is_not_known_is_not_taken_for_none() -> None:
    """Nobody says what is declared for a minute: none of that load counts as late of the real fleet."""
    cpu = WorkerType("cpu", "cpu", 1.0, 1, 64, ServiceCurve(0.015, 0.005, 16), 20.0)
    counts = np.random.default_rng(1).poisson(500.0, 300).astype(float)
    state = PolicyState()
    for second in range(200, 260):
        newest = counts[:second]
        seen = Observation(
            "p", float(second), 64, None, dict.fromkeys(range(64), 0), None, None,
            history=ArrivalHistory(float(second), newest, np.ones(newest.size, dtype=bool), {}),
        )  # fmt: skip
        _, state = decide(seen, PolicySettings(), [cpu], Objective(), state)
    learnt = state.foresight.learnt
    assert learnt is not None
    assert learnt.declared[-1, -1] > 0
    assert learnt.late[-1] <= learnt.late[:-1].max()


def test_a_burst_is_not_foreseen_beyond_what_was_seen() -> None:
    """Bursts of 40 s, eight times what is between them: no plan is made for more than a quarter above their height."""
    load = switched(of_pattern(PATTERNS["constant"], Scenario(mean_workers=6.0), length_s=1500, seed=3), 40, 110, 3)
    done = played(load)
    per_s = np.bincount(load.arrivals_s.astype(np.int64), minlength=1500).astype(float)
    highest = np.convolve(per_s, np.full(3, 1 / 3), "valid").max()
    plans = [change.plan.rate_per_s for change in done.changes if change.at_s > 200 and change.plan is not None]
    assert len(plans) > 2
    assert max(plans) <= 1.25 * highest + 1e-6


def test_a_step_is_drained_and_the_fleet_comes_down_again() -> None:
    """Five times the load at once: no policy can have it in time, but two minutes later nearly all of it is.

    Of the three minutes after those a move of the fleet makes 0.7 % late, and two may be made.
    """
    load = of_pattern(PATTERNS["step5"], SMALL, length_s=1800, seed=1)
    done = played(load)
    counts = np.bincount(load.arrivals_s.astype(int))
    step_s = int(np.argmax(counts > 2.5 * np.median(counts[:300])))
    after = (load.arrivals_s > step_s + 120) & (load.arrivals_s < step_s + 300)
    assert (done.latencies_s[after] > 1.0).mean() < 0.02
    ups = [change for change in done.changes if change.action is Action.SCALE_UP and change.at_s >= step_s]
    assert ups[0].at_s <= step_s + 4
    assert ups[0].fleet["cpu"] >= 8


def test_a_backlog_that_is_not_there_buys_no_workers() -> None:
    """After a step down paths expect it up again: that is for courses to judge. 16 moves of the fleet if drains do."""
    scenario = Scenario(seed=1)
    done = played(of_pattern(PATTERNS["step5"], scenario, length_s=1800, seed=1), scenario)
    assert len([change for change in done.changes if change.at_s > 1300]) <= 6


def test_a_decision_says_what_asked_for_it() -> None:
    """The plan holds the numbers, and the same history gives the same decisions again."""
    load = of_pattern(PATTERNS["sawtooth6"], SMALL, length_s=900, seed=1)
    first, second = played(load), played(load)
    assert [change.fleet for change in first.changes] == [change.fleet for change in second.changes]
    last = first.changes[-1]
    assert last.plan is not None
    assert last.plan.busiest_utilisation > 0
    assert "late" in last.reason
    assert last.forecast is not None
    assert last.forecast.lower_per_s <= last.forecast.mean_per_s <= last.forecast.upper_per_s


def test_without_foresight_the_reactive_rule_decides() -> None:
    """`foresight_s` beyond the history that is kept switches it off."""
    load = of_pattern(PATTERNS["constant"], SMALL, length_s=600, seed=1)
    done = played(load, foresight_s=1e9)
    assert all("paths" not in change.reason for change in done.changes)
