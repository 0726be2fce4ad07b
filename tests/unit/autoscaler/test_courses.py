"""What courses declare, and which of them hindsight chooses, on loads that are told second by second."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
import pytest

from autoscaler.planning import courses, experience
from autoscaler.planning.carrying import carrying
from autoscaler.planning.courses import COURSES, MARGINS, Needs, Recent

if TYPE_CHECKING:
    from collections.abc import Callable

TABLE = carrying((1 / 64,) * 64, 64)
TERMS = experience.Terms(
    tick_s=1.0,
    actuation_s=25.0,
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


def needed(workers: int, *, stride: int | None = None, came: int | None = None) -> Needs:
    """The same need by every margin."""
    return Needs(
        *(np.full(len(MARGINS), count) for count in (workers, stride or workers, workers if came is None else came))
    )


def play(
    seconds: int, load: Callable[[int], float], late: float = 0.0, terms: experience.Terms = TERMS
) -> tuple[experience.Learnt, list[bool]]:
    """A need that is known exactly and without delay: the load over 0.9, rounded up, by every margin.

    Returns:
        What was learnt; and at each second whether the load was more than the followed course could carry in time.
    """
    learnt, surprises = experience.started(int(np.ceil(load(0) / 0.9)), 25), []
    for second in range(seconds):
        needs, before = needed(int(np.ceil(max(load(second), 0.5) / 0.9))), learnt.late[-1]
        learnt, said = experience.step(
            learnt, needs, load=load(second), measured_late=late, carrying=TABLE, terms=terms, learning=True
        )
        assert said.workers >= said.foreseen
        surprises.append(bool(learnt.late[-1] > before))
    return learnt, surprises


def of(counts: np.ndarray, *, keep_s: float = 60.0, holds: bool = False, strides: bool = False) -> dict[float, int]:
    """Counts of the leanest margin with this habit, by patience."""
    wanted = courses.Habit(keep_s, holds=holds, strides=strides)
    return {
        course.patience_s: int(count)
        for course, count in zip(COURSES, counts, strict=False)
        if course.margin == MARGINS[0] and course.habit == wanted
    }


def declared(needs: list[Needs], *, surprised_s: float = 0.0) -> list[np.ndarray]:
    """What the courses declare at each of these ticks."""
    recent, before, rows = Recent.nothing(), np.full(len(COURSES), needs[0].paths[0]), []
    recent = recent.with_surprises(np.ones(len(COURSES), dtype=bool), surprised_s)
    for tick in needs:
        recent = recent.with_needs(tick, 1.0)
        before, _ = courses.declared(recent, before, 1.0)
        rows.append(before)
    return rows


def test_patience_keeps_the_highest_need_that_came() -> None:
    """50 s after a peak of 10 a patience of 30 s has let it go, one of 60 s has not."""
    now = declared([needed(4)] * 90 + [needed(10)] * 10 + [needed(4)] * 50)[-1]
    assert of(now)[30.0] == 4
    assert of(now)[60.0] == 10


def test_while_the_load_rises_what_is_there_is_kept_for_it() -> None:
    """10 are there and 4 needed: with a rise that will need 7 no course has less, and none grows for it."""
    rising = dataclasses.replace(needed(4), rising=np.full(len(MARGINS), 7))
    rows = declared([needed(10)] + [needed(4)] * 40 + [rising] * 700)
    assert of(rows[39])[30.0] == 4
    assert of(rows[-1])[30.0] == 4
    assert of(declared([needed(10)] + [rising] * 700)[-1])[30.0] == 7
    assert of(declared([needed(10)] + [rising] * 700 + [needed(4)])[-1])[30.0] == 4


def test_a_longer_patience_is_not_believed_until_it_has_lost_once() -> None:
    """Gaps come at random: a tenth of what 30 s had late in 100 s is a hundredth in about 170, of which 0.6 count."""
    late = np.zeros((len(COURSES) // len(courses.PATIENCES_S), len(courses.PATIENCES_S)))
    late[0, :3] = [100.0, 20.0, 10.0]
    late[1, :] = 5.0
    late[2, :4] = [0.0, 0.0, 0.0, 3.0]
    foretold = experience.foretold(late.ravel()).reshape(late.shape)
    # From 100 s to 150 s: 0.6 x 10 x (10 / 100) ** (50 / 70).
    assert foretold[0, 3] == pytest.approx(0.6 * 10.0 * 0.1 ** (50 / 70))
    assert np.all(np.diff(foretold[0]) < 0)
    assert np.all(foretold[0, 3:] > 0)
    # What was seen is not made less of, and what never was late is foretold nothing.
    assert np.all(foretold >= late)
    assert np.all(foretold[1] == 5.0)
    assert np.all(foretold[3:] == 0.0)


def test_a_need_that_was_forecast_and_did_not_come_is_let_go_sooner() -> None:
    """100 s after it: gone where it is kept for a minute, there where it is kept for the patience."""
    now = declared([needed(10, came=4)] + [needed(4)] * 100)[-1]
    assert of(now)[300.0] == 4
    assert of(now, keep_s=600.0)[300.0] == 10


def test_a_course_that_holds_keeps_what_came_after_a_surprise() -> None:
    """250 s after a peak of 10 no patience of 30 s has it, unless it holds; once 300 s have passed nobody has."""
    rows = declared([needed(10)] + [needed(4)] * 350, surprised_s=300.0)
    assert of(rows[250])[30.0] == 4
    assert of(rows[250], holds=True)[30.0] == 10
    assert of(rows[-1], holds=True)[30.0] == 4


def test_a_stride_goes_where_the_next_minute_would_and_stays_while_it_is_justified() -> None:
    """On a ramp of one worker in 20 s a stride of three moves the group a third as often, and never later."""
    ramp = [needed(4 + t // 20, stride=7 + t // 20) for t in range(400)]
    small, large = ([of(row, holds=True, strides=strides)[30.0] for row in declared(ramp)] for strides in (False, True))
    assert all(there >= wanted for there, wanted in zip(large, small, strict=True))
    moves = [int(np.count_nonzero(np.diff(counts))) for counts in (small, large)]
    assert moves[0] == 19
    assert moves[1] <= 7


def test_a_persons_bounds_and_the_reserve_are_known_to_every_course() -> None:
    """At most 5 of the 8 that are needed are there, so it is late; what the plan asks for is still told."""
    bound = dataclasses.replace(TERMS, least=2, most=5)
    learnt, surprises = play(600, lambda _: 7.2, terms=bound)
    assert learnt.declared[-1].max() == 5
    assert learnt.asked.min() == 8
    assert all(surprises[-60:])
    kept, said = experience.step(
        experience.started(1, 25), needed(2), load=1.0, measured_late=0.0, carrying=TABLE,
        terms=dataclasses.replace(TERMS, reserve=3, least=4), learning=True,
    )  # fmt: skip
    assert set(kept.declared[-1].tolist()) == {5}
    assert said.workers == 2


def test_a_constant_load_is_late_by_no_course_and_followed_by_a_lean_one() -> None:
    """Nothing moves, so patience buys nothing and all cost the same: none is believed late after twenty minutes."""
    learnt, surprises = play(1200, lambda _: 7.2)
    assert not any(surprises)
    assert learnt.late.max() == 0.0
    assert experience.late_share(learnt)[learnt.chosen] < 0.006


def test_bursts_every_four_minutes_teach_a_patience_that_outlasts_the_gap() -> None:
    """A burst of 30 s that is let go is missed by its whole actuation delay: hindsight keeps it warm over 210 s."""
    learnt, surprises = play(3600, lambda t: 10.0 if t % 240 >= 210 else 1.0)
    assert COURSES[learnt.chosen].patience_s >= 300.0
    # The first could not be known; the last hour's half knows.
    assert any(surprises[:300])
    assert not any(surprises[1800:])


def test_bursts_that_come_once_an_hour_are_not_kept_warm_till_the_next() -> None:
    """No patience reaches that far: a quarter of an hour after the second the fleet is down again."""
    learnt, _ = play(2 * 1800 + 150, lambda t: 6.0 if 1000 < t % 1800 < 1060 else 2.0)
    assert learnt.declared[-1, -1] == 3


def test_what_is_measured_late_makes_it_more_careful() -> None:
    """A swing whose moves the model finds harmless; 2 % measured late must choose more patience than 0 %."""

    def swing(t: int) -> float:
        return 6.0 + 3.0 * np.sin(t / 400)

    calm, _ = play(3600, swing)
    warned, _ = play(3600, swing, late=0.02)
    assert warned.paid[warned.chosen] > calm.paid[calm.chosen]


def test_an_old_state_is_not_changed() -> None:
    """The state is a value: the same step twice gives the same."""
    learnt, _ = play(100, lambda t: 3.0 + t / 50)
    kept = {name: np.copy(getattr(learnt, name)) for name in ("declared", "backlog", "paid", "late", "moved")}
    recent = {name: np.copy(getattr(learnt.recent, name)) for name in ("paths", "came", "stride", "expects_s")}
    results = [
        experience.step(learnt, needed(6), load=5.0, measured_late=0.0, carrying=TABLE, terms=TERMS, learning=True)[0]
        for _ in range(2)
    ]
    assert results[0].paid == pytest.approx(results[1].paid)
    assert all(np.array_equal(getattr(learnt, name), value) for name, value in kept.items())
    assert all(np.array_equal(getattr(learnt.recent, name), value) for name, value in recent.items())


def test_a_first_fleet_that_is_a_guess_is_left_at_once() -> None:
    """Six are there, the lean margins need three and the careful one five: only who was followed keeps the five."""
    found = {}
    for followed in (True, False):
        learnt = experience.started(6, 25)
        needs = dataclasses.replace(needed(3), paths=np.array([3, 3, 5, 5]), noise=0.03)
        for _ in range(2):
            learnt, said = experience.step(
                dataclasses.replace(learnt, chosen=0), needs, load=2.5, measured_late=0.0, carrying=TABLE, terms=TERMS,
                learning=True, followed=followed,
            )  # fmt: skip
        found[followed] = said.workers
    assert found == {True: 5, False: 3}


def test_the_pause_that_explains_what_was_measured_is_the_one_that_moves_are_judged_by() -> None:
    """A load that goes up and down, 1 s set, and as much late as a pause of 4 s makes: moves are judged by that."""
    plain, _ = play(1800, lambda second: 4.0 + 4.0 * (second % 600 > 300))
    near, far = plain.moved[:, -1]
    assert far > near > 0
    learnt = dataclasses.replace(plain, measured=plain.late[-1] + far)
    judged = experience.at_pause(learnt, learnt.moved)
    # Some seconds of load speak for the pause that is set.
    assert near + 0.85 * (far - near) < judged[-1] <= far
    assert experience.at_pause(dataclasses.replace(plain, measured=0.0), plain.moved)[-1] < near
    late_s = [experience.measured_move_late_s(one, 1.0, 1.0, 0.75) for one in (None, learnt)]
    # 1 s: 0.25 s too much waits, a second of spare in four; 4 s: 3 s before it is read, and 2.5 s too much.
    assert late_s[0] == pytest.approx(1.0)
    assert 1.0 + 0.85 * (13.0 - 1.0) < late_s[1] <= 13.0
    believed, before = experience.late_share(learnt), experience.late_share(plain)
    assert np.all(believed[learnt.moved[1, :-1] > 0] > before[learnt.moved[1, :-1] > 0])


def test_who_was_there_takes_a_partition_over_and_is_late_for_the_pause_alone() -> None:
    """From 10 to 8 at 7.5: a fifth of the partitions moves, at 1 s not late at all and at 4 s for 3 s each."""
    learnt = experience.started(10, 1)
    needs, terms = needed(8), dataclasses.replace(TERMS, actuation_s=1.0)
    for _ in range(2):
        learnt, _ = experience.step(
            learnt, needs, load=7.5, measured_late=0.0, carrying=TABLE, terms=terms, learning=True, followed=False
        )
    assert learnt.declared[-1, 0] == 8
    assert learnt.moved[:, 0] == pytest.approx([0.0, 0.2 * 3.0 * 7.5], rel=1e-3)


def test_the_real_fleet_runs_beside_the_courses() -> None:
    """12 are declared whatever the course says, so none of it is late and twelve are paid."""
    learnt = experience.started(12, 25)
    for _ in range(300):
        learnt, _ = experience.step(
            learnt, needed(2), load=10.0, measured_late=0.0, carrying=TABLE, terms=TERMS, learning=True, there=12
        )
    assert learnt.declared[-1, -1] == 12
    assert learnt.late[-1] == 0.0
    assert learnt.late[:-1].min() > 0.0


def test_a_course_drains_its_own_backlog() -> None:
    """Needs that stay at 8 with a load of 8.5: without a drain it would be late for ever."""
    learnt = experience.started(8, 25)
    for second in range(600):
        learnt, _ = experience.step(
            learnt, needed(8), load=7.2 if second < 300 else 8.5, measured_late=0.0, carrying=TABLE, terms=TERMS,
            learning=True,
        )  # fmt: skip
    assert learnt.declared[:, :-1].max() > 8
    # 300 s at 8.5, of which it is behind in a part only.
    assert np.all(learnt.late[:-1] < 0.5 * 300 * 8.5)


def test_chance_lets_nothing_of_the_real_fleet_go() -> None:
    """10 are there, from a drain; the course's margin needs 8 and a more careful one 10 in the last half minute."""
    margins = np.array([8, 10, 10, 10])
    needs = Needs(margins, margins, margins)
    learnt = experience.started(8, 25)
    for _ in range(60):
        learnt, said = experience.step(
            learnt, needs, load=6.0, measured_late=0.0, carrying=TABLE, terms=TERMS, learning=True, there=10
        )
    learnt = dataclasses.replace(learnt, chosen=0)
    learnt, said = experience.step(
        learnt, needs, load=6.0, measured_late=0.0, carrying=TABLE, terms=TERMS, learning=True, there=10
    )
    assert learnt.asked[0] == 8
    assert (said.workers, said.foreseen) == (10, 10)
    # The reserve is there besides and is not kept twice.
    _, said = experience.step(
        learnt, needs, load=6.0, measured_late=0.0, carrying=TABLE,
        terms=dataclasses.replace(TERMS, reserve=1), learning=True, there=10,
    )  # fmt: skip
    assert said.workers == 9


def test_one_that_holds_is_believed_late_as_it_would_be_once_it_holds_no_more() -> None:
    """It was never surprised while it held; the same course without holding lost a tenth of the load."""
    plain, _ = play(600, lambda _: 7.2)
    late = np.zeros(len(COURSES) + 1)
    holding = [at for at, course in enumerate(COURSES) if course.habit.holds and course.patience_s == 30.0]
    unheld = [
        next(
            at
            for at, other in enumerate(COURSES)
            if other == dataclasses.replace(
                COURSES[held], habit=courses.Habit(COURSES[held].habit.keep_s, holds=False, strides=False)
            )
        )
        for held in holding
    ]  # fmt: skip
    late[unheld] = 0.1 * plain.load
    believed = experience.late_share(dataclasses.replace(plain, late=late)) - experience.late_share(plain)
    mean = plain.load / plain.seconds
    part = plain.load / (plain.load + 400.0 * mean)
    assert believed[unheld] == pytest.approx(0.1 * part)
    assert believed[holding] == pytest.approx(0.3 * 0.1 * part)
