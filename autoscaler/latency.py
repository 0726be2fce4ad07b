"""Latency histograms of workers: merged by adding counts, read by bucket."""

from __future__ import annotations

from typing import TYPE_CHECKING

from autoscaler.model import LATENCY_BOUNDS_S

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Buckets of a histogram: one for each bound, and one for what lies above the last.
BUCKETS = len(LATENCY_BOUNDS_S) + 1


def merge(histograms: Iterable[Sequence[int]]) -> tuple[int, ...]:
    """Sum of histograms over `LATENCY_BOUNDS_S`.

    Args:
        histograms: Each with `BUCKETS` counts; an empty one stands for "no results".

    Raises:
        ValueError: a histogram has another number of buckets (a worker of an incompatible version).
    """
    told = [counts for counts in histograms if counts]
    for counts in told:
        if len(counts) != BUCKETS:
            raise ValueError(
                f"latency_counts has {len(counts)} buckets: must be {BUCKETS}; run workers of this version"
            )
    # Column by column: a thousand workers have ten thousand histograms in ten seconds.
    return tuple(map(sum, zip(*told, strict=True))) if told else (0,) * BUCKETS


def quantile(counts: Sequence[int], q: float) -> float | None:
    """Latency in seconds that a part `q` (0-1) of the results does not exceed; errs high, never low.

    The upper bound of the bucket is given, so it is at most a third above the truth. Above the last bound the last
    bound is given: read 100 s as "100 s or more".

    Returns:
        Seconds, or `None` without results.
    """
    if not 0 < q <= 1:
        raise ValueError(f"q={q}: must be above 0 and at most 1, e.g. 0.99")
    total = sum(counts)
    if total <= 0:
        return None
    wanted = q * total
    seen = 0
    for bucket, count in enumerate(counts):
        seen += count
        if seen >= wanted - 1e-9:
            return LATENCY_BOUNDS_S[min(bucket, len(LATENCY_BOUNDS_S) - 1)]
    return LATENCY_BOUNDS_S[-1]


def within(counts: Sequence[int], limit_s: float) -> float | None:
    """Part (0-1) of the results surely within `limit_s` seconds (whole buckets, so it errs low); `None` without any."""
    total = sum(counts)
    if total <= 0:
        return None
    return sum(count for bound, count in zip(LATENCY_BOUNDS_S, counts, strict=False) if bound <= limit_s) / total
