"""Which course hindsight chooses, on loads that are told second by second."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pytest

from autoscaler.planning import courses
from autoscaler.planning.carrying import carrying

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = carrying((1 / 64,) * 64, 64)
TERMS = courses.Terms(
    tick_s=1.0,
    actuation_s=25.0,
    slack_s=0.8,
    pause_s=1.0,
    within_s=1.0,
    allowed=0.006,
    half_life_s=3600.0,
    late_price=100.0,
)
ALL = courses.courses()


def play(seconds: int, load: Callable[[int], float], late: float = 0.0) -> tuple[courses.Learnt, list[bool]]:
    """A need that is known exactly and without delay: the load over 0.9, rounded up, by every margin."""
    learnt, surprises = courses.started(int(np.ceil(load(0) / 0.9)), 25), []
    for second in range(seconds):
        needs = np.full(len(courses.MARGINS), int(np.ceil(max(load(second), 0.5) / 0.9)))
        learnt, declared, surprised = courses.step(
            learnt, needs, load=load(second), measured_late=late, carrying=TABLE, terms=TERMS, learning=True
        )
        assert declared.shape == (len(ALL),)
        surprises.append(surprised)
    return learnt, surprises


def test_patience_keeps_the_highest_need_of_its_time() -> None:
    """50 s after a peak of 10 a patience of 30 s has let it go, one of 60 s has not."""
    learnt, _ = play(150, lambda t: 9.0 if 90 <= t < 100 else 3.6)
    declared = dict(
        zip([patience_s for _, patience_s in ALL[: len(courses.PATIENCES_S)]], learnt.declared[-1], strict=False)
    )
    assert declared[30.0] == 4
    assert declared[60.0] == 10


def test_a_constant_load_is_late_by_no_course_and_followed_by_a_lean_one() -> None:
    """Nothing moves, so patience buys nothing and all cost the same: none is believed late after an hour."""
    learnt, surprises = play(3600, lambda _: 7.2)
    assert not any(surprises)
    assert courses.late_share(learnt).max() < 0.006
    assert learnt.late.max() == 0.0


def test_bursts_every_four_minutes_teach_a_patience_that_outlasts_the_gap() -> None:
    """A burst of 30 s that is let go is missed by its whole actuation delay: hindsight keeps it warm over 210 s."""
    learnt, surprises = play(3600, lambda t: 10.0 if t % 240 >= 210 else 1.0)
    assert ALL[learnt.chosen][1] >= 300.0
    # The first could not be known; the last hour's half knows.
    assert any(surprises[:300])
    assert not any(surprises[1800:])


def test_bursts_that_come_once_an_hour_are_not_kept_warm() -> None:
    """No patience reaches that far, so the short ones are as late and cost less."""
    learnt, _ = play(2 * 3600, lambda t: 6.0 if 3000 < t % 3600 < 3060 else 2.0)
    assert ALL[learnt.chosen][1] <= 150.0


def test_what_is_measured_late_makes_it_more_careful() -> None:
    """A swing whose moves the model finds harmless; 2 % measured late must choose more patience than 0 %."""

    def swing(t: int) -> float:
        return 6.0 + 3.0 * np.sin(t / 400)

    calm, _ = play(3600, swing)
    warned, _ = play(3600, swing, late=0.02)
    assert warned.paid[warned.chosen] > calm.paid[calm.chosen]


def test_a_persons_bounds_and_the_reserve_are_known_to_every_course() -> None:
    """At most 4 of the 10 that a peak needs are there, so it is late; what the plan asks for is still told."""
    terms = dataclasses.replace(TERMS, most=4)
    learnt = courses.started(4, 25)
    for second in range(200):
        needs = np.full(len(courses.MARGINS), 4 if second < 100 else 10)
        learnt, declared, late = courses.step(
            learnt, needs, load=3.0 if second < 100 else 9.0, measured_late=0.0, carrying=TABLE, terms=terms,
            learning=True,
        )  # fmt: skip
    assert late
    assert declared.max() == 10
    assert learnt.declared.max() == 4
    kept, _, _ = courses.step(
        courses.started(1, 25), np.full(len(courses.MARGINS), 2), load=1.0, measured_late=0.0, carrying=TABLE,
        terms=dataclasses.replace(TERMS, reserve=3, least=4), learning=True,
    )  # fmt: skip
    assert set(kept.declared[-1].tolist()) == {5}


def test_an_old_state_is_not_changed() -> None:
    """The state is a value: the same step twice gives the same."""
    learnt, _ = play(100, lambda t: 3.0 + t / 50)
    needs = np.full(len(courses.MARGINS), 6)
    kept = {name: np.copy(getattr(learnt, name)) for name in ("needs", "declared", "backlog", "paid", "late", "moved")}
    results = [
        courses.step(learnt, needs, load=5.0, measured_late=0.0, carrying=TABLE, terms=TERMS, learning=True)[0]
        for _ in range(2)
    ]
    assert results[0].paid == pytest.approx(results[1].paid)
    assert all(np.array_equal(getattr(learnt, name), value) for name, value in kept.items())
