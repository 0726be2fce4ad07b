"""The fleets a planner with hindsight chooses from, what they carry, and what a change between two costs."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from autoscaler.simulation import assignment

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from autoscaler.simulation.scenario import Scenario, SimulatedType

    Floats = NDArray[np.float64]

#: Most fleets looked at; a plan's time grows with the square of it.
MOST = 72
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
    # Of two fleets, one that carries no more and costs more is of no use, but for what the change costs: so those are
    # kept that are nearly as good.
    ordered = sorted(found, key=lambda fleet: found[fleet])
    best, kept = 0.0, []
    for fleet in ordered:
        carried = found[fleet][1]
        if carried > best * (0.9 if len(types) > 1 else 1.0):
            kept.append(fleet)
        best = max(best, carried)
        if best > limit:
            break
    while len(kept) > MOST:
        kept = kept[::2]
    chosen = [beginning, *(fleet for fleet in kept if fleet != beginning)]
    return _described(chosen, scenario, shares)


def capacity(fleet: tuple[int, ...], types: tuple[SimulatedType, ...], shares: Floats) -> float:
    """Records a second at which the first worker of the fleet is full, with partitions given by capacity."""
    capacities = _capacities(fleet, types)
    if not capacities:
        return 0.0
    owner = np.array(assignment.assign(shares.size, capacities, [-1] * shares.size))
    load = np.bincount(owner, shares, len(capacities))
    return float(np.min(np.array(capacities)[load > 0] / load[load > 0]))


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
    size = len(fleets)
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
