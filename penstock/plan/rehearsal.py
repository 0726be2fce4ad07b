"""Some periods of a plan in a shorter time, so that they can be run live and compared: pure.

Time is compressed, rates are not: each period lasts as long as is asked, with the requests a second that it would have.
What takes its own time stays as it is (boots, pauses of partitions that move), and so weighs more than in the plan.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from penstock.errors import InvalidInput
from penstock.plan.replay import Replayed, loaded, planned_cost, replay, span_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from autoscaler.simulation.arrivals import Load
    from penstock.plan.order import Order
    from penstock.plan.planner import Plan
    from penstock.plan.replay import Window

#: How far predicted, simulated and live figures may lie from each other, as a share.
ALLOWED = 0.15
#: Requests that are due so many seconds before a stall may be answered in it; and a fleet that is 80 % busy needs four
#: times as long as it stood still to be level again.
BEFORE_S, DRAINING = 0.5, 4.0


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What is to be run."""

    #: The order with its periods as long as they are live.
    order: Order
    #: The periods, in live seconds; `first` counts in the plan's schedule.
    window: Window
    load: Load
    #: Recorded seconds in one live second.
    compression: float
    #: Workers by type, for each period.
    fleets: tuple[dict[str, int], ...]


@dataclass(frozen=True, slots=True)
class Figures:
    """One way to know what the run gives."""

    name: str
    p50_s: float
    p99_s: float
    #: Share answered within the objective.
    attainment: float
    cost: float


def stretch(workers: NDArray[np.int64], peak: int, count: int) -> int:
    """First of `count` periods in a row that hold the peak and have the most workers started and ended in them.

    Args:
        workers: by period and type, (periods, types).
        peak: the period that must be among them.
        count: how many; all where there are fewer.
    """
    last_first = max(0, len(workers) - count)
    moved = np.abs(np.diff(workers, axis=0)).sum(axis=1)
    starts = range(max(0, peak - count + 1), min(peak, last_first) + 1)
    # With as many changes the earliest, which has its changes before the peak: a rise that comes late is what hurts.
    return max(starts, key=lambda first: (moved[first : first + count - 1].sum(), -first))


def rehearse(order: Order, plan: Plan, *, periods: int, period_s: float) -> Rehearsal:
    """Choose the periods, shorten them and draw their load.

    Args:
        order: what was planned.
        plan: the plan.
        periods: how many of its periods are run.
        period_s: how long each of them lasts live, in seconds; at most as long as in the plan.

    Raises:
        InvalidInput: live periods would be longer than the plan's.
    """
    compression = order.period_s / period_s
    if compression < 1:
        raise InvalidInput(
            f"periods of {period_s:g} s live are longer than the plan's {order.period_s:g} s", "ask for shorter ones"
        )
    whole, workers = plan.checked.window, plan.best.schedule.workers
    inside = workers[whole.first : whole.first + whole.periods]
    peak = int(np.nanargmax(plan.rates)) - whole.first
    first = whole.first + stretch(inside, peak, periods)
    recorded = span_of(order, first, min(first + periods, whole.first + whole.periods))
    load = loaded(order, recorded, plan.partitions, order.seed, compression=compression)
    fleets = tuple(plan.best.schedule.fleet(first + number) for number in range(recorded.periods))
    return Rehearsal(
        replace(order, period_s=period_s),
        replace(
            recorded, start_s=recorded.start_s / compression, length_s=load.length_s,
            span_s=recorded.span_s / compression, periods_s=tuple(of / compression for of in recorded.periods_s),
        ),
        load, compression, fleets,
    )  # fmt: skip


def foretold(run: Rehearsal, plan: Plan, *, pause_s: float) -> tuple[Figures, Figures]:
    """What the plan says of the run, and what the simulator makes of it.

    Args:
        run: what is to be run.
        plan: where its schedule is from.
        pause_s: how long a partition that moves is not read, in seconds.
    """
    given = (run.order, plan.best.schedule, run.window, run.load)
    ideal = replay(*given, partitions=plan.partitions, ideal=True)
    real = replay(*given, partitions=plan.partitions, ideal=False, pause_s=pause_s, seed=run.order.seed)
    planned = planned_cost(plan.best.schedule, plan.kinds, run.window)
    return _figures("predicted", ideal, planned), _figures("simulated", real, real.cost)


def measured(
    run: Rehearsal, seen_s: NDArray[np.float64], cost: float, *, name: str = "live",
    counted: NDArray[np.bool_] | None = None,
) -> Figures:  # fmt: skip
    """What was seen live.

    Args:
        run: what was run.
        seen_s: when the answer to each request that was sent could be read, in seconds after the start; NaN = never.
        cost: of the workers.
        name: what the figures are called.
        counted: which requests of the load count, (n,); all by default.
    """
    due_s = run.load.arrivals_s
    waits = np.full(len(due_s), np.inf)
    waits[: len(seen_s)] = np.nan_to_num(seen_s, nan=np.inf) - due_s[: len(seen_s)]
    waits = waits if counted is None else waits[counted]
    p50, p99 = np.quantile(waits, [0.5, 0.99], method="higher")
    return Figures(name, float(p50), float(p99), float(np.mean(waits <= run.order.objective.within_s)), cost)


def quiet(due_s: NDArray[np.float64], stalls: Iterable[tuple[float, float]]) -> NDArray[np.bool_]:
    """Which requests met a machine that ran: not due while it stood still, just before, or until its queues were empty.

    Args:
        due_s: when each request is due, in seconds after the start, (n,).
        stalls: from when to when programs that had nothing to do but wake up were kept from it.
    """
    kept = np.ones(len(due_s), dtype=bool)
    for begin_s, end_s in stalls:
        kept &= (due_s < begin_s - BEFORE_S) | (due_s > end_s + BEFORE_S + DRAINING * (end_s - begin_s))
    return kept


def paid_s(spans: Iterable[tuple[float, float]], length_s: float) -> float:
    """Worker-seconds from second 0 to `length_s`, of workers that were each paid from one second to another."""
    return sum(max(0.0, min(end_s, length_s) - max(begin_s, 0.0)) for begin_s, end_s in spans)


def ratios(found: Iterable[Figures]) -> Iterator[tuple[str, float, float]]:
    """Of each two of them: the names, and the later one's 99th percentile and cost over the earlier one's."""
    known = list(found)
    for number, first in enumerate(known):
        for second in known[number + 1 :]:
            yield f"{second.name} / {first.name}", second.p99_s / first.p99_s, second.cost / first.cost


def holds(found: Iterable[Figures]) -> bool:
    """Whether the first of them lies within `ALLOWED` of each other, in 99th percentile and cost."""
    first, *others = found
    return all(
        abs(value / first_value - 1) <= ALLOWED
        for other in others
        for value, first_value in ((other.p99_s, first.p99_s), (other.cost, first.cost))
    )


def _figures(name: str, of: Replayed, cost: float) -> Figures:
    return Figures(name, of.p50_s, of.p99_s, of.attainment, cost)
