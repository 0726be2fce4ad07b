"""Which course to follow: learnt by looking at what each would have done so far.

All courses run along as fluid models of the group, on the load as it came: what each would have cost, and how much of
the load would have been late, boots and rebalances included. The one that is followed costs least among those that keep
the objective's allowance, or best balances both where none does. Old experience fades with a half-life.

Symbols: D = workers that a course declares, S = workers that serve (declared for a whole actuation delay), r = load in
workers' worth (rate over the capacity of one worker), C(S) = what S workers carry, B = backlog in seconds of work:

    B <- max(0, B + r - C(S)) each second; all of r is late while B > slack C(S).

A partition that moves is late for about pause - objective + pause rho / (1 - rho) seconds, rho = r / C(S).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from autoscaler.planning.arrears import capacities, prices
from autoscaler.planning.courses import COURSES, HABITS, HOLDS, PATIENCES_S, Needs, Recent, declared

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
#: Longest time that a move makes late, in seconds.
_LONGEST_MOVE_S = 30.0
#: Bounds of the factor between measured and modelled lateness, and the seconds of load that it starts from 1 with.
_FACTOR, _FACTOR_S = (0.3, 8.0), 1.5


@dataclass(frozen=True, slots=True, eq=False)
class Learnt:
    """What is remembered of the courses; the followed one comes last in each array. A value."""

    recent: Recent
    #: What each course asked for at the last tick, before reserve and bounds, shape (courses,).
    asked: Ints
    #: Declared by course and followed, at the ticks of one actuation delay, shape (delay, courses + 1).
    declared: Ints
    serving: Ints
    backlog: Floats
    #: Sums that fade: workers paid, load late from overload and late from moves, by course, shape (courses + 1,).
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
    #: Workers beyond the need, and the fewest and most that there may be: the same for every course.
    reserve: int = 0
    least: int = 0
    most: int = 1_000_000


@dataclass(frozen=True, slots=True)
class Step:
    """What a tick says."""

    #: Workers that the followed course asks for, and without what it holds after a surprise.
    workers: int
    foreseen: int


def started(workers: int, delay: int) -> Learnt:
    """Before the first tick, with so many workers there."""
    count = len(COURSES) + 1
    zero = np.zeros(count)
    return Learnt(
        recent=Recent.nothing(),
        asked=np.full(count - 1, workers, dtype=np.int64),
        declared=np.full((delay, count), workers, dtype=np.int64),
        serving=np.full(count, workers, dtype=np.int64),
        backlog=zero,
        paid=zero,
        late=zero,
        moved=zero,
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

    Returns:
        What to remember; and what the course that was best so far says.
    """
    tick_s = terms.tick_s
    recent = learnt.recent.with_needs(needs, tick_s)
    asked, foreseen = declared(recent, learnt.asked if followed else np.zeros_like(learnt.asked), tick_s)
    before = learnt.declared[-1]
    now = np.clip(np.append(asked, asked[learnt.chosen]) + terms.reserve, terms.least, terms.most)
    delay = max(1, round(terms.actuation_s / tick_s))
    rows = np.vstack((learnt.declared[-(delay - 1) :] if delay > 1 else learnt.declared[:0], now))
    serving = rows.min(axis=0)
    able = capacities(serving, carrying)
    backlog = np.maximum(0.0, learnt.backlog + (load - able) * tick_s)
    overloaded = backlog > terms.slack_s * able
    shrunk = np.maximum(0, before - now) / np.maximum(before, 1)
    grown = np.maximum(0, serving - learnt.serving) / np.maximum(serving, 1)
    busy = np.minimum(load / np.maximum(able, 1e-9), 0.98)
    fading = 0.5 ** (tick_s / terms.half_life_s) if learning else 0.0
    late = np.where(overloaded, load, 0.0) * tick_s
    if learning:
        recent = recent.with_surprises(overloaded[:-1], terms.surprise_keep_s)
    said = Step(int(asked[learnt.chosen]), int(foreseen[learnt.chosen]))
    learnt = replace(
        learnt,
        recent=recent,
        asked=asked,
        declared=rows,
        serving=serving,
        backlog=backlog,
        paid=fading * learnt.paid + prices(now, carrying) * tick_s,
        late=fading * learnt.late + late,
        moved=fading * learnt.moved + (shrunk + grown) * move_late_s(terms.pause_s, terms.within_s, busy) * load,
        load=fading * learnt.load + load * tick_s,
        seconds=fading * learnt.seconds + tick_s,
        measured=fading * learnt.measured + measured_late * load * tick_s,
    )
    return replace(learnt, chosen=_best(learnt, terms)), said


def late_share(learnt: Learnt) -> Floats:
    """Late share of each course as believed: modelled, with what measuring says of the model, and the prior."""
    mean = learnt.load / max(learnt.seconds, 1e-9)
    believed = np.where(HOLDS, _AGAIN, 1.0) * foretold(learnt.late[:-1]) + moves_factor(learnt) * learnt.moved[:-1]
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


def moves_factor(learnt: Learnt) -> float:
    """By how much moves were measured to make more late than they are modelled to."""
    floor = _FACTOR_S * learnt.load / max(learnt.seconds, 1e-9)
    factor = (learnt.measured - learnt.late[-1] + floor) / (learnt.moved[-1] + floor) if floor > 0 else 1.0
    return float(min(max(factor, _FACTOR[0]), _FACTOR[1]))


def move_late_s(pause_s: float, within_s: float, busy: Floats) -> Floats:
    """Seconds for which what arrives on a partition that moves is late, by the utilisation of its new owner."""
    late_s = max(0.0, pause_s - within_s) + pause_s * 0.5 * busy / (1 - busy)
    return np.minimum(_LONGEST_MOVE_S, late_s)


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
