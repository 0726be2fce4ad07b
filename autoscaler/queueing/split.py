"""A consumer group as what it is: c separate queues of whole partitions, of which the busiest decides.

A pooled formula (M/M/c) lets any worker take any record. Kafka does not: 9 workers on 64 partitions leave one with 8 of
them, 12.5 % of the load instead of 11.1 %, and no neighbour helps it. So only those counts matter at which
ceil(partitions / c) changes.
"""

from __future__ import annotations

import heapq
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


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
    even = 1 / partitions
    total = sum(arrivals.values())
    if total <= 0 or partitions == 1 or len(arrivals) < partitions:
        return (even,) * partitions
    shares = [count / total for count in arrivals.values()]
    seen = sum((share - even) ** 2 for share in shares) / (len(shares) - 1)
    by_chance = even * (1 - even) / total
    kept = max(0.0, 1 - by_chance / seen) if seen > 0 else 0.0
    return tuple(sorted((even + kept * (share - even) for share in shares), reverse=True))


def busiest_share(shares: Sequence[float], workers: int) -> float:
    """Part of the load on the busiest of `workers`: max(ceil(P/c)/P, the busiest after greedy placement).

    Greedy = longest processing time first (R. L. Graham, 1969): each partition, largest first, to the least loaded
    worker; within a third of the optimum. The count term is there since the group assigns by count.

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
    loads = [0.0] * min(workers, partitions)
    for share in shares:
        heapq.heapreplace(loads, loads[0] + share)
    return max(by_count, max(loads))


def smallest_fleet(shares: Sequence[float], allowed_share: float, most: int | None = None) -> int | None:
    """Fewest workers whose busiest has at most `allowed_share` of the load; `None` = not even one a partition is enough.

    Args:
        shares: Of each partition, largest first.
        allowed_share: Highest rate of one worker over the rate in sum.
        most: Highest count tried; the number of partitions when left out.
    """
    ceiling = min(most or len(shares), len(shares))
    if allowed_share <= 0:
        return None
    least = min(ceiling, max(1, math.ceil(1 / allowed_share - 1e-9)))
    for workers in range(least, ceiling + 1):
        if busiest_share(shares, workers) <= allowed_share + 1e-12:
            return workers
    return None
