"""Open-loop load as numbers: when each request is due, and what the answers' times mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def arrivals(rate: float, seconds: float, seed: int) -> NDArray[np.float64]:
    """A Poisson process: due times in seconds after the start, sorted, all below `seconds`."""
    random = np.random.default_rng(seed)
    gaps = random.exponential(1 / rate, int(rate * seconds * 1.5) + 50)
    times = np.cumsum(gaps)
    return times[times < seconds]


@dataclass(frozen=True, slots=True)
class Latency:
    """What the answers' times say, in milliseconds."""

    count: int
    p50_ms: float | None
    p99_ms: float | None
    #: Requests without an answer when the run was given up; they count with the time they had waited by then.
    unanswered: int


def latency(due_s: NDArray[np.float64], seen_s: NDArray[np.float64], *, from_s: float, gave_up_s: float) -> Latency:
    """Percentiles of the time from when a request was DUE to when its result could be read.

    From the due time and not from the send: a generator or a system that falls behind must not look quicker for it
    (https://www.scylladb.com/2021/04/22/on-coordinated-omission/ tells why).

    Args:
        due_s: when each request was due.
        seen_s: when its result was first seen; NaN = never.
        from_s: requests due before that are the lead-in and do not count.
        gave_up_s: when the run ended; the same clock for all.
    """
    counted = due_s >= from_s
    due_s, seen_s = due_s[counted], seen_s[counted]
    if not due_s.size:
        return Latency(0, None, None, 0)
    missing = np.isnan(seen_s)
    waits_ms = (np.where(missing, gave_up_s, seen_s) - due_s) * 1000
    p50, p99 = np.percentile(waits_ms, [50, 99])
    return Latency(int(due_s.size), float(p50), float(p99), int(missing.sum()))
