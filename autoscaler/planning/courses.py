"""Which margin and how much patience: learnt by looking at what each course would have done so far.

A *course* is a margin (how much is added to the forecast's middle) and a patience (for how long the highest need is
kept). Some loads are smooth and want neither, some come in bursts and want both, and nobody knows beforehand which. So
all courses run along as fluid models of the group, on the load as it came: what each would have cost, and how much of
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

from autoscaler.planning.arrears import capacity

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from autoscaler.planning.carrying import Carrying

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Margin:
    """How a need is read off the paths."""

    #: Workers' worth that late load is weighed with against one more worker.
    late_price: float
    #: Seconds beyond the actuation delay that are looked at.
    beyond_s: float
    #: Utilisation that a worker may reach.
    utilisation: float


#: From lean to careful.
MARGINS: tuple[Margin, ...] = (
    Margin(2.0, 10.0, 0.98),
    Margin(2.0, 10.0, 0.95),
    Margin(2.0, 20.0, 0.91),
    Margin(15.0, 20.0, 0.91),
)
#: Seconds.
PATIENCES_S: tuple[float, ...] = (30.0, 60.0, 100.0, 150.0, 200.0, 300.0, 450.0, 600.0)
#: Late share that a course is taken to have had before anything was seen, and for how many seconds of load that counts.
#: In proportion to 1 / patience, as for bursts that come at any time; less for the careful margins.
_PRIOR_LATE, _PRIOR_PATIENCE_S, _PRIOR_MARGINS, _PRIOR_S = 0.005, 150.0, (1.0, 0.9, 0.8, 0.7), 400.0
#: Part of its score by which another course must be better to be followed.
_WORTH_A_CHANGE = 0.01
#: Longest time that a move makes late, in seconds.
_LONGEST_MOVE_S = 30.0
#: Bounds of the factor between measured and modelled lateness, and the seconds of load that it starts from 1 with.
_FACTOR, _FACTOR_S = (0.3, 8.0), 5.0


@dataclass(frozen=True, slots=True, eq=False)
class Learnt:
    """What is remembered of the courses: by margin and patience, and last what was followed. A value."""

    #: Needs by margin at the last ticks, newest last, shape (ticks, margins).
    needs: Ints
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
    #: Workers beyond the need, and the fewest and most that there may be: the same for every course.
    reserve: int = 0
    least: int = 0
    most: int = 1_000_000


def courses() -> list[tuple[Margin, float]]:
    """All of them, in the order of the arrays."""
    return [(margin, patience_s) for margin in MARGINS for patience_s in PATIENCES_S]


def started(workers: int, delay: int) -> Learnt:
    """Before the first tick, with so many workers there."""
    count = len(MARGINS) * len(PATIENCES_S) + 1
    zero = np.zeros(count)
    return Learnt(
        needs=np.empty((0, len(MARGINS)), dtype=np.int64),
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
    needs: Ints,
    *,
    load: float,
    measured_late: float,
    carrying: Carrying,
    terms: Terms,
    learning: bool,
) -> tuple[Learnt, Ints, bool]:
    """One tick.

    Args:
        learnt: As of the tick before.
        needs: Workers needed now, by margin.
        load: Of the last tick, in workers' worth.
        measured_late: Part (0-1) of the answers that were late.
        carrying: Of the present shares.
        terms: See there.
        learning: False = this tick does not count: too little is known.

    Returns:
        What to remember; the workers that each course declares now; and whether what was followed is late now.
    """
    tick_s = terms.tick_s
    ticks = int(max(PATIENCES_S) / tick_s)
    history = np.vstack((learnt.needs[-(ticks - 1) :], needs))
    declared_now = np.array(
        [history[-max(1, int(patience_s / tick_s)) :].max(axis=0) for patience_s in PATIENCES_S]
    ).T.reshape(-1)
    followed = int(declared_now[learnt.chosen])
    now = np.clip(np.append(declared_now, followed) + terms.reserve, terms.least, terms.most)
    delay = max(1, round(terms.actuation_s / tick_s))
    declared = np.vstack((learnt.declared[-(delay - 1) :] if delay > 1 else learnt.declared[:0], now))
    serving = declared.min(axis=0)
    able = np.array([capacity(int(count), carrying) for count in serving.tolist()])
    backlog = np.maximum(0.0, learnt.backlog + (load - able) * tick_s)
    late = np.where(backlog > terms.slack_s * able, load, 0.0) * tick_s
    prices = np.array([carrying.price[carrying.place(int(count))] for count in now.tolist()])
    before = learnt.declared[-1]
    shrunk = np.maximum(0, before - now) / np.maximum(before, 1)
    grown = np.maximum(0, serving - learnt.serving) / np.maximum(serving, 1)
    busy = np.minimum(load / np.maximum(able, 1e-9), 0.98)
    moved = (shrunk + grown) * move_late_s(terms.pause_s, terms.within_s, busy) * load
    kept = 0.5 ** (tick_s / terms.half_life_s) if learning else 0.0
    learnt = replace(
        learnt,
        needs=history,
        declared=declared,
        serving=serving,
        backlog=backlog,
        paid=kept * learnt.paid + prices * tick_s,
        late=kept * learnt.late + late,
        moved=kept * learnt.moved + moved,
        load=kept * learnt.load + load * tick_s,
        seconds=kept * learnt.seconds + tick_s,
        measured=kept * learnt.measured + measured_late * load * tick_s,
    )
    return replace(learnt, chosen=_best(learnt, terms)), declared_now, bool(late[-1] > 0)


def late_share(learnt: Learnt) -> Floats:
    """Late share of each course as believed: modelled, with what measuring says of the model, and the prior."""
    mean = learnt.load / max(learnt.seconds, 1e-9)
    believed = learnt.late[:-1] + moves_factor(learnt) * learnt.moved[:-1]
    weight = _PRIOR_S * mean
    return np.asarray((believed + _PRIOR * weight) / max(learnt.load + weight, 1e-9))


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
        factor * min(0.05, _PRIOR_LATE * _PRIOR_PATIENCE_S / patience_s)
        for factor in _PRIOR_MARGINS
        for patience_s in PATIENCES_S
    ]
)
