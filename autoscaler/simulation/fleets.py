"""The fleets a planner with hindsight chooses from, what they carry, and what a change between two costs."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from autoscaler.queueing import dealing
from autoscaler.simulation import assignment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from autoscaler.simulation.scenario import Scenario, SimulatedType

    Floats = NDArray[np.float64]
    #: Workers by type.
    Fleet = tuple[int, ...]

#: Most fleets looked at; a plan's time grows with the square of it.
MOST = 72
#: The same of mixed fleets.
MOST_MIXED = 110
#: Late records of a worker are few while its load is below its capacity by this over capacity x patience, as a part:
#: a queue with a drift of -d and a variance of 1 for each record is longer than x with chance exp(-2 d x), here one in
#: a thousand. Never below the second part of the capacity.
_SPARE = 3.5
_LEAST_CARRIED = 0.9
#: Part of its capacity that a fleet of one type is taken to carry.
_CARRIED = 0.97
#: Fleets that carry more than this times the highest load are of no use.
_ROOM = 1.3


@dataclass(frozen=True, slots=True, eq=False)
class Fleets:
    """Fleets to choose from, F of them."""

    fleets: tuple[tuple[int, ...], ...]
    #: Price an hour, shape (F,).
    price_per_hour: Floats
    #: Records a second at which the busiest worker is full, shape (F,).
    capacity_per_s: Floats
    #: Records a second that it carries with hardly one late by chance, shape (F,).
    carried_per_s: Floats
    #: Price of the boots from one fleet to another, shape (F, F).
    boot_price: Floats
    #: Part of the partitions that pause in the change, shape (F, F).
    moved: Floats


def useful_counts(partitions: int, low: int, high: int) -> list[int]:
    """Counts at which the busiest worker has fewer partitions than at one less: the others buy nothing."""
    return [
        count
        for count in range(low, min(high, partitions) + 1)
        if count <= max(low, 1) or math.ceil(partitions / count) < math.ceil(partitions / (count - 1))
    ]


def candidates(scenario: Scenario, shares: Floats, peak_per_s: float, first: dict[str, int]) -> Fleets:
    """The fleets worth looking at.

    Args:
        scenario: Types and partitions.
        shares: Of the arrivals by partition, shape (partitions,), sum 1.
        peak_per_s: Highest load to be carried.
        first: The fleet at the start, always among them and always the first.
    """
    types = scenario.worker_types
    beginning = tuple(first[kind.name] for kind in types)
    counts = [_counts(kind, scenario.partitions, only=len(types) == 1) for kind in types]
    found: dict[tuple[int, ...], tuple[float, float]] = {}
    for fleet in itertools.product(*counts):
        if sum(fleet):
            price = sum(n * kind.price_per_hour for n, kind in zip(fleet, types, strict=True))
            found[fleet] = (price, capacity(fleet, types, shares))
    limit = max(peak_per_s * _ROOM, min((carried for _, carried in found.values()), default=0.0))
    # In order of price.
    ordered = sorted(found, key=lambda fleet: found[fleet])
    kept = _on_the_way(ordered, found, limit) if len(types) == 1 else _worth_it(ordered, found, limit)
    chosen = [beginning, *(fleet for fleet in kept if fleet != beginning)]
    return _described(chosen, scenario, shares)


def _on_the_way(ordered: list[Fleet], found: dict[Fleet, tuple[float, float]], limit: float) -> list[Fleet]:
    """Of one type: each that carries more than the one before, up to the limit."""
    best, kept = 0.0, []
    for fleet in ordered:
        carried = found[fleet][1]
        if carried > best:
            kept.append(fleet)
        best = max(best, carried)
        if best > limit:
            break
    while len(kept) > MOST:
        kept = kept[::2]
    return kept


def _worth_it(ordered: list[Fleet], found: dict[Fleet, tuple[float, float]], limit: float) -> list[Fleet]:
    """Of several types: also dearer ones than need be, since they are reached sooner or for a short while.

    A fleet is left out where one with no more workers of any type carries as much; of the others those that cost most
    over the cheapest that carries as much are left out first.
    """
    prices = np.array([found[fleet][0] for fleet in ordered])
    carried = np.array([found[fleet][1] for fleet in ordered])
    counts = np.array(ordered)
    over: list[tuple[float, int]] = []
    for place in range(len(ordered)):
        smaller = (counts <= counts[place]).all(axis=1)
        smaller[place] = False
        enough = carried >= carried[place]
        if (smaller & enough).any() or (smaller & (carried > limit)).any():
            continue
        over.append((float(prices[place] / prices[enough].min()), place))
    return [ordered[place] for _, place in sorted(over)[:MOST_MIXED]]


def capacity(fleet: Fleet, types: tuple[SimulatedType, ...], shares: Floats, patience_s: float | None = None) -> float:
    """Records a second at which the first worker of the fleet is full, with partitions given by capacity.

    Args:
        fleet: Workers by type.
        types: The types.
        shares: Of the arrivals by partition.
        patience_s: Seconds that a record may wait: with them a worker is full where chance begins to make it late.
    """
    capacities = _capacities(fleet, types)
    if not capacities:
        return 0.0
    owner = np.array(assignment.assign(shares.size, capacities, [-1] * shares.size, _loads(shares)))
    load = np.bincount(owner, shares, len(capacities))
    able = np.array(capacities)
    if patience_s is not None:
        able *= np.maximum(_LEAST_CARRIED, 1 - _SPARE / (able * patience_s))
    return float(np.min(able[load > 0] / load[load > 0]))


def _loads(shares: Floats) -> list[float]:
    found: list[float] = shares.tolist()
    return found if dealing.skewed(found) else []


def patience_s(scenario: Scenario) -> float:
    """Seconds that a record may wait for its batch."""
    slowest_s = max(kind.curve.seconds(kind.curve.max_batch) for kind in scenario.worker_types)
    return max(0.1 * scenario.objective_s, scenario.objective_s - slowest_s)


def _counts(kind: SimulatedType, partitions: int, *, only: bool) -> list[int]:
    if only:
        return useful_counts(partitions, kind.min_workers, kind.max_workers)
    most = min(kind.max_workers, partitions)
    few = list(range(kind.min_workers, min(most, 10) + 1))
    more = [n for n in (12, 14, 16, 19, 22, 26, 32, 40, 48, 56, 64) if 10 < n <= most]  # noqa: PLR2004
    return few + [n for n in more if n >= kind.min_workers]


def _capacities(fleet: tuple[int, ...], types: tuple[SimulatedType, ...]) -> list[float]:
    return [kind.curve.capacity_per_s for n, kind in zip(fleet, types, strict=True) for _ in range(n)]


def _described(fleets: list[tuple[int, ...]], scenario: Scenario, shares: Floats) -> Fleets:
    types = scenario.worker_types
    size, alone = len(fleets), len(types) == 1
    boot, moved = np.zeros((size, size)), np.zeros((size, size))
    for i, before in enumerate(fleets):
        for j, after in enumerate(fleets):
            if i == j:
                continue
            boot[i, j] = sum(
                max(0, n - m) * kind.price_per_hour / 3600 * kind.boot_s
                for m, n, kind in zip(before, after, types, strict=True)
            )
            moved[i, j] = 1.0 if scenario.rebalance == "eager" else _moved(before, after, types, shares.size)
    return Fleets(
        fleets=tuple(fleets),
        price_per_hour=np.array([sum(n * k.price_per_hour for n, k in zip(f, types, strict=True)) for f in fleets]),
        capacity_per_s=np.array([capacity(fleet, types, shares) for fleet in fleets]),
        carried_per_s=np.array(
            [
                capacity(fleet, types, shares) * _CARRIED
                if alone
                else capacity(fleet, types, shares, patience_s(scenario))
                for fleet in fleets
            ]
        ),
        boot_price=boot,
        moved=moved,
    )


def _moved(before: tuple[int, ...], after: tuple[int, ...], types: tuple[SimulatedType, ...], partitions: int) -> float:
    """Part of the partitions that change hands, if each stays where it can."""
    old, new = (assignment.quotas(partitions, _capacities(f, types), [0] * sum(f)) for f in (before, after))
    kept, at_old, at_new = 0, 0, 0
    for m, n in zip(before, after, strict=True):
        kept += sum(min(a, b) for a, b in zip(old[at_old : at_old + m], new[at_new : at_new + n], strict=False))
        at_old, at_new = at_old + m, at_new + n
    return 1 - kept / partitions
