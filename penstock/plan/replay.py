"""A plan's fleet against the workload, request by request, by the simulator that the policies are judged with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from autoscaler.planning.fleet_program import cost_of
from autoscaler.simulation.arrivals import SMOOTH_S, Stretch, of_trace
from autoscaler.simulation.engine import Engine
from autoscaler.simulation.scenario import Scenario, SimulatedType
from autoscaler.simulation.trace import Trace
from penstock.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from autoscaler.model import WorkerType
    from autoscaler.planning.fleet_program import Kind, Schedule
    from autoscaler.simulation.arrivals import Load
    from penstock.plan.order import Order

#: Most requests that one replay takes: about a minute of a slow core.
MOST_REQUESTS = 1_000_000
#: Longest stretch of the trace that is replayed, in seconds: a day has its peak and its night.
LONGEST_S = 86_400.0
#: Seconds that a moved partition is not read in a cooperative rebalance; the simulator's own default.
PAUSE_S = 3.0
#: Seconds after the end in which answers are waited for.
DRAIN_S = 600.0
#: Spread of the time to boot in the replay that checks the plan.
BOOT_SPREAD = 0.2


@dataclass(frozen=True, slots=True)
class Window:
    """The stretch of the workload that is replayed."""

    #: First period, and how many.
    first: int
    periods: int
    #: From where in the record, and how many recorded seconds, gaps left out: so long is its load.
    start_s: float
    length_s: float
    mean_per_s: float
    #: The same with the gaps, which the simulator cuts out.
    span_s: float
    #: Recorded seconds of each period, gaps left out.
    periods_s: tuple[float, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Replayed:
    """What came of it."""

    requests: int
    #: Share answered in time, and the percentiles of the time from sending to the readable answer, in seconds.
    attainment: float
    p50_s: float
    p99_s: float
    cost: float
    latencies_s: NDArray[np.float64]


def window(order: Order, rates: NDArray[np.float64]) -> Window:
    """The periods around the busiest one, as many as a day and the replay's size allow."""
    load = order.history.workload
    size = max(1, round(order.period_s / load.width_s))

    def requests(first: int, last: int) -> float:
        return float(load.counts[first * size : last * size].sum() * order.factor)

    peak = int(np.nanargmax(rates))
    first, last = peak, peak + 1
    while True:
        grown = [(first - 1, last), (first, last + 1)]
        fits = [
            (a, b)
            for a, b in grown
            if a >= 0
            and b <= len(rates)
            and not np.isnan(rates[a:b]).any()
            and (b - a) * order.period_s <= LONGEST_S
            and requests(a, b) <= MOST_REQUESTS
        ]
        if not fits:
            break
        # Towards the busier neighbour, which is the harder one.
        first, last = max(fits, key=lambda span: requests(*span))
    return span_of(order, first, last)


def span_of(order: Order, first: int, last: int) -> Window:
    """The periods from `first` up to and without `last`; the record may end within the last one."""
    load = order.history.workload
    size = max(1, round(order.period_s / load.width_s))
    part = slice(first * size, last * size)
    periods_s = tuple(
        float(load.known[period * size : (period + 1) * size].sum() * load.width_s) for period in range(first, last)
    )
    seen_s = sum(periods_s)
    span_s = min(last * order.period_s, len(load.counts) * load.width_s) - first * order.period_s
    mean_per_s = float(load.counts[part].sum() * order.factor) / seen_s
    return Window(first, last - first, first * order.period_s, seen_s, mean_per_s, span_s, periods_s)


def loaded(order: Order, found: Window, partitions: int, seed: int, *, compression: float = 1.0) -> Load:
    """The window's arrivals at the planned scale, drawn with `seed`; the same rates in a time `compression` shorter.

    Raises:
        InvalidInput: the load is so small that no request is drawn.
    """
    scenario = Scenario(partitions=partitions, mean_rate=found.mean_per_s, seed=seed)
    stretch = Stretch(found.start_s, found.span_s, compression, smooth_s=SMOOTH_S / compression)
    drawn = of_trace(_trace(order), scenario, stretch)
    if not drawn.arrivals_s.size:
        raise InvalidInput(
            f"--scale {order.scale:g} times --growth {order.growth:g} leaves no request in the "
            f"{found.length_s:g} s that are replayed",
            "give larger factors",
        )
    return drawn


def _trace(order: Order) -> Trace:
    """The workload as the simulator takes it; as in the plan, seconds count from its first bin."""
    load = order.history.workload
    bins = np.flatnonzero(load.known)
    starts_s = np.asarray(bins * load.width_s, dtype=np.float64)
    widths_s = np.full(len(bins), load.width_s, dtype=np.float64)
    missing_s = float((~load.known).sum() * load.width_s)
    return Trace(order.history.name, starts_s, widths_s, load.counts[bins].astype(np.int64), missing_s)


def replay(
    order: Order, schedule: Schedule, found: Window, load: Load, *, partitions: int, ideal: bool, seed: int = 1,
    types: Sequence[WorkerType] | None = None, keep: float = 1.0, pause_s: float = PAUSE_S,
) -> Replayed:  # fmt: skip
    """Run the schedule of the window against its load.

    Args:
        order: types and overhead.
        schedule: workers by period.
        found: the window that the load is of.
        load: arrivals.
        partitions: of the requests topic.
        ideal: workers start and partitions move at once: the plan's own assumption. Else boots take their time
            (they are asked for that much earlier) and partitions that move pause.
        seed: of the boots.
        types: how workers truly are, instead of the order's.
        keep: share of the workers that are there, rounded down: a zone may be lost.
        pause_s: how long a partition that moves is not read, where `ideal` is false.
    """
    kinds = [
        SimulatedType(
            kind.name, kind.curve, kind.price_per_hour, 1e-3 if ideal else kind.boot_s,
            0.0 if ideal else BOOT_SPREAD, 0, max(kind.max_workers, 1),
        )
        for kind in types or order.types
    ]  # fmt: skip
    engine = Engine(
        load.arrivals_s, load.partition_of, partitions=partitions, types=kinds, pause_s=0.0 if ideal else pause_s,
        seed=seed, start_s=-10 * max(kind.boot_s for kind in kinds) - 10.0,
    )  # fmt: skip

    def fleet(period: int) -> dict[str, int]:
        return {name: int(count * keep) for name, count in schedule.fleet(found.first + period).items()}

    engine.declare(fleet(0))
    leads = {kind.name: 0.0 if ideal else lead_s(kind.boot_s, pause_s) for kind in kinds}
    for at_s, wanted in steps([fleet(period) for period in range(found.periods)], found.periods_s, leads):
        engine.advance(max(0.0, at_s))
        engine.declare(wanted)
    engine.advance(load.length_s)
    cost = engine.cost(0.0, load.length_s)
    engine.advance(load.length_s + DRAIN_S)
    times = np.nan_to_num(engine.latencies_s, copy=True, nan=np.inf) + order.overhead_s
    p50, p99 = np.quantile(times, [0.5, 0.99], method="higher")
    return Replayed(
        len(times), float(np.mean(times <= order.objective.within_s)), float(p50), float(p99), cost, times
    )  # fmt: skip


def lead_s(boot_s: float, pause_s: float = PAUSE_S) -> float:
    """How long before it must serve a worker is asked for: a slow boot, and the pause of what it takes over."""
    return boot_s * (1 + BOOT_SPREAD) + pause_s


def steps(
    fleets: Sequence[Mapping[str, int]], periods_s: Sequence[float], leads_s: Mapping[str, float]
) -> list[tuple[float, dict[str, int]]]:
    """When what is declared, in seconds after the first period's begin, whose fleet is there.

    Args:
        fleets: workers by type, for each period.
        periods_s: length of each period: a gap in the record shortens some.
        leads_s: by type, how long before a period its additional workers are asked for; fewer are wanted at once.
    """
    told: list[tuple[float, dict[str, int]]] = []
    for period in range(1, len(fleets)):
        before, after, at_s = fleets[period - 1], fleets[period], sum(periods_s[:period])
        told += [(at_s - leads_s[name], {name: count}) for name, count in after.items() if count > before[name]]
        falls = {name: count for name, count in after.items() if count < before[name]}
        if falls:
            told.append((at_s, falls))
    return sorted(told, key=lambda step: step[0])


def planned_cost(schedule: Schedule, kinds: Sequence[Kind], found: Window) -> float:
    """What the plan says that the window costs: its recorded seconds, which are what the replay lasts."""
    workers = schedule.workers[found.first : found.first + found.periods]
    hours = np.array(found.periods_s) / 3600
    prices = np.array([kind.price_per_hour for kind in kinds])
    # Of no hours: what the starts cost.
    return float(hours @ (workers @ prices)) + cost_of(workers, kinds, 0.0)
