"""Needs read off sample paths, off what came lately and off where a rise goes, by margin.

A margin's count is argmin over c of c + late_price * need * E[part of the load that c workers cannot carry].
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from autoscaler.planning import courses, rising

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from autoscaler.model import ArrivalHistory
    from autoscaler.planning.carrying import Carrying

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: Seconds behind the load of now.
NOW_S = 3
#: Standard errors from which a rise is more than chance: at a look a second, 3 are passed some times an hour.
_SURE = 5.0
#: Load, as so many times that of now, up to which workers are asked for because it rises.
_RISES = 1.25
#: Load, as so many times the highest of `_SEEN_S` seconds in the history, that paths go up to.
_BEYOND, _SEEN_S = 1.25, 5
#: Longest time behind the load that came lately, in seconds, and its standard deviation by chance that is good enough:
#: at 80/s the mean of 3 s is off by 6 %, which looks like a worker more now and then.
_LATELY_S, _CHANCE = 30, 0.02


def needs(
    loads: Floats,
    level: float,
    came: float,
    actuation_s: float,
    table: Carrying,
    *,
    margins: tuple[courses.Margin, ...],
    step_s: float,
    slack_s: float,
) -> courses.Needs:
    """Workers needed, by margin: the most of what is needed until new ones serve, and of what is needed then.

    Args:
        loads: Of the paths, in workers' worth, shape (paths, steps).
        level: Load that late records are weighed with.
        came: Load that came lately.
        actuation_s: Seconds until new workers serve.
        table: Of the present shares.
        margins: To read them with.
        step_s: Of the paths, in seconds.
        slack_s: Seconds of a worker's work that may wait with it.
    """
    served_from = int(actuation_s // step_s)
    until = {
        beyond_s: _highest(loads, served_from, served_from + max(1, int(beyond_s // step_s)), step_s, slack_s)
        for beyond_s in {courses.STRIDE_S, *(margin.beyond_s for margin in margins)}
    }
    paths, stride, asked = [], [], []
    for margin in margins:
        price = margin.late_price * level
        paths.append(max(_count(rates / margin.utilisation, price, table) for rates in until[margin.beyond_s]))
        stride.append(max(_count(rates / margin.utilisation, price, table) for rates in until[courses.STRIDE_S]))
        careful = max(margin.late_price, courses.CAME_PRICE) * level
        asked.append(_count(np.array([came / margin.utilisation]), careful, table))
    return courses.Needs(paths=np.array(paths), stride=np.array(stride), came=np.array(asked))


def lately(history: ArrivalHistory, per_s: float) -> float:
    """Records a second that came, over as many seconds as it takes for chance to move the mean by `_CHANCE`."""
    seconds = round(min(max(1 / (_CHANCE**2 * max(per_s, 1e-9)), NOW_S), _LATELY_S))
    return float(history.recent[-seconds:].mean())


def with_rise(
    found: courses.Needs,
    history: ArrivalHistory,
    actuation_s: float,
    *,
    per_worker: float,
    level: float,
    table: Carrying,
    margins: tuple[courses.Margin, ...],
) -> courses.Needs:
    """With what a load that rises needs if it goes on: what is there is kept for it, and a part of it is asked for.

    Args:
        found: Needs without that.
        history: Arrivals by second.
        actuation_s: Seconds until new workers serve.
        per_worker: Capacity of a worker, records a second.
        level: Load that late records are weighed with, in workers' worth.
        table: Of the present shares.
        margins: To read it with.
    """
    kept = rising.ahead(history.recent, actuation_s, sure=1.0) / per_worker
    if kept <= 0:
        return found
    careful = [max(margin.late_price, courses.CAME_PRICE) * level for margin in margins]
    found = replace(found, rising=_counts(kept, careful, table, margins))
    asked = rising.ahead(history.recent, actuation_s / 2, sure=_SURE) / per_worker
    if asked <= 0:
        return found
    # A step looks like the steepest of slopes, and is over when it is seen.
    asked = min(asked, _RISES * float(history.recent[-NOW_S:].mean()) / per_worker)
    counts = _counts(asked, [margin.late_price * level for margin in margins], table, margins)
    return replace(found, paths=np.maximum(found.paths, counts), stride=np.maximum(found.stride, counts))


def _counts(load: float, prices: Sequence[float], table: Carrying, margins: tuple[courses.Margin, ...]) -> Ints:
    """The count that costs least for one load, by margin."""
    return np.array(
        [
            _count(np.array([load / margin.utilisation]), price, table)
            for margin, price in zip(margins, prices, strict=True)
        ]
    )


def _highest(loads: Floats, served_from: int, until: int, step_s: float, slack_s: float) -> tuple[Floats, Floats]:
    """Highest effective load of each path from now on, and from when new workers serve."""
    return effective(loads[:, :until], step_s, slack_s), effective(loads[:, served_from:until], step_s, slack_s)


def effective(loads: Floats, step_s: float, slack_s: float) -> Floats:
    """Least capacity with which no more than `slack_s` of its work ever waits, by path, shape (paths,).

    What has come from s to t, A(s, t), is served by t but for C slack if and only if A(s, t) <= C (t - s + slack) for
    all s < t (the backlog is the highest of A(s, t) - C (t - s); Reich 1958). So C is the highest A(s, t) / (t - s +
    slack): a second above the capacity is no reason for a worker, and a minute is.

    Args:
        loads: Shape (paths, steps), at least one step.
        step_s: In seconds.
        slack_s: In seconds, at least 0; 0 = the highest step.
    """
    came = np.concatenate((np.zeros((loads.shape[0], 1)), np.cumsum(loads, axis=1)), axis=1) * step_s
    highest = [
        (came[:, steps:] - came[:, :-steps]).max(axis=1) / (steps * step_s + slack_s)
        for steps in range(1, loads.shape[1] + 1)
    ]
    return np.asarray(np.max(highest, axis=0))


def capped(rates: Floats, history: ArrivalHistory) -> Floats:
    """Paths no higher than `_BEYOND` times what came of late: the first seconds of a burst grow without an end."""
    recent = history.recent
    width = min(_SEEN_S, recent.size)
    highest = float(np.convolve(recent, np.full(width, 1 / width), "valid").max())
    return np.minimum(rates, _BEYOND * max(highest, float(recent[-NOW_S:].mean())))


def _count(rates: Floats, price: float, table: Carrying) -> int:
    """The count that costs least, late load included."""
    return int(table.counts[int(np.argmin(table.price + price * table.overloaded(rates)))])
