"""Which course to follow: learnt by looking at what each would have done so far.

All courses run along as fluid models of the group (`planning.fluid`), on the load as it came: what each would have
cost, and how much of the load would have been late, with the boots, the drains and the rebalances of its own. The one
that is followed costs least among those that keep the objective's allowance, or best balances both where none does.
Old experience fades with a half-life.

Beside them runs the real fleet. What was measured to be late, less what its model had late of overload, was late of its
moves; the pause that explains it is the one that all courses' moves are judged by.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from autoscaler.planning import fluid
from autoscaler.planning.arrears import capacities, prices
from autoscaler.planning.courses import COURSES, HABITS, HOLDS, PATIENCES_S, Needs, Recent, careful, declared

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from autoscaler.planning.carrying import Carrying

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: Late share that a course is taken to have had before anything was seen, and for how many seconds of load that counts.
#: In proportion to 1 / patience, as for bursts that come at any time; less for the careful margins, and for those that
#: hold.
_PRIOR_LATE, _PRIOR_PATIENCE_S, _PRIOR_MARGINS, _PRIOR_HOLDS, _PRIOR_S = 0.005, 150.0, (1.0, 0.9, 0.8, 0.7), 0.5, 400.0
#: Part of its own surprises that a course that holds is taken to suffer again: those that come while it holds it does
#: not. One that lets go suffers them all.
_AGAIN = 0.4
#: Part of what a shorter patience foretells of the next longer one that is believed. All of it is too much: one burst
#: that nobody can have in time would move the choice.
_TAIL = 0.6
#: Place of each patience that is foretold, and the exponent of the factor.
_FURTHER = tuple(
    (place, (PATIENCES_S[place] - PATIENCES_S[place - 1]) / (PATIENCES_S[place - 1] - PATIENCES_S[0]))
    for place in range(2, len(PATIENCES_S))
)
#: Part of its score by which another course must be better to be followed.
_WORTH_A_CHANGE = 0.03
#: Part of what the same course without holding has had late that one that holds is believed to have late once it holds
#: no more. That it was not surprised while it held says nothing of then.
_UNHELD = 0.3
_UNHOLDING = [
    next(at for at, other in enumerate(HABITS) if other.keep_s == habit.keep_s and not other.holds) for habit in HABITS
]
#: Moves are judged by the pause that is set and by so many times of it; what was measured says where the real one is.
PAUSES = 4.0
#: Bounds of that place, 0 being the pause that is set and 1 the longer one, and the seconds of load that speak for 0.
_PLACE, _PLACE_S = (-1 / (PAUSES - 1), 3.0), 1.5


@dataclass(frozen=True, slots=True, eq=False)
class Learnt:
    """What is remembered of the courses; the real fleet comes last in each array. A value."""

    recent: Recent
    #: What each course asked for at the last tick, before reserve and bounds, shape (courses,).
    asked: Ints
    #: What each keeps for a backlog, and for how many seconds more, shape (courses,).
    drains: Ints
    drains_s: Floats
    #: Declared by course and really, at the ticks of one actuation delay, shape (delay, courses + 1).
    declared: Ints
    serving: Ints
    #: Of the busier workers and of the others, shape (2, courses + 1).
    backlog: Floats
    #: Sums that fade: workers paid, and load late from overload, shape (courses + 1,); and load late from moves, at the
    #: pause that is set and at `PAUSES` times of it, shape (2, courses + 1).
    paid: Floats
    late: Floats
    moved: Floats
    #: The same for the load, the seconds, and the load that was measured to be late.
    load: float
    seconds: float
    measured: float
    #: Course that is followed.
    chosen: int


@dataclass(frozen=True, slots=True)
class Terms:
    """What the courses are judged by."""

    #: Seconds between two ticks.
    tick_s: float
    #: Seconds from a decision to a worker that serves.
    actuation_s: float
    #: Backlog over capacity, in seconds, up to which records are in time.
    slack_s: float
    pause_s: float
    within_s: float
    #: Share of the load that may be late.
    allowed: float
    half_life_s: float
    #: Price, in workers, of a late share beyond the allowance, for each worker's worth of load.
    late_price: float
    #: Seconds for which a surprise is expected again.
    surprise_keep_s: float
    #: Worker-seconds that a second of late work is worth where a backlog is drained, and seconds that a drain is kept.
    drain_price: float
    drain_keep_s: float
    #: Workers beyond the need, and the fewest and most that there may be: the same for every course.
    reserve: int = 0
    least: int = 0
    most: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Step:
    """What a tick says."""

    #: Workers that the followed course asks for or lets nobody go of, and without what it holds after a surprise.
    workers: int
    foreseen: int


def started(workers: int, delay: int) -> Learnt:
    """Before the first tick, with so many workers there."""
    count = len(COURSES) + 1
    zero = np.zeros(count)
    return Learnt(
        recent=Recent.nothing(),
        asked=np.full(count - 1, workers, dtype=np.int64),
        drains=np.zeros(count - 1, dtype=np.int64),
        drains_s=np.zeros(count - 1),
        declared=np.full((delay, count), workers, dtype=np.int64),
        serving=np.full(count, workers, dtype=np.int64),
        backlog=np.zeros((2, count)),
        paid=zero,
        late=zero,
        moved=np.zeros((2, count)),
        load=0.0,
        seconds=0.0,
        measured=0.0,
        chosen=count - 2,
    )


def step(
    learnt: Learnt,
    needs: Needs,
    *,
    load: float,
    measured_late: float,
    carrying: Carrying,
    terms: Terms,
    learning: bool,
    followed: bool = True,
    there: int | None = None,
) -> tuple[Learnt, Step]:
    """One tick.

    Args:
        learnt: As of the tick before.
        needs: Workers needed now.
        load: Of the last tick, in workers' worth.
        measured_late: Part (0-1) of the answers that were late.
        carrying: Of the present shares.
        terms: See there.
        learning: False = this tick does not count: too little is known.
        followed: False = nobody asks the courses yet, and the fleet is a guess: to leave it costs no move of theirs.
        there: Workers that are really declared; `None` = those that the followed course declares.

    Returns:
        What to remember; and what the course that was best so far says.
    """
    tick_s = terms.tick_s
    recent = learnt.recent.with_needs(needs, tick_s)
    asked, foreseen = declared(recent, learnt.asked if followed else np.zeros_like(learnt.asked), tick_s)
    drains, drains_s = _drains(learnt, asked, load, carrying, terms)
    wanted = np.maximum(asked, drains)
    before = learnt.declared[-1]
    now = np.clip(np.append(wanted, wanted[learnt.chosen]) + terms.reserve, terms.least, terms.most)
    if there is not None:
        now[-1] = there
    delay = max(1, round(terms.actuation_s / tick_s))
    rows = np.vstack((learnt.declared[-(delay - 1) :] if delay > 1 else learnt.declared[:0], now))
    serving = rows.min(axis=0)
    backlog, late = fluid.overload(
        learnt.backlog, learnt.serving, serving, load, carrying, slack_s=terms.slack_s, tick_s=tick_s
    )
    shrunk = np.maximum(0, before - now) / np.maximum(before, 1)
    grown = np.maximum(0, serving - learnt.serving) / np.maximum(serving, 1)
    busy = np.minimum(load / np.maximum(capacities(serving, carrying), 1e-9), 0.98)
    moved = [
        shrunk * fluid.move_late_s(pause_s, terms.within_s, 0.0 * busy)
        + grown * fluid.move_late_s(pause_s, terms.within_s, busy)
        for pause_s in (terms.pause_s, PAUSES * terms.pause_s)
    ]
    fading = 0.5 ** (tick_s / terms.half_life_s) if learning else 0.0
    if learning:
        recent = recent.with_surprises(late[:-1] > 0, terms.surprise_keep_s)
    # What is really there may come of another course or of a drain: chance moves it no more than what the course has.
    kept = 0 if there is None else min(there - terms.reserve, int(careful(recent, tick_s)[learnt.chosen]))
    said = Step(max(kept, int(asked[learnt.chosen])), max(kept, int(foreseen[learnt.chosen])))
    learnt = replace(
        learnt,
        recent=recent,
        asked=asked,
        drains=drains,
        drains_s=drains_s,
        declared=rows,
        serving=serving,
        backlog=backlog,
        paid=fading * learnt.paid + prices(now, carrying) * tick_s,
        late=fading * learnt.late + late * load * tick_s,
        moved=fading * learnt.moved + np.array(moved) * load,
        load=fading * learnt.load + load * tick_s,
        seconds=fading * learnt.seconds + tick_s,
        measured=fading * learnt.measured + measured_late * load * tick_s,
    )
    return replace(learnt, chosen=_best(learnt, terms)), said


def late_share(learnt: Learnt) -> Floats:
    """Late share of each course as believed: modelled, with what measuring says of the model, and the prior."""
    mean = learnt.load / max(learnt.seconds, 1e-9)
    late = foretold(learnt.late[:-1])
    unheld = late.reshape(-1, len(HABITS), len(PATIENCES_S))[:, _UNHOLDING].reshape(-1)
    believed = np.where(HOLDS, np.maximum(_AGAIN * late, _UNHELD * unheld), late) + at_pause(
        learnt, learnt.moved[:, :-1]
    )
    weight = _PRIOR_S * mean
    return np.asarray((believed + _PRIOR * weight) / max(learnt.load + weight, 1e-9))


def foretold(late: Floats) -> Floats:
    """What the courses had late, with what a longer patience has not had yet: gaps between bursts have a tail.

    A burst after a gap longer than patience p is late. Where gaps come at random (exponential), what is late falls by
    one factor a second of patience: late(p'') >= `_TAIL` late(p') (late(p') / late(p0)) ^ ((p'' - p') / (p' - p0)).
    Without it each patience is believed until it has lost once.
    """
    by = late.reshape(-1, len(PATIENCES_S)).copy()
    shortest = np.maximum(by[:, 0], 1e-12)
    for place, exponent in _FURTHER:
        fading = np.minimum(1.0, by[:, place - 1] / shortest) ** exponent
        by[:, place] = np.maximum(by[:, place], _TAIL * by[:, place - 1] * fading)
    return by.reshape(-1)


def at_pause(learnt: Learnt, judged: Floats) -> Floats:
    """What holds at the pause that was measured, of two rows: at the one that is set and at `PAUSES` times of it."""
    near, far = learnt.moved[:, -1]
    floor = _PLACE_S * learnt.load / max(learnt.seconds, 1e-9)
    place = (learnt.measured - learnt.late[-1] - near) / max(far - near + floor, 1e-9)
    place = min(max(place, _PLACE[0]), _PLACE[1])
    return np.asarray(np.maximum(0.0, judged[0] + place * (judged[1] - judged[0])))


def measured_move_late_s(learnt: Learnt | None, pause_s: float, within_s: float, busy: float) -> float:
    """Seconds for which what arrives on a new worker is late, at the pause that was measured; at `pause_s` without."""
    near, far = (fluid.move_late_s(each, within_s, np.array([busy])) for each in (pause_s, PAUSES * pause_s))
    return float((near if learnt is None else at_pause(learnt, np.array([near, far]))).item())


def _drains(learnt: Learnt, asked: Ints, load: float, carrying: Carrying, terms: Terms) -> tuple[Ints, Floats]:
    """Workers that each course keeps for a backlog of its own, and for how many seconds more."""
    left_s = np.maximum(0.0, learnt.drains_s - terms.tick_s)
    kept = np.where(left_s > 0, learnt.drains, 0)
    wanted = fluid.drained(
        fluid.waiting(learnt.backlog[:, :-1], learnt.serving[:-1], carrying),
        learnt.serving[:-1],
        learnt.declared[:, :-1],
        load,
        carrying,
        least=asked,
        late_price=terms.drain_price,
        overhead_s=terms.actuation_s + terms.drain_keep_s,
        pause_s=terms.pause_s,
        tick_s=terms.tick_s,
    )
    new = (wanted > 0) & (wanted >= kept)
    return np.where(new, wanted, kept), np.where(new, terms.drain_keep_s, left_s)


def _best(learnt: Learnt, terms: Terms) -> int:
    mean = learnt.load / max(learnt.seconds, 1e-9)
    excess = np.maximum(0.0, late_share(learnt) - terms.allowed)
    score = learnt.paid[:-1] / max(learnt.seconds, 1e-9) + terms.late_price * excess * mean
    best = int(np.argmin(score))
    # Another course moves the fleet once more, for which a hair's breadth is no reason.
    return best if score[best] < (1 - _WORTH_A_CHANGE) * score[learnt.chosen] else learnt.chosen


_PRIOR: Floats = np.array(
    [
        factor * min(0.05, _PRIOR_LATE * _PRIOR_PATIENCE_S / patience_s) * (_PRIOR_HOLDS if habit.holds else 1.0)
        for factor in _PRIOR_MARGINS
        for habit in HABITS
        for patience_s in PATIENCES_S
    ]
)
