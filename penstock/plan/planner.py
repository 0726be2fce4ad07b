"""The plan: sized, priced, replayed, and tightened until the replay meets the objective."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from autoscaler.model import Objective, ServiceCurve
from autoscaler.planning import demand, workload
from autoscaler.planning.fleet_program import Kind, Schedule, cheapest
from autoscaler.queueing.batch import highest_rate
from penstock.errors import InvalidInput
from penstock.plan.policies import PolicyRun, of_name, run_policy
from penstock.plan.replay import Replayed, Window, loaded, planned_cost, replay, window

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from autoscaler.model import WorkerType
    from autoscaler.planning.demand import Limit, TopicBill
    from penstock.plan.order import Order

#: Hours of a month: a year's over twelve.
MONTH_HOURS = 730.0
#: Highest share of its capacity that a worker is planned for: beyond it a small error of the curve is a large queue.
UTILISATION = 0.95
#: What each round of tightening leaves of a worker's rate, and how many there are at most.
TIGHTER, ROUNDS = 0.93, 8
#: Cost over the least one at which a simpler way is as good.
WORTH = 1.001
#: Draws of the load that a plan must hold in.
DRAWS = 3
#: How much slower a slow device is, and how much the load may be off, for the sensitivities.
SLOWER, OFF = 1.3, 0.3


@dataclass(frozen=True, slots=True)
class Option:
    """One way to run the load."""

    name: str
    fixed: bool
    schedule: Schedule
    cost_per_month: float


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What another world costs, and what becomes of the planned fleet in it."""

    name: str
    #: Of the cheapest fleets there; `None` = none meets the objective.
    autoscaled_per_month: float | None
    fixed_per_month: float | None
    #: Share answered in time, and the 99th percentile, of the planned fleet in the window; infinite = never.
    attainment: float
    p99_s: float


@dataclass(frozen=True, slots=True)
class Checked:
    """The replays: what the plan foretells, and what the simulator makes of it."""

    window: Window
    ideal: Replayed
    real: tuple[Replayed, ...]
    planned_cost: float


@dataclass(frozen=True, slots=True)
class Plan:
    """The answer."""

    rates: NDArray[np.float64]
    dispersion: float
    kinds: tuple[Kind, ...]
    partitions: int
    #: What is cheapest of all, and the others beside it.
    best: Option
    options: tuple[Option, ...]
    bill: TopicBill
    checked: Checked
    #: How often a worker's rate was lowered before the replay met the objective.
    tightened: int
    sensitivities: tuple[Sensitivity, ...]
    limits: tuple[Limit, ...]
    #: What live policies make of the window.
    policies: tuple[PolicyRun, ...] = ()


def make(order: Order, tell: Callable[[str], None]) -> Plan:
    """Plan.

    Args:
        order: what is asked.
        tell: is told what is being done.

    Raises:
        InvalidInput: no fleet meets the objective, or there is no such policy.
    """
    order.check()
    for text in order.policies:
        of_name(text, order)
    load = demand.scaled(order.history.workload, order.factor)
    rates = demand.period_rates(load, order.period_s)
    if np.isnan(rates).all():
        raise InvalidInput(
            f"{order.trace}: of each period of {order.period_s:g} s less than half was recorded",
            "give a record with shorter gaps, or a shorter --period",
        )
    local = workload.dispersions(order.history.workload)
    spread = demand.dispersion(local[0].local if local else None, load.width_s, order.factor)
    tightness = 1.0
    for tightened in range(ROUNDS):
        tell(f"sizing{f' (tightened {tightened} times)' if tightened else ''}")
        kinds = kinds_of(order.types, order, spread, tightness)
        partitions = order.partitions or demand.choose_partitions(_peak(rates), kinds, order.head_room)
        if partitions is None:
            raise InvalidInput(
                f"{_peak(rates):.4g} records/s at the peak: {demand.PARTITION_CHOICES[-1]} partitions are not enough",
                "name faster workers, allow more time, or split the pipeline",
            )
        options = _options(order, rates, kinds, partitions)
        best = _chosen(options)
        tell("replaying")
        checked = _check(order, rates, best.schedule, kinds, partitions)
        if min(run.attainment for run in (checked.ideal, *checked.real)) >= order.objective.share:
            break
        tightness *= TIGHTER
    else:
        raise InvalidInput(
            f"the replay answers {min(run.attainment for run in checked.real):.2%} in time, "
            f"{order.objective.share:.4g} is asked, and larger fleets do not help",
            "allow more time, shorter periods (--period), or faster starts",
        )
    live = []
    for text in order.policies:
        tell(f"policy {text}")
        first = loaded(order, checked.window, partitions, order.seed)
        live.append(
            run_policy(text, order, best.schedule, kinds, window=checked.window, load=first, partitions=partitions)
        )
    tell("sensitivities")
    bill = _bill(order, load, partitions_peak=_peak(rates))
    return Plan(
        rates=rates, dispersion=spread, kinds=kinds, partitions=partitions, best=best, options=options, bill=bill,
        checked=checked, tightened=tightened,
        sensitivities=_sensitivities(
            order, rates, best, checked, partitions=partitions, spread=spread, tightness=tightness
        ),
        limits=demand.limits(
            peak_per_s=_peak(rates), kinds=kinds, partitions=partitions, bill=bill,
            broker_bytes_per_s=order.broker_bytes_per_s, disk_bytes=order.disk_bytes, brokers=order.brokers,
        ),
        policies=tuple(live),
    )  # fmt: skip


def kinds_of(types: Sequence[WorkerType], order: Order, spread: float, tightness: float = 1.0) -> tuple[Kind, ...]:
    """Worker types as the program sees them: with the rate at which each meets what the objective leaves."""
    left = Objective(order.objective.within_s - order.overhead_s, order.objective.share)
    # Tenths, so that few values are computed.
    spread = math.ceil(spread * 10 - 1e-9) / 10
    return tuple(
        Kind(
            kind.name, kind.price_per_hour, tightness * highest_rate(kind.curve, left, UTILISATION, spread),
            kind.min_workers, kind.max_workers, kind.boot_s,
        )
        for kind in types
    )  # fmt: skip


def _options(order: Order, rates: NDArray[np.float64], kinds: Sequence[Kind], partitions: int) -> tuple[Option, ...]:
    """Fixed and autoscaled, of each type alone and mixed.

    Raises:
        InvalidInput: none of them is possible.
    """
    known = rates[~np.isnan(rates)]
    # A type that must have workers is in every fleet.
    mixes: list[tuple[str, list[Kind]]] = [
        (kind.name, [_only(k, kind) for k in kinds])
        for kind in kinds
        if not any(other.min_workers for other in kinds if other.name != kind.name)
    ]
    if len(kinds) > 1:
        mixes.append(("mixed", list(kinds)))
    found = []
    for name, mix in mixes:
        for fixed in (True, False):
            schedule = cheapest(known, mix, partitions, period_s=order.period_s, fixed=fixed)
            if schedule is not None:
                hours = len(known) * order.period_s / 3600
                whole = replace(schedule, workers=_spread_out(schedule.workers, rates))
                words = f"{'fixed peak fleet' if fixed else 'autoscaled'}, {name}"
                found.append(Option(words, fixed, whole, schedule.cost / hours * MONTH_HOURS))
    if not found:
        bounds = ", ".join(f"{kind.max_workers} {kind.name} of {kind.highest_per_s:.4g}/s" for kind in kinds)
        raise InvalidInput(
            f"{_peak(rates):.4g} records/s at the peak on {partitions} partitions: no fleet of at most {bounds} meets "
            "the objective",
            "raise max, add partitions, or allow more time",
        )
    return tuple(found)


def _chosen(options: Sequence[Option]) -> Option:
    """The cheapest; a fixed fleet where nothing else saves a thousandth: it has nothing that can fail to scale."""
    least = min(option.cost_per_month for option in options)
    good = [option for option in options if option.cost_per_month <= least * WORTH]
    return next((option for option in good if option.fixed), good[0])


def _only(kind: Kind, wanted: Kind) -> Kind:
    return kind if kind.name == wanted.name else replace(kind, min_workers=0, max_workers=0)


def _spread_out(workers: NDArray[np.int64], rates: NDArray[np.float64]) -> NDArray[np.int64]:
    """A row for each period, also for those that were not recorded: as many workers as just before."""
    known = ~np.isnan(rates)
    return np.asarray(workers[np.maximum(np.cumsum(known) - 1, 0)])


def _check(
    order: Order, rates: NDArray[np.float64], schedule: Schedule, kinds: Sequence[Kind], partitions: int
) -> Checked:
    found = window(order, rates)
    first = loaded(order, found, partitions, order.seed)
    ideal = replay(order, schedule, found, first, partitions=partitions, ideal=True)
    real = tuple(
        replay(
            order, schedule, found, first if draw == 0 else loaded(order, found, partitions, order.seed + draw),
            partitions=partitions, ideal=False, seed=order.seed + draw,
        )
        for draw in range(DRAWS)
    )  # fmt: skip
    return Checked(found, ideal, real, planned_cost(schedule, kinds, found))


def _bill(order: Order, load: workload.Workload, *, partitions_peak: float) -> TopicBill:
    retention_s = order.topics.retention_hours * 3600
    kept = load.highest_per_s(retention_s) if retention_s < load.seconds else None
    return demand.topic_bill(
        kept_per_s=load.mean_per_s if kept is None else kept, peak_per_s=partitions_peak,
        request_bytes=order.request_bytes, result_bytes=order.result_bytes,
        retention_hours=order.topics.retention_hours, copies=order.topics.replication_factor, brokers=order.brokers,
        readers=1,
    )  # fmt: skip


def _sensitivities(
    order: Order, rates: NDArray[np.float64], best: Option, checked: Checked, *, partitions: int, spread: float,
    tightness: float,
) -> tuple[Sensitivity, ...]:  # fmt: skip
    slow = tuple(
        replace(kind, curve=ServiceCurve(kind.curve.a_s * SLOWER, kind.curve.b_s * SLOWER, kind.curve.max_batch))
        for kind in order.types
    )
    worlds: list[tuple[str, float, tuple[WorkerType, ...], float]] = [
        (f"load {-OFF:+.0%}", 1 - OFF, order.types, 1.0),
        (f"load {OFF:+.0%}", 1 + OFF, order.types, 1.0),
        (f"devices {SLOWER - 1:.0%} slower", 1.0, slow, 1.0),
    ]
    if order.zones > 1:
        worlds.append((f"one of {order.zones} zones lost and not replaced", 1.0, order.types, 1 - 1 / order.zones))
    told = []
    for number, (name, times, types, keep) in enumerate(worlds):
        other = replace(order, growth=order.growth * times, types=types)
        left = kinds_of(types, other, spread, tightness)
        # With a zone gone the rest must hold the load: what is paid for is that much more.
        bounded = [replace(kind, max_workers=int(kind.max_workers * keep)) for kind in left]
        costs = []
        for fixed in (False, True):
            known = rates[~np.isnan(rates)] * times
            found = cheapest(known, bounded, partitions, period_s=order.period_s, fixed=fixed)
            hours = len(known) * order.period_s / 3600
            costs.append(None if found is None else found.cost / keep / hours * MONTH_HOURS)
        there = replace(checked.window, mean_per_s=checked.window.mean_per_s * times)
        load = loaded(other, there, partitions, order.seed + 100 + number)
        run = replay(order, best.schedule, there, load, partitions=partitions, ideal=False, types=types, keep=keep)
        told.append(Sensitivity(name, costs[0], costs[1], run.attainment, run.p99_s))
    return tuple(told)


def _peak(rates: NDArray[np.float64]) -> float:
    return float(np.nanmax(rates))
