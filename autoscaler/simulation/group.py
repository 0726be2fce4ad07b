"""A consumer group whose fleet changes: boots, rebalances with pauses, batches and commits, in simulated time.

Between two changes each worker serves its own partitions: when free it takes what waits there in order of arrival, at
most a batch. A new worker is assigned partitions when it is ready. Partitions that move are not read for `pause_s`
after their old owner's batch; the others go on. An approximation: the group knows of a stop or a start at the next call
of `advance`.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from autoscaler.model import ServiceCurve


@dataclass(slots=True)
class SimulatedWorker:
    """One worker; mutable, owned by its group."""

    name: str
    asked_at_s: float
    ready_at_s: float
    partitions: list[int] = field(default_factory=list)
    #: End of its last batch.
    free_at_s: float = -math.inf
    batches: int = 0
    rows: int = 0
    busy_s: float = 0.0
    stopped_at_s: float | None = None


class Group:
    """A simulated group.

    Args:
        arrivals_s: Arrival times in seconds, ascending; shape (n,).
        partition_of: Partition of each request; shape (n,).
        partitions: Number of partitions.
        curve: Service curve of each worker.
        boot_s: Seconds from the request to start a worker until it is ready.
        pause_s: Seconds that a moved partition is not read.
        start_s: Simulated time at the start.
    """

    def __init__(
        self,
        arrivals_s: Sequence[float] | NDArray[np.float64],
        partition_of: Sequence[int] | NDArray[np.int64],
        *,
        partitions: int,
        curve: ServiceCurve,
        boot_s: float,
        pause_s: float,
        start_s: float = 0.0,
    ) -> None:
        times = np.asarray(arrivals_s, dtype=np.float64)
        owner = np.asarray(partition_of, dtype=np.int64)
        self._queues = [np.flatnonzero(owner == p) for p in range(partitions)]
        self._times = times.tolist()
        self._arrived = [times[queue] for queue in self._queues]
        self._next = [0] * partitions
        self._open_at_s = [-math.inf] * partitions
        self._commits: list[tuple[float, int, int]] = []
        self._committed = [0] * partitions
        self._curve, self._boot_s, self._pause_s = curve, boot_s, pause_s
        self._started = 0
        self.now_s = start_s
        self.workers: list[SimulatedWorker] = []
        self.gone: list[SimulatedWorker] = []
        #: Seconds from arrival to answer; NaN = not answered yet.
        self.latencies_s = np.full(times.size, np.nan)

    @property
    def ready(self) -> list[SimulatedWorker]:
        """Workers that serve now."""
        return [worker for worker in self.workers if worker.ready_at_s <= self.now_s]

    def resize(self, workers: int) -> None:
        """Ask for a fleet of so many; the youngest stop first, after their batch."""
        while len(self.workers) < workers:
            ready_at_s = self.now_s + self._boot_s
            self.workers.append(SimulatedWorker(f"sim-{self._started}", self.now_s, ready_at_s))
            self._started += 1
        stopped = self.workers[workers:]
        self.workers = self.workers[:workers]
        for worker in stopped:
            worker.stopped_at_s = max(self.now_s, worker.free_at_s)
            self.gone.append(worker)
        if stopped:
            self._rebalance(stopped)

    def advance(self, to_s: float) -> None:
        """Let time pass until `to_s`, with a rebalance at each worker that becomes ready."""
        while True:
            boots = [w.ready_at_s for w in self.workers if self.now_s < w.ready_at_s <= to_s]
            until_s = min(boots, default=to_s)
            for worker in self.ready:
                self._serve(worker, until_s)
            self.now_s = until_s
            if not boots:
                return
            self._rebalance([])

    def end_offsets(self) -> dict[int, int]:
        """Records that have arrived, by partition."""
        return {p: int(np.searchsorted(times, self.now_s, side="right")) for p, times in enumerate(self._arrived)}

    def committed(self) -> dict[int, int | None]:
        """Records that have been answered, by partition."""
        while self._commits and self._commits[0][0] <= self.now_s:
            _, partition, count = heapq.heappop(self._commits)
            self._committed[partition] += count
        return dict(enumerate(self._committed))

    def worker_seconds(self) -> float:
        """Seconds paid for so far, boots included."""
        alive = sum(self.now_s - w.asked_at_s for w in self.workers)
        return alive + sum((w.stopped_at_s or self.now_s) - w.asked_at_s for w in self.gone)

    def _serve(self, worker: SimulatedWorker, until_s: float) -> None:
        """All batches of one worker that begin before `until_s`."""
        heads = [self._head(p) for p in worker.partitions if self._next[p] < len(self._queues[p])]
        heapq.heapify(heads)
        while heads:
            start_s = max(worker.free_at_s, worker.ready_at_s, heads[0][0])
            if start_s >= until_s:
                return
            taken: list[int] = []
            counts: dict[int, int] = {}
            while heads and heads[0][0] <= start_s and len(taken) < self._curve.max_batch:
                _, partition = heads[0]
                taken.append(int(self._queues[partition][self._next[partition]]))
                self._next[partition] += 1
                counts[partition] = counts.get(partition, 0) + 1
                if self._next[partition] < len(self._queues[partition]):
                    heapq.heapreplace(heads, self._head(partition))
                else:
                    heapq.heappop(heads)
            end_s = start_s + self._curve.seconds(len(taken))
            for request in taken:
                self.latencies_s[request] = end_s - self._times[request]
            for partition, count in counts.items():
                heapq.heappush(self._commits, (end_s, partition, count))
            worker.free_at_s = end_s
            worker.batches += 1
            worker.rows += len(taken)
            worker.busy_s += end_s - start_s

    def _head(self, partition: int) -> tuple[float, int]:
        """When the partition's next record can be read."""
        arrived_s = float(self._arrived[partition][self._next[partition]])
        return max(arrived_s, self._open_at_s[partition]), partition

    def _rebalance(self, stopped: list[SimulatedWorker]) -> None:
        """Even counts with few moves: each keeps up to its quota, the rest goes to who is furthest below."""
        members = self.ready
        before = {p: worker for worker in (*members, *stopped) for p in worker.partitions}
        least, extra = divmod(len(self._queues), len(members)) if members else (0, 0)
        by_load = sorted(members, key=lambda worker: -len(worker.partitions))
        quota = {worker.name: least + (place < extra) for place, worker in enumerate(by_load)}
        for worker in members:
            worker.partitions = worker.partitions[: quota[worker.name]]
        kept = {p for worker in members for p in worker.partitions}
        for partition in range(len(self._queues)) if members else ():
            if partition in kept:
                continue
            taker = max(members, key=lambda worker: quota[worker.name] - len(worker.partitions))
            taker.partitions.append(partition)
            old = before.get(partition)
            free_s = max(self.now_s, old.free_at_s) if old is not None else self.now_s
            self._open_at_s[partition] = free_s + self._pause_s
        for worker in stopped:
            worker.partitions = []
