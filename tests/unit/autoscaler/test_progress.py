"""Partitions without progress: who is accused, who is not, and what it does to the fleet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from autoscaler.model import ArrivalSample, Observation, ServiceCurve, StuckPartition
from autoscaler.policies import registry
from autoscaler.progress import ProgressTracker, sized_backlog, words
from autoscaler.settings import PolicySettings
from autoscaler.simulation.arrivals import Load
from autoscaler.simulation.fleet import spread
from autoscaler.simulation.scenario import Scenario, SimulatedType
from autoscaler.simulation.tape import TapeRun, run_on_tape

if TYPE_CHECKING:
    from autoscaler.simulation.engine import Engine

T0 = 1_700_000_000.0


class Group:
    """Four partitions with 10 records a second each; those in `still` answer nothing, the others all but 5."""

    def __init__(self, partitions: int = 4) -> None:
        self.tracker = ProgressTracker(20.0, 5.0)
        self.now_s = T0
        self.ends = dict.fromkeys(range(partitions), 0)
        self.committed: dict[int, int | None] = dict.fromkeys(range(partitions), 0)

    def second(self, still: set[int] = frozenset(), *, serving: bool = True, step_s: float = 1.0) -> list[int]:  # type: ignore[assignment]
        """One second; the stuck partitions after it."""
        self.now_s += step_s
        for partition in self.ends:
            self.ends[partition] += 10
            if partition not in still:
                self.committed[partition] = self.ends[partition] - 5
        self.tracker.add(ArrivalSample("p", self.now_s, dict(self.ends), dict(self.committed)), serving=serving)
        return [one.partition for one in self.tracker.stuck({})]

    def seconds(self, count: int, still: set[int], *, serving: bool = True) -> list[int]:
        """So many of them; the stuck partitions after the last."""
        return [self.second(still, serving=serving) for _ in range(count)][-1]


def test_a_partition_whose_offset_stands_still_is_stuck_after_its_time() -> None:
    """19 s are not enough, 21 are; how long, how much and whose is told."""
    group = Group()
    group.seconds(5, set())
    assert group.seconds(19, {2}) == []
    assert group.seconds(2, {2}) == [2]
    (one,) = group.tracker.stuck({2: "p-cpu-1"})
    assert one == StuckPartition(2, 21.0, 215, "p-cpu-1")


def test_an_idle_partition_is_not_stuck() -> None:
    """Nothing waits: nothing has to move."""
    tracker = ProgressTracker(20.0, 5.0)
    for second in range(100):
        tracker.add(ArrivalSample("p", T0 + second, {0: 7, 1: second}, {0: 7, 1: second - 1}), serving=True)
    assert tracker.stuck({}) == ()


def marked(lag: int, *, later: int = 0) -> tuple[StuckPartition, ...]:
    """What is stuck when partition 0 keeps this lag behind its last answer, and so many records come after it."""
    tracker = ProgressTracker(20.0, 5.0)
    for second in range(100):
        end = 100 + (lag + 1 if second >= 10 else 0) + (later if second >= 20 else 0)
        committed = {0: 101 if second >= 11 else 100, 1: 100}
        tracker.add(ArrivalSample("p", T0 + second, {0: end, 1: 100}, committed), serving=True)
    return tracker.stuck({})


def test_a_transactions_marker_behind_the_last_answer_is_not_stuck() -> None:
    """It takes an offset that nobody commits; two or more left are records, and so is one that came later."""
    assert marked(1) == ()
    assert [(one.partition, one.backlog) for one in marked(2)] == [(0, 2)]
    assert [(one.partition, one.backlog) for one in marked(0, later=1)] == [(0, 1)]
    assert [(one.partition, one.backlog) for one in marked(1, later=1)] == [(0, 2)]


def test_a_partition_that_has_never_committed_is_stuck_like_any_other() -> None:
    """`None` that stays `None` while records wait and the others move."""
    group = Group()
    group.committed[3] = None
    group.seconds(21, {3})
    assert [one.partition for one in group.tracker.stuck({})] == [3]


def test_a_group_that_starts_accuses_nobody() -> None:
    """While no worker serves and nothing moves the time does not count."""
    group = Group()
    assert group.seconds(120, {0, 1, 2, 3}, serving=False) == []
    assert group.seconds(15, {0, 1, 2, 3}) == []
    assert group.seconds(10, {0, 1, 2, 3}) == [0, 1, 2, 3]


def test_without_reports_the_movement_of_others_shows_that_the_group_works() -> None:
    """Reports may be missing; offsets are not."""
    assert Group().seconds(25, {1}, serving=False) == [1]


def test_clock_steps_and_gaps_accuse_nobody() -> None:
    """An hour forward counts as one gap, a minute back as nothing."""
    group = Group()
    group.seconds(5, {1})
    group.second({1}, step_s=3600.0)
    assert group.second({1}, step_s=-60.0) == []
    assert group.seconds(20, {1}) == [1]


def test_one_that_moves_again_is_recovering_until_it_has_caught_up() -> None:
    """Only its owner can work off what has piled up, so it is not sized for until then."""
    group = Group()
    group.seconds(60, {1})
    group.committed[1] = 50
    group.second({1})
    (one,) = group.tracker.stuck({})
    assert (one.partition, one.recovering, one.still_s) == (1, True, 0.0)
    for done in range(100, 600, 100):
        group.committed[1] = done
        group.second({1})
    assert [one.recovering for one in group.tracker.stuck({})] == [True]
    group.second()
    assert group.tracker.stuck({}) == ()


def test_a_whole_group_that_was_stuck_is_sized_for_once_it_moves() -> None:
    """A broker that was away: all have piled up, and more workers do help."""
    group = Group()
    assert group.seconds(60, {0, 1, 2, 3}) == [0, 1, 2, 3]
    group.committed = dict.fromkeys(group.ends, 100)
    assert group.second({0, 1, 2, 3}) == []


def test_what_is_stuck_is_left_out_of_the_backlog_that_is_sized_for() -> None:
    """The others' counts; not known stays not known."""
    seen = Observation("p", T0, 3, None, {0: 5, 1: 900, 2: 6}, None, None, stuck=(StuckPartition(1, 30.0, 900),))
    assert sized_backlog(seen) == 11
    assert sized_backlog(Observation("p", T0, 3, None, None, None, None)) is None


def test_words_name_partition_time_records_and_owner() -> None:
    """One clause; many are counted."""
    one = StuckPartition(3, 95.4, 4210, "digits-cpu-1")
    assert words((one,)) == (
        "no progress on partition 3 for 95 s (4210 records, owned by digits-cpu-1); what waits there is not sized for"
    )
    many = words((one, *(StuckPartition(p, 30.0, 5) for p in range(4, 9))))
    assert "and 3 more" in many
    assert "no worker owns it" in many
    assert "catches up" in words((StuckPartition(1, 0.0, 5, recovering=True),))
    assert words(()) == ""


#: A quarter of the load on each of 4 partitions; two workers carry it, six are allowed.
KIND = SimulatedType("cpu", ServiceCurve(0.02, 0.02, 8), 0.1, 5.0, max_workers=4)


def stuck_run(stuck_after_s: float) -> TapeRun:
    """Six minutes; partition 1 is not read from second 200 to 320."""
    rng = np.random.default_rng(5)
    times = np.sort(rng.uniform(0, 360, rng.poisson(60 * 360)))
    load = Load("even", times, spread(times.size, 4, 5), 360.0, "")
    scenario = Scenario(partitions=4, commit_interval_s=0.1, rebalance_pause_s=0.5, mean_rate=1.0, worker_types=(KIND,))

    def meddle(engine: Engine) -> None:
        if engine.now_s == 200:
            engine.hold(1)
        if engine.now_s == 320:
            engine.release(1)

    settings = PolicySettings(stuck_after_s=stuck_after_s)
    policy = registry.build("penstock", scenario.objective, settings)
    return run_on_tape(policy, load, scenario, settings=settings, first={"cpu": 2}, meddle=meddle)


def test_a_stuck_partition_does_not_scale_the_fleet_to_its_maximum() -> None:
    """Its backlog bought all there is; left out, it buys nothing, and the decision names it while it lasts."""
    blind, seeing = stuck_run(1e9), stuck_run(8.0)
    assert max(decision.fleet["cpu"] for decision in blind.decisions[200:]) == 4
    assert max(decision.fleet["cpu"] for decision in seeing.decisions[200:]) == 2
    named = [second for second, decision in enumerate(seeing.decisions) if decision.stuck]
    assert named[0] == pytest.approx(209, abs=2)
    at_300 = seeing.decisions[300]
    assert [one.partition for one in at_300.stuck] == [1]
    assert at_300.stuck[0].still_s == pytest.approx(100, abs=2)
    assert at_300.stuck[0].owner is not None
    assert "no progress on partition 1 for" in at_300.reason
    assert any(one.recovering for one in seeing.decisions[325].stuck)
    assert not seeing.decisions[-1].stuck or seeing.decisions[-1].stuck[0].recovering
