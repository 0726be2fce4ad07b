"""The compiled inner loop of the simulator: workers that serve their own partitions, batch by batch.

A worker that is free takes, in order of arrival, what waits in its open partitions, at most a batch, and answers all of
it `a + b * n` seconds later. Records stand partition by partition: those of partition p are `first[p]` to
`first[p + 1] - 1`, in order of arrival.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


@njit(cache=True)  # type: ignore[untyped-decorator] # numba has no types
def serve(  # noqa: PLR0917 - compiled as one loop
    until_s: float,
    times_s: Floats,
    answered_s: Floats,
    first: Ints,
    following: Ints,
    open_s: Floats,
    owned_from: Ints,
    owned: Ints,
    free_s: Floats,
    stop_s: Floats,
    a_s: Floats,
    b_s: Floats,
    max_batch: Ints,
    batches: Ints,
    rows: Ints,
    busy_s: Floats,
) -> None:
    """Start every batch that starts before `until_s`. Changes `answered_s`, `following` and the per-worker arrays.

    Args:
        until_s: End of the stretch, exclusive.
        times_s: Arrival of each record, shape (n,).
        answered_s: End of the batch that answered it, shape (n,); written.
        first: Where the records of each partition begin, shape (partitions + 1,).
        following: Next record to be taken, by partition; written.
        open_s: When a partition may be read, by partition.
        owned_from: Where the partitions of each worker begin in `owned`, shape (workers + 1,).
        owned: Partitions, worker by worker.
        free_s: End of each worker's last batch; written.
        stop_s: When each worker takes no more; infinity = not.
        a_s: Seconds of a batch, by worker.
        b_s: Seconds of a row, by worker.
        max_batch: Rows, by worker.
        batches: Counted by worker; written.
        rows: Counted by worker; written.
        busy_s: Summed by worker; written.
    """
    heads_s = np.empty(owned.size)
    for worker in range(free_s.size):
        low, high = owned_from[worker], owned_from[worker + 1]
        end_s = min(until_s, stop_s[worker])
        for k in range(low, high):
            p = owned[k]
            heads_s[k] = times_s[following[p]] if following[p] < first[p + 1] else np.inf
        while low < high:
            # When the first record that it may read is there.
            start_s = np.inf
            for k in range(low, high):
                if heads_s[k] < start_s:
                    start_s = min(start_s, max(heads_s[k], open_s[owned[k]]))
            start_s = max(start_s, free_s[worker])
            if not start_s < end_s:
                break
            mine = owned[low:high]
            taken = waiting(start_s, times_s, first, following, open_s, mine, max_batch[worker])
            lasts_s = a_s[worker] + b_s[worker] * taken
            if taken < max_batch[worker]:
                take_all(start_s, lasts_s, times_s, answered_s, first, following, open_s, mine, heads_s[low:high])
            else:
                take_oldest(
                    start_s, lasts_s, times_s, answered_s, first, following, open_s, mine, heads_s[low:high], taken
                )
            free_s[worker] = start_s + lasts_s
            batches[worker] += 1
            rows[worker] += taken
            busy_s[worker] += lasts_s


@njit(cache=True)  # type: ignore[untyped-decorator] # numba has no types
def waiting(  # noqa: PLR0917 - compiled
    start_s: float, times_s: Floats, first: Ints, following: Ints, open_s: Floats, mine: Ints, most: int
) -> int:
    """Records in open partitions of one worker at `start_s`, counted up to `most`; arguments as in `serve`."""
    found = 0
    for p in mine:
        if open_s[p] > start_s:
            continue
        record = following[p]
        while found < most and record < first[p + 1] and times_s[record] <= start_s:
            record += 1
            found += 1
    return found


@njit(cache=True)  # type: ignore[untyped-decorator] # numba has no types
def take_all(  # noqa: PLR0917 - compiled
    start_s: float,
    lasts_s: float,
    times_s: Floats,
    answered_s: Floats,
    first: Ints,
    following: Ints,
    open_s: Floats,
    mine: Ints,
    heads_s: Floats,
) -> None:
    """Answer all that waits: it fits into one batch, so nobody need ask what is oldest. That is so in most batches."""
    for k in range(mine.size):
        p = mine[k]
        if open_s[p] > start_s:
            continue
        while following[p] < first[p + 1] and times_s[following[p]] <= start_s:
            answered_s[following[p]] = start_s + lasts_s
            following[p] += 1
        heads_s[k] = times_s[following[p]] if following[p] < first[p + 1] else np.inf


@njit(cache=True)  # type: ignore[untyped-decorator] # numba has no types
def take_oldest(  # noqa: PLR0917 - compiled
    start_s: float,
    lasts_s: float,
    times_s: Floats,
    answered_s: Floats,
    first: Ints,
    following: Ints,
    open_s: Floats,
    mine: Ints,
    heads_s: Floats,
    rows: int,
) -> None:
    """Answer the `rows` oldest of at least so many that wait."""
    for _ in range(rows):
        oldest_s, chosen = np.inf, -1
        for k in range(mine.size):
            if heads_s[k] < oldest_s and open_s[mine[k]] <= start_s:
                oldest_s, chosen = heads_s[k], k
        p = mine[chosen]
        answered_s[following[p]] = start_s + lasts_s
        following[p] += 1
        heads_s[chosen] = times_s[following[p]] if following[p] < first[p + 1] else np.inf


@njit(cache=True)  # type: ignore[untyped-decorator] # numba has no types
def count_until(until_s: Floats, values_s: Floats, first: Ints, end: Ints, counted: Ints) -> None:
    """Advance `counted` (records of each partition) over the values that are at most `until_s` of that partition.

    Args:
        until_s: Time by partition.
        values_s: Arrival or answer of each record, partition by partition, ascending within each.
        first: Where the records of each partition begin.
        end: Record of each partition before which counting stops.
        counted: Records counted so far, by partition; written.
    """
    for p in range(counted.size):
        record = first[p] + counted[p]
        while record < end[p] and values_s[record] <= until_s[p]:
            record += 1
        counted[p] = record - first[p]


@njit(cache=True)  # type: ignore[untyped-decorator] # numba has no types
def tally(  # noqa: PLR0917 - compiled
    until_s: float,
    times_s: Floats,
    answered_s: Floats,
    first: Ints,
    following: Ints,
    told: Ints,
    bounds_s: Floats,
    counts: Ints,
) -> None:
    """Count the answers that came by `until_s` and were not counted before, by latency.

    Args:
        until_s: Answers later than this are left for later.
        times_s: Arrival of each record, partition by partition.
        answered_s: Answer of each record.
        first: Where the records of each partition begin.
        following: Next record to be taken, by partition.
        told: Records counted so far, by partition; written.
        bounds_s: Upper bounds of the buckets, ascending.
        counts: One more than bounds; written.
    """
    for p in range(told.size):
        record = first[p] + told[p]
        while record < following[p] and answered_s[record] <= until_s:
            counts[np.searchsorted(bounds_s, answered_s[record] - times_s[record])] += 1
            record += 1
        told[p] = record - first[p]
