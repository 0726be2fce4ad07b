"""A consumer group as what it is: c separate queues of whole partitions, of which the busiest decides.

A pooled formula (M/M/c) lets any worker take any record. Kafka does not: 9 workers on 64 partitions leave one with 8 of
them, 12.5 % of the load instead of 11.1 %, and no neighbour helps it. So only those counts matter at which
ceil(partitions / c) changes.
"""

from __future__ import annotations

import functools
import heapq
import math
from typing import TYPE_CHECKING

from autoscaler.queueing import dealing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

#: Least relief of the busiest worker, as a part of its share, that a larger fleet is worth.
_RELIEF = 0.02
#: Partitions times workers up to which skewed partitions are placed one by one; beyond, where each worker has many or
#: there is one for nearly each partition, the count and the largest decide. A decision looks at hundreds of counts, and
#: must not cost their number times the partitions.
_PLACED = 20_000


def smoothed_shares(arrivals: Mapping[int, float], partitions: int) -> tuple[float, ...]:
    """Shares of the partitions, largest first, shrunk towards even as far as chance explains the differences.

    The largest of many even partitions looks busier than it is. With N arrivals over P partitions the variance of an
    even share is (1/P)(1 - 1/P)/N; what is seen beyond that is skew, and shares keep that part of their distance from
    1/P (James-Stein).

    Args:
        arrivals: Records by partition over the same time; missing partitions count as even.
        partitions: Number of partitions, >= 1.

    Returns:
        `partitions` shares that sum to 1.
    """
    if partitions < 1:
        raise ValueError(f"partitions={partitions}: must be at least 1")
    if len(arrivals) < partitions:
        return (1 / partitions,) * partitions
    return tuple(sorted(shrunk(list(arrivals.values())), reverse=True))


def shrunk(arrivals: Sequence[float]) -> list[float]:
    """Shares of the partitions in their order, shrunk towards even as far as chance explains the differences.

    Args:
        arrivals: Records of each partition over the same time.

    Returns:
        Shares that sum to 1; even ones where nothing came.
    """
    even, total = 1 / max(1, len(arrivals)), sum(arrivals)
    if total <= 0 or len(arrivals) < 2:  # noqa: PLR2004 - one alone cannot differ
        return [even] * len(arrivals)
    shares = [count / total for count in arrivals]
    seen = sum((share - even) ** 2 for share in shares) / (len(shares) - 1)
    by_chance = even * (1 - even) / total
    kept = max(0.0, 1 - by_chance / seen) if seen > 0 else 0.0
    return [even + kept * (share - even) for share in shares]


def busiest_share(shares: Sequence[float], workers: int) -> float:
    """Part of the load on the busiest of `workers`: ceil(P/c)/P, or the busiest after greedy placement.

    Greedy = longest processing time first (R. L. Graham, 1969): each partition, largest first, to the least loaded
    worker; within a third of the optimum. It is what a group does with skewed partitions (`dealing`); others it assigns
    by count, and the larger of the two holds. With more than 20,000 partitions times workers the largest partition
    stands for the placement, which is a lower bound.

    Args:
        shares: Of each partition, largest first.
        workers: >= 1; those beyond the number of partitions stay idle.
    """
    if workers < 1 or not shares:
        raise ValueError(f"workers={workers}, {len(shares)} partitions: both must be at least 1")
    partitions = len(shares)
    by_count = math.ceil(partitions / workers) / partitions
    if shares[0] - shares[-1] < 1e-12:  # noqa: PLR2004 - equal but for rounding
        return by_count
    if partitions * workers > _PLACED:
        return max(by_count, shares[0])
    placed = _placed(tuple(shares), workers)
    return placed if dealing.skewed(shares) else max(by_count, placed)


@functools.lru_cache(maxsize=1024)
def _placed(shares: tuple[float, ...], workers: int) -> float:
    """The busiest after greedy placement; remembered, since one decision asks for the same counts several times."""
    loads = [0.0] * min(workers, len(shares))
    for share in shares:
        heapq.heapreplace(loads, loads[0] + share)
    return max(loads)


def useful_counts(shares: Sequence[float]) -> Iterator[int]:
    """Counts of workers that relieve the busiest by 2 % or more, ascending: 1-8, 10, 11, 13, 16, 22, 32, 64 of 64.

    Between two of them a further worker costs its price and changes nothing. The grid does not depend on the load.
    """
    relieved = math.inf
    for workers in range(1, len(shares) + 1):
        share = busiest_share(shares, workers)
        if share < relieved * (1 - _RELIEF):
            relieved = share
            yield workers
