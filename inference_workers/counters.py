"""What a worker counts of itself, from its start; read by the reporter, written by the threads that do the work."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from autoscaler.model import LATENCY_BOUNDS_S

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from streams.records import Status

_BOUNDS = np.array(LATENCY_BOUNDS_S)


@dataclass(frozen=True, slots=True)
class Counted:
    """A snapshot. Counters run from the start; the latency counts are those since the last snapshot."""

    batches: int
    rows: int
    busy_s: float
    retraces: int
    by_status: Counter[Status]
    latency_counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Totals:
    """All that was counted since the start."""

    batches: int
    rows: int
    busy_s: float
    retraces: int
    by_status: Counter[Status]
    #: Counts by bucket of `LATENCY_BOUNDS_S` and one more, and the sum of all latencies in seconds.
    latency_counts: tuple[int, ...]
    latency_sum_s: float


class Counters:
    """Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._batches = self._rows = self._retraces = 0
        self._busy_s = 0.0
        self._by_status: Counter[Status] = Counter()
        self._latency = [0] * (len(LATENCY_BOUNDS_S) + 1)
        #: Latencies counted before the last snapshot.
        self._latency_before = tuple(self._latency)
        self._latency_sum_s = 0.0

    def ran(self, rows: int, seconds: float, *, traced: bool) -> None:
        """One batch of `rows` rows held the device for `seconds`; `traced` = its shape had not been warmed."""
        with self._lock:
            self._batches += 1
            self._rows += rows
            self._busy_s += seconds
            self._retraces += traced

    def delivered(self, statuses: Iterable[Status] | Counter[Status], latencies_s: NDArray[np.float64]) -> None:
        """Results are committed; latencies from the requests' Kafka timestamps."""
        places = np.bincount(np.searchsorted(_BOUNDS, latencies_s), minlength=len(_BOUNDS) + 1).tolist()
        with self._lock:
            self._by_status.update(statuses)
            for place, count in enumerate(places):
                self._latency[place] += count
            self._latency_sum_s += float(np.sum(latencies_s))

    def totals(self) -> Totals:
        """What was counted since the start; changes nothing, so any number of readers may ask."""
        with self._lock:
            return Totals(
                self._batches,
                self._rows,
                self._busy_s,
                self._retraces,
                Counter(self._by_status),
                self._latency_since_start(),
                self._latency_sum_s,
            )

    def _latency_since_start(self) -> tuple[int, ...]:
        return tuple(before + now for before, now in zip(self._latency_before, self._latency, strict=True))

    def snapshot(self) -> Counted:
        """What was counted; starts the latency counts anew."""
        with self._lock:
            self._latency_before = self._latency_since_start()
            latency, self._latency = tuple(self._latency), [0] * len(self._latency)
            return Counted(self._batches, self._rows, self._busy_s, self._retraces, Counter(self._by_status), latency)
