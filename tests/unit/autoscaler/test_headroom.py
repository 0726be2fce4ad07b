"""What came too soon for a boot, the price of having it in time, and a reserve that does."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pytest

from autoscaler.model import HeadRoom, ServiceCurve, WorkerType
from autoscaler.planning import experience, headroom
from autoscaler.planning.carrying import carrying
from autoscaler.policies.penstock_policy import PenstockPolicy
from autoscaler.settings import PolicySettings
from autoscaler.simulation.arrivals import Load
from autoscaler.simulation.fleet import spread
from autoscaler.simulation.run import Run, run
from autoscaler.simulation.scenario import REFERENCE_TYPE, Scenario

if TYPE_CHECKING:
    from collections.abc import Callable

    from autoscaler.model import Decision, Observation
    from autoscaler.policies.penstock import PolicyState

TABLE = carrying((1 / 64,) * 64, 64)
KIND = WorkerType("cpu", "cpu", 0.5, 1, 64, ServiceCurve(0.015, 0.005, 16), 20.0)
TERMS = experience.Terms(
    tick_s=1.0,
    actuation_s=22.0,
    slack_s=0.8,
    pause_s=1.0,
    within_s=1.0,
    allowed=0.006,
    half_life_s=3600.0,
    late_price=100.0,
    surprise_keep_s=600.0,
    drain_price=12.0,
    drain_keep_s=30.0,
)


def play(seconds: int, load: Callable[[int], float], room: int = 0, boot_s: float = 20.0) -> headroom.Played:
    """A fleet that is asked for as soon as its load is there, rounded up over 0.9, with so many more."""
    played = None
    for second in range(seconds):
        played = headroom.step(
            played, load=load(second), declared=int(np.ceil(load(second) / 0.9)) + room, measured_late=0.0,
            boot_s=boot_s, carrying=TABLE, terms=dataclasses.replace(TERMS, actuation_s=boot_s + 2), learning=True,
        )  # fmt: skip
    assert played is not None
    return played


def told(played: headroom.Played, *, least: float = 1.0, allowed: float = 0.01) -> HeadRoom:
    """What is said, by default as if no course had done better than what was followed."""
    room = headroom.told(played, kind=KIND, least_late=least, allowed=allowed, terms=TERMS)
    assert room is not None
    return room


def step(second: int) -> float:
    """From 2 workers' worth to 10 after ten minutes, at once."""
    return 2.0 if second < 600 else 10.0


def test_a_constant_load_needs_no_head_room() -> None:
    """Nothing came too soon; nothing costs anything."""
    room = told(play(900, lambda _: 5.0))
    assert not room.unmet
    assert (room.workers, room.price_per_hour, room.unavoidable_share) == (0, 0.0, 0.0)
    assert headroom.words(room) == ""


def test_a_step_is_late_for_a_boot_whatever_the_policy() -> None:
    """20 s of boot, 2 s of tick and pause, and what has piled up meanwhile, at 10, over all of the load."""
    room = told(play(900, step))
    # Until the new workers serve all of the step's load is late, and while they drain 8 * 22 s at 12 - 10.
    assert room.unavoidable_share > 22 * 10 / (600 * 2 + 300 * 10)
    assert room.unmet


def test_its_price_is_the_head_room_that_carries_the_step_from_the_start() -> None:
    """3 were there and 11 carry 10 of load: at least 8 more, of the counts that are played the next one up."""
    room = told(play(900, step))
    assert room.workers is not None
    assert 8 <= room.workers <= 11
    assert room.price_per_hour == pytest.approx(0.5 * room.workers)
    assert not told(play(900, step, room=room.workers)).unmet
    assert told(play(900, step, room=4)).unmet


def test_a_shorter_boot_that_keeps_the_objective_is_named() -> None:
    """Playing with that boot keeps it, and with the next longer one does not."""
    room = told(play(1800, step))
    assert room.boot_enough_s is not None
    assert room.boot_enough_s < 20.0
    assert not told(play(1800, step, boot_s=room.boot_enough_s)).unmet
    longer = min(20.0 * part for part in (1.0, *headroom.BOOTS) if 20.0 * part > room.boot_enough_s)
    assert told(play(1800, step, boot_s=longer)).unmet


def test_what_another_course_would_have_had_in_time_was_avoidable() -> None:
    """The share is that of the least late course; with it within the allowance there is nothing to buy."""
    room = told(play(900, step), least=0.002)
    assert room.unavoidable_share == pytest.approx(0.002)
    assert not room.unmet


def test_where_not_even_all_workers_are_enough_it_says_so() -> None:
    """A load beyond the maximum."""
    room = told(play(900, lambda second: 2.0 if second < 600 else 90.0))
    assert room.workers is None
    assert room.price_per_hour is None
    assert "not even all workers" in headroom.words(room)


def test_too_little_experience_says_nothing() -> None:
    """A few minutes are no basis for a price."""
    assert headroom.told(play(200, step), kind=KIND, least_late=1.0, allowed=0.01, terms=TERMS) is None


def test_old_experience_fades() -> None:
    """An hour later the step counts half, and the load since then has diluted it."""
    assert told(play(4200, step)).unavoidable_share < 0.5 * told(play(900, step)).unavoidable_share


def test_the_sentence_has_share_price_and_boot() -> None:
    """For people."""
    room = HeadRoom(1740.0, 0.03, 0.026, 0.01, 24.0, 16, 16.0, 6.0)
    assert headroom.words(room) == (
        "2.60% of the load of the last 29 min came before a boot of 24 s had passed and no course would have had it in "
        "time, 1.00% may be late: 16 more workers at all times (16 an hour) or a boot of 6 s would have kept it"
    )


class Watched(PenstockPolicy):
    """Remembers its last decision."""

    last: list[Decision] = []  # noqa: RUF012 - cleared by each run

    def decide(
        self, observation: Observation, worker_types: object, state: PolicyState
    ) -> tuple[Decision, PolicyState]:
        """As its base."""
        decision, state = super().decide(observation, worker_types, state)  # type: ignore[arg-type]
        self.last[:] = [decision]
        return decision, state


#: A step to four times the load; 16 partitions, so that a second costs little.
SMALL = Scenario(partitions=16, mean_rate=1.0, rebalance_pause_s=1.0)


def stepped(settings: PolicySettings, scenario: Scenario = SMALL) -> tuple[Run, Decision]:
    """15 minutes, the step after 9."""
    capacity = REFERENCE_TYPE.curve.capacity_per_s
    rng = np.random.default_rng(4)
    early = np.sort(rng.uniform(0, 540, rng.poisson(1.5 * capacity * 540)))
    late = np.sort(rng.uniform(540, 900, rng.poisson(6 * capacity * 360)))
    times = np.concatenate((early, late))
    load = Load("step", times, spread(times.size, 16, 4), 900.0, "")
    done = run(Watched(scenario.objective, settings), load, scenario)
    return done, Watched.last[0]


def violation(done: Run) -> float:
    """Share late."""
    return float((done.latencies_s > 1.0).mean())


def test_the_reserve_that_a_decision_names_would_have_kept_the_objective() -> None:
    """Without it the step is late for a boot; with it, or with the shorter boot, the simulated group is in time."""
    done, last = stepped(PolicySettings())
    assert violation(done) > 0.02
    room = last.head_room
    assert room is not None
    assert room.unmet
    assert room.unavoidable_share == pytest.approx(violation(done), rel=0.5)
    assert room.workers is not None
    assert "more workers at all times" in last.reason
    held, with_reserve = stepped(PolicySettings(reserve=room.workers))
    assert violation(held) <= 0.01
    assert (with_reserve.reserve, with_reserve.reserve_price_per_hour) == (room.workers, float(room.workers))
    # It is paid from the warm-up's end to the step, and beyond.
    assert held.cost - done.cost >= 0.8 * room.workers * (540 - 120) / 3600
    assert room.boot_enough_s is not None
    kind = dataclasses.replace(REFERENCE_TYPE, boot_s=max(0.5, room.boot_enough_s))
    quick, _ = stepped(PolicySettings(), dataclasses.replace(SMALL, worker_types=(kind,)))
    assert violation(quick) < 0.5 * violation(done)
