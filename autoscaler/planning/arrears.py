"""What to do about records that wait already: more workers drain them sooner, and are paid longer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from autoscaler.planning.carrying import Carrying

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: Part of its capacity that a worker with a backlog serves at: batches are full.
_EFFICIENCY = 0.985
#: Longest drain that is told apart from never, in seconds.
_LONGEST_S = 120.0


def projected(
    waiting: float, rates: Floats, *, step_s: float, ready: int, starting_in_s: Sequence[float], carrying: Carrying
) -> float:
    """Backlog at the end of `rates`, in seconds of one worker's work.

    Args:
        waiting: Now, in the same unit.
        rates: Load in workers' worth by step, shape (steps,).
        step_s: Length of a step in seconds.
        ready: Workers that serve now.
        starting_in_s: Seconds until each of the starting ones serves.
        carrying: Of the present shares.
    """
    for step, rate in enumerate(rates.tolist()):
        serving = ready + sum(1 for seconds in starting_in_s if seconds <= step * step_s)
        waiting = max(0.0, waiting + (rate - capacity(serving, carrying)) * step_s)
    return waiting


def capacity(workers: int, carrying: Carrying) -> float:
    """Load, in workers' worth, at which the busiest of `workers` is full."""
    if workers < 1:
        return 0.0
    return _EFFICIENCY / float(carrying.busiest[carrying.place(workers)])


def capacities(workers: Ints, carrying: Carrying) -> Floats:
    """`capacity` of many counts at once, of the shape of `workers`."""
    return np.asarray(np.where(workers < 1, 0.0, _EFFICIENCY / carrying.busiest[carrying.places(workers)]))


def halves(workers: Ints, carrying: Carrying) -> tuple[Floats, Floats]:
    """Parts of the load on the busier workers and on the others, and the loads that fill them, both of shape (2, n)."""
    places = carrying.places(workers)
    part = carrying.heavy[places]
    most = np.stack((carrying.busiest[places], carrying.lighter[places]))
    return np.stack((part, 1 - part)), np.where(workers < 1, 0.0, _EFFICIENCY / most)


def prices(workers: Ints, carrying: Carrying) -> Floats:
    """What so many workers cost, in workers of the first type, of the shape of `workers`."""
    return np.asarray(carrying.price[carrying.places(workers)], dtype=np.float64)


def drained_by(
    backlog: float,
    rate: float,
    carrying: Carrying,
    *,
    least: int,
    late_price: float,
    overhead_s: float,
    serving: int = 0,
    moved_s: float = 0.0,
) -> int:
    """The count that drains a backlog at the least sum of worker-seconds and of the price of late records.

    With capacity C(c) a backlog B is gone after d = B / (C(c) - rate) seconds; until then all that arrives is late:
    cost(c) = c (overhead + d) + late_price * rate * (d + moved (c - serving) / c)

    since the partitions that new workers get are not read while they move.

    Args:
        backlog: When the workers serve, in seconds of one worker's work.
        rate: Load meanwhile, in workers' worth.
        carrying: Of the present shares.
        least: Never fewer.
        late_price: Worker-seconds that a worker's second of late work is worth.
        overhead_s: Seconds that workers are paid besides: boot, and until they are let go.
        serving: Workers that will serve anyway.
        moved_s: Seconds for which the arrivals of a partition that moves are late.
    """
    found = drained_by_each(
        np.array([backlog]), rate, carrying, least=np.array([least]), late_price=late_price, overhead_s=overhead_s,
        serving=np.array([serving]), moved_s=moved_s,
    )  # fmt: skip
    return int(found[0])


def drained_by_each(
    backlogs: Floats,
    rate: float,
    carrying: Carrying,
    *,
    least: Ints,
    late_price: float,
    overhead_s: float,
    serving: Ints,
    moved_s: float,
) -> Ints:
    """`drained_by` of many groups at once; `backlogs`, `least`, `serving` and the answer are of shape (n,)."""
    spare = _EFFICIENCY / carrying.busiest - rate
    drain_s = np.where(spare > 0, np.minimum(backlogs[:, None] / np.maximum(spare, 1e-9), _LONGEST_S), 10 * _LONGEST_S)
    more = np.maximum(0, carrying.counts - serving[:, None]) / carrying.counts
    moved = np.where(serving[:, None] > 0, more, 0.0)
    cost = carrying.price * (overhead_s + drain_s) + late_price * rate * (drain_s + moved_s * moved)
    cost[carrying.counts < least[:, None]] = np.inf
    return np.asarray(carrying.counts[np.argmin(cost, axis=1)])
