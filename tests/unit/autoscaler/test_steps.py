"""Whether a larger fleet helped: judged by what was answered, second by second."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from autoscaler.model import ArrivalHistory, Observation
from autoscaler.planning import steps
from autoscaler.policies import registry
from autoscaler.settings import PolicySettings
from autoscaler.simulation.arrivals import Load
from autoscaler.simulation.fleet import spread
from autoscaler.simulation.scenario import Scenario
from autoscaler.simulation.tape import TapeRun, run_on_tape

if TYPE_CHECKING:
    from collections.abc import Callable

    from autoscaler.simulation.engine import Engine

#: Partitions, all with the same load unless said otherwise.
PARTITIONS = 16
CAPACITY = 100.0


class Group:
    """A group as a fluid: `able(workers)` records a second at most, from all partitions alike."""

    def __init__(self, able: Callable[[int], float]) -> None:
        self.able = able
        self.memory = steps.Memory()
        self.now = 0
        self.counts: list[float] = []
        self.backlog = np.zeros(PARTITIONS)

    def play(self, seconds: int, workers: int, arrivals: float, hot: int | None = None) -> steps.Ceiling | None:
        """So many seconds; the ceiling after them. All arrivals may come to one hot partition."""
        for _ in range(seconds):
            self.now += 1
            self.counts.append(arrivals)
            shares = np.full(PARTITIONS, 1 / PARTITIONS)
            if hot is not None:
                shares = np.full(PARTITIONS, 0.4 / (PARTITIONS - 1))
                shares[hot] = 0.6
            self.backlog += arrivals * shares
            done = np.minimum(self.backlog, self.able(workers) * shares)
            if hot is not None:
                # One worker serves the hot partition alone, the others idle.
                done = np.minimum(self.backlog, np.where(shares == shares.max(), CAPACITY, 1e9))
            self.backlog -= done
            history = ArrivalHistory.of(float(self.now), self.counts[-600:], dict(enumerate(shares * arrivals * 100)))
            seen = Observation(
                "p", float(self.now), PARTITIONS, None,
                {p: round(count) for p, count in enumerate(self.backlog.tolist())}, None, None, history=history,
            )  # fmt: skip
            self.memory = steps.look(self.memory, seen, workers=workers, capacity_per_s=CAPACITY, hold_s=600.0)
        return self.memory.ceiling


def bound(limit: float) -> Callable[[int], float]:
    """What all share lets through."""
    return lambda workers: min(workers * CAPACITY, limit)


def test_a_step_that_answers_no_more_is_undone_to_where_it_came_from() -> None:
    """4 workers answer 400; what they share is full with that, so 8 and 16 answer 400 as well."""
    group = Group(bound(400.0))
    assert group.play(120, 4, 500.0) is None
    ceiling = group.play(60, 8, 500.0)
    assert ceiling is not None
    assert ceiling.workers == pytest.approx(5, abs=1)
    assert ceiling.tried == 8
    assert "8 workers answered 400.0/s where 4 had answered 400.0/s" in ceiling.words(float(group.now))


def test_a_step_that_lowers_the_rate_is_undone() -> None:
    """Contention: with 8 workers less comes out than with 4."""
    group = Group(lambda workers: 400.0 if workers <= 4 else 250.0)
    group.play(120, 4, 380.0)
    ceiling = group.play(120, 8, 380.0)
    assert ceiling is not None
    assert ceiling.workers == 4


def test_a_step_that_helps_is_left_alone() -> None:
    """In proportion, or nearly: 20 % lost on the way is ordinary."""
    for efficiency in (1.0, 0.8):
        group = Group(lambda workers, kept=efficiency: workers * CAPACITY * (kept if workers > 4 else 1.0))  # type: ignore[misc]
        group.play(120, 4, 1500.0)
        assert group.play(120, 12, 1500.0) is None


def test_below_capacity_nothing_is_judged() -> None:
    """More workers for the same load answer the same, and that says nothing."""
    group = Group(bound(1e9))
    group.play(300, 4, 300.0)
    assert group.play(300, 12, 300.0) is None
    assert group.play(300, 6, 310.0) is None


def test_a_drain_that_ends_is_not_judged() -> None:
    """A burst piles up, more workers drain it in half a minute, and then answer no more than arrives."""
    group = Group(bound(1e9))
    group.play(200, 4, 300.0)
    group.play(25, 4, 1200.0)
    group.play(25, 4, 300.0)
    assert group.play(120, 14, 300.0) is None


def test_one_hot_partition_says_nothing_of_the_number() -> None:
    """60 % of the load on one partition: its owner is full, the others idle, and no count changes that."""
    group = Group(bound(1e9))
    group.play(120, 4, 300.0, hot=3)
    assert group.play(120, 12, 300.0, hot=3) is None


def test_only_as_many_as_were_of_use_are_kept() -> None:
    """4 workers were not full with 320; 16 answer 640 of their 1600. In proportion 8 or 9 would."""
    group = Group(bound(640.0))
    group.play(120, 4, 320.0)
    ceiling = group.play(90, 16, 900.0)
    assert ceiling is not None
    assert 8 <= ceiling.workers <= 9


def test_a_ceiling_ends_and_the_next_one_holds_twice_as_long() -> None:
    """600 s, then the larger fleet is tried again, in vain, and not for 1200 s."""
    group = Group(bound(400.0))
    group.play(120, 4, 500.0)
    first = group.play(60, 8, 500.0)
    assert first is not None
    assert group.play(570, 5, 500.0) == first
    assert group.play(30, 5, 500.0) is None
    second = group.play(80, 8, 500.0)
    assert second is not None
    assert second.until_s - group.now > 1100


def test_a_ceiling_goes_when_the_smaller_fleet_does_less() -> None:
    """The workers themselves had become slower by half: it was their number after all."""
    group = Group(lambda workers: workers * CAPACITY)
    group.play(120, 4, 1000.0)
    group.able = lambda workers: workers * CAPACITY * 0.5
    assert group.play(60, 8, 1000.0) is not None
    assert group.play(60, 4, 1000.0) is None or group.memory.ceiling is None or group.memory.ceiling.workers > 4
    assert group.play(60, group.memory.ceiling.workers if group.memory.ceiling else 5, 1000.0) is None


def test_a_ceiling_goes_when_what_is_shared_is_faster_again() -> None:
    """The same five workers suddenly answer more than sixteen had: nothing is at its limit any more."""
    group = Group(bound(300.0))
    group.play(120, 4, 600.0)
    assert group.play(60, 16, 600.0) is not None
    group.able = bound(1e9)
    assert group.play(60, 5, 600.0) is None


def test_gaps_and_a_clock_set_back_begin_anew() -> None:
    """No rate is made of what was not seen."""
    group = Group(bound(400.0))
    group.play(120, 4, 500.0)
    group.now -= 300
    group.play(20, 8, 500.0)
    assert group.memory.answered == ()
    nothing = Observation("p", 1.0, PARTITIONS, None, None, None, None)
    assert steps.look(group.memory, nothing, workers=8, capacity_per_s=CAPACITY, hold_s=600.0).at_s is None


def shared_run(hold_s: float) -> TapeRun:
    """The load steps up to 4 workers' worth at second 240; what all share lets 2.2 workers' worth through."""
    rng = np.random.default_rng(3)
    scenario = Scenario(partitions=16, mean_rate=1.0, rebalance_pause_s=1.0)
    capacity = scenario.worker_types[0].curve.capacity_per_s
    early = np.sort(rng.uniform(0, 240, rng.poisson(1.5 * capacity * 240)))
    late = np.sort(rng.uniform(240, 600, rng.poisson(4 * capacity * 360)))
    times = np.concatenate((early, late))
    load = Load("step", times, spread(times.size, 16, 3), 600.0, "")

    def meddle(engine: Engine) -> None:
        if engine.now_s == 0:
            engine.share(2.2 * capacity)

    policy = registry.build("penstock", scenario.objective, PolicySettings(unhelpful_hold_s=hold_s))
    return run_on_tape(policy, load, scenario, first={"cpu": 2}, meddle=meddle)


def test_a_fleet_that_shares_what_is_full_is_not_scaled_to_its_maximum() -> None:
    """Without the ceiling all 16 partitions get a worker of their own, for nothing; with it about three are kept."""
    blind, seeing = shared_run(1e-9), shared_run(600.0)
    assert blind.decisions[-1].fleet["cpu"] == 16
    last = seeing.decisions[-1]
    assert last.bound == "unhelpful"
    assert last.fleet["cpu"] <= 4
    assert "something that all share is at its limit" in last.reason
    assert last.runner_up is not None
    answered = [np.isfinite(done.latencies_s).sum() for done in (blind, seeing)]
    assert answered[1] >= 0.95 * answered[0]
