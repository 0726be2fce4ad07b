"""A consumer group in simulated time, exact to the record: boots, rebalances with pauses, batches, commits, cost.

What happens, happens at its own time, not at the ticks at which somebody looks. Rules:

- A worker that is asked for is paid from then on and ready after its boot time (drawn even within +- the spread).
- When a worker becomes ready or stops, the group rebalances (`assignment`), once for those that are ready at the same
moment. A partition that moves is read again `pause_s` after its old owner's batch in hand has ended; in an eager
rebalance that holds for all partitions.
- A worker told to stop takes no more, ends its batch and is paid until then; those not yet ready stop first, then the
youngest.
- Commits: each worker commits every `commit_interval_s` from its ready time on, and what it has answered when it gives
a partition away. `committed` is what an observer of the group sees.
- A worker that is killed loses its batch in hand: those records are served again by the next owner.

Left out: the time that a result needs from the batch's end to its reader, network and broker.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from autoscaler.queueing import dealing
from autoscaler.queueing.split import shrunk
from autoscaler.simulation import assignment
from autoscaler.simulation.serving import count_until, serve, tally

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from autoscaler.simulation.scenario import SimulatedType

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]


@dataclass(slots=True)
class SimulatedWorker:
    """One worker; owned by its engine."""

    name: str
    kind: SimulatedType
    asked_at_s: float
    ready_at_s: float
    #: When it was told to stop, or died; `None` = it goes on.
    told_at_s: float | None = None
    #: When it is paid no more.
    gone_at_s: float = math.inf
    killed: bool = False
    #: Place in the arrays of those that serve; `None` = it does not.
    place: int | None = None
    batches: int = 0
    rows: int = 0
    busy_s: float = 0.0


@dataclass(slots=True)
class _Serving:
    """The workers that own partitions, as arrays for the compiled loop; made anew at each rebalance."""

    workers: list[SimulatedWorker]
    owned_from: Ints
    owned: Ints
    free_s: Floats
    stop_s: Floats
    a_s: Floats
    b_s: Floats
    max_batch: Ints
    batches: Ints
    rows: Ints
    busy_s: Floats


class Engine:
    """See the module.

    Args:
        arrivals_s: Arrival times in seconds, ascending; shape (n,).
        partition_of: Partition of each record; shape (n,).
        partitions: Number of partitions.
        types: Of the workers.
        commit_interval_s: Seconds between two commits of a worker; 0 = each batch.
        cooperative: Whether only the partitions that move pause in a rebalance.
        pause_s: For how long.
        seed: Of the boot times.
        start_s: Simulated time at the start.
    """

    def __init__(
        self,
        arrivals_s: Floats,
        partition_of: NDArray[np.integer[Any]],
        *,
        partitions: int,
        types: Sequence[SimulatedType],
        commit_interval_s: float = 1.0,
        cooperative: bool = True,
        pause_s: float = 3.0,
        seed: int = 0,
        start_s: float = 0.0,
    ) -> None:
        times = np.asarray(arrivals_s, dtype=np.float64)
        where = np.asarray(partition_of)
        # Stable, so that each partition keeps its order; short integers are sorted by radix, ten times as fast.
        if partitions <= np.iinfo(np.int16).max:
            where = where.astype(np.int16)
        self._order = np.argsort(where, kind="stable")
        self._times = times[self._order]
        counts = np.bincount(where, minlength=partitions)
        self._first = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
        self._end = self._first[1:].copy()
        self._partitions = partitions
        shares = shrunk(counts.tolist())
        #: What the group is taken to have measured: the partitions' loads where they are skewed.
        self._loads = shares if dealing.skewed(shares) else []
        self._types = {kind.name: kind for kind in types}
        self._commit_interval_s = commit_interval_s
        self._cooperative = cooperative
        self._pause_s = pause_s
        self._seed, self._start_s = seed, start_s
        self.restart()

    def restart(self) -> None:
        """Back to the start, without workers; the arrivals need not be sorted anew."""
        partitions = self._partitions
        self._answered = np.full(self._times.size, np.inf)
        self._following = self._first[:-1].copy()
        self._open_s = np.full(partitions, -np.inf)
        self._rng = np.random.default_rng(self._seed)
        self._started = 0
        #: (time, number) of workers that will be ready.
        self._boots: list[tuple[float, int]] = []
        self._numbered: dict[int, SimulatedWorker] = {}
        self._alive: dict[str, list[SimulatedWorker]] = {name: [] for name in self._types}
        self._gone: list[SimulatedWorker] = []
        self._owner: list[int] = [-1] * partitions
        self._serving = _arrays([], [])
        self._phase_s = np.zeros(partitions)
        #: When each partition was last given away, or will be when the batch in hand ends.
        self._given_s = np.full(partitions, -np.inf)
        self._most_per_s = math.inf
        self.now_s = self._start_s
        #: Records whose answer is committed, by partition, as of the last `advance`.
        self.committed: Ints = np.zeros(partitions, dtype=np.int64)
        #: Records that have arrived, by partition, as of the last `advance`.
        self.arrived: Ints = np.zeros(partitions, dtype=np.int64)
        self._told: Ints = np.zeros(partitions, dtype=np.int64)
        #: Rebalances so far, and the seconds that partitions paused in them, summed over partitions.
        self.rebalances = 0
        self.paused_s = 0.0
        self.rebalanced_at_s: float | None = None

    @property
    def latencies_s(self) -> Floats:
        """Seconds from arrival to answer, in the order of the arrivals, shape (n,); NaN = not answered by now."""
        answered = np.where(self._answered <= self.now_s, self._answered, np.nan)
        out = np.empty(self._times.size)
        out[self._order] = answered - self._times
        return out

    def late_s(self, within_s: float, from_s: float = -math.inf) -> Floats:
        """When those arrived that had no answer within `within_s` seconds; only arrivals from `from_s` on; unsorted."""
        late = (self._answered - self._times > within_s) & (self._times >= from_s)
        return self._times[late]

    @property
    def workers(self) -> list[SimulatedWorker]:
        """Workers alive and not told to stop, by type and age."""
        self._count()
        return [worker for alive in self._alive.values() for worker in alive]

    @property
    def owner(self) -> list[SimulatedWorker | None]:
        """Owner of each partition."""
        return [self._serving.workers[place] if place >= 0 else None for place in self._owner]

    def ready(self) -> dict[str, int]:
        """Workers that serve, by type."""
        return {name: sum(w.ready_at_s <= self.now_s for w in alive) for name, alive in self._alive.items()}

    def starting(self) -> dict[str, list[float]]:
        """When each worker that does not serve yet was asked for, by type, ascending."""
        return {name: [w.asked_at_s for w in alive if w.ready_at_s > self.now_s] for name, alive in self._alive.items()}

    def running(self) -> dict[str, int]:
        """Workers alive and not told to stop, ready or not, by type."""
        return {name: len(alive) for name, alive in self._alive.items()}

    def busy_s(self) -> dict[str, float]:
        """Seconds that devices computed, by type, those of past workers included."""
        self._count()
        out = dict.fromkeys(self._types, 0.0)
        for worker in [*self.workers, *self._gone]:
            out[worker.kind.name] += worker.busy_s
        return out

    def tally(self, bounds_s: Floats) -> Ints:
        """Answers since the last call, counted by latency.

        Args:
            bounds_s: Upper bounds of the buckets, ascending, shape (b,); one more bucket has no upper bound.

        Returns:
            Counts, shape (b + 1,).
        """
        counts = np.zeros(bounds_s.size + 1, dtype=np.int64)
        tally(self.now_s, self._times, self._answered, self._first, self._following, self._told, bounds_s, counts)
        return counts

    def cost(self, from_s: float, until_s: float) -> float:
        """Price of the workers between two times: price an hour x hours from being asked for until gone."""
        total = 0.0
        for worker in [*self._gone, *(w for alive in self._alive.values() for w in alive)]:
            alive_s = min(until_s, worker.gone_at_s) - max(from_s, worker.asked_at_s)
            total += worker.kind.price_per_hour * max(0.0, alive_s) / 3600
        return total

    def declare(self, fleet: Mapping[str, int]) -> None:
        """Ask for a fleet, by type, from now on. A type that is not named is left as it is.

        Raises:
            KeyError: a type that the engine does not know.
        """
        stopped = False
        for name, count in fleet.items():
            kind, alive = self._types[name], self._alive[name]
            while len(alive) < count:
                alive.append(self._start(kind))
            if len(alive) > count:
                # Those not yet ready first, then the youngest; the list is in order of age.
                by_worth = sorted(alive, key=lambda w: (w.ready_at_s > self.now_s, w.asked_at_s, w.name))
                victims = by_worth[count:]
                stopped |= any(w.place is not None for w in victims)
                for worker in victims:
                    alive.remove(worker)
                    self._stop(worker)
        if stopped:
            self._rebalance(self.now_s)

    def kill(self, name: str) -> None:
        """A worker dies now: its batch in hand is lost and its partitions go to the others.

        Raises:
            KeyError: no worker of that name is alive.
        """
        for alive in self._alive.values():
            for worker in alive:
                if worker.name == name:
                    alive.remove(worker)
                    self._die(worker)
                    return
        raise KeyError(name)

    def hold(self, partition: int) -> None:
        """From now on nobody reads this partition, whoever owns it: as when its owner is hung on it."""
        self._open_s[partition] = math.inf

    def release(self, partition: int) -> None:
        """It is read again."""
        self._open_s[partition] = self.now_s

    def share(self, most_per_s: float) -> None:
        """From now on all workers together answer at most so many records a second at full batches.

        As when they share a database: in a larger fleet each batch takes as much longer as there are workers too many.
        """
        self._most_per_s = most_per_s
        self._slowed()

    def advance(self, until_s: float) -> None:
        """Let time pass until `until_s`."""
        while self._boots and self._boots[0][0] <= until_s:
            at_s, joined = self._boots[0][0], []
            # Who is ready at the same moment joins in the same rebalance.
            while self._boots and self._boots[0][0] == at_s:
                worker = self._numbered.pop(heapq.heappop(self._boots)[1], None)
                if worker is not None and worker.told_at_s is None:
                    joined.append(worker)
            if not joined:
                continue
            self._serve(at_s)
            self.now_s = at_s
            self._rebalance(at_s, joined)
        self._serve(until_s)
        self.now_s = until_s
        count_until(np.full(self._partitions, until_s), self._times, self._first, self._end, self.arrived)
        self._commit(until_s)

    # --- workers ---

    def _start(self, kind: SimulatedType) -> SimulatedWorker:
        boot_s = kind.boot_s * (1 + kind.boot_spread * float(self._rng.uniform(-1, 1)))
        worker = SimulatedWorker(f"{kind.name}-{self._started}", kind, self.now_s, self.now_s + boot_s)
        heapq.heappush(self._boots, (worker.ready_at_s, self._started))
        self._numbered[self._started] = worker
        self._started += 1
        return worker

    def _stop(self, worker: SimulatedWorker) -> None:
        worker.told_at_s = worker.gone_at_s = self.now_s
        if worker.place is not None:
            worker.gone_at_s = max(self.now_s, float(self._serving.free_s[worker.place]))
        self._gone.append(worker)

    def _die(self, worker: SimulatedWorker) -> None:
        worker.told_at_s = worker.gone_at_s = self.now_s
        worker.killed = True
        self._gone.append(worker)
        if worker.place is None:
            return
        for p, place in enumerate(self._owner):
            if place != worker.place:
                continue
            # What it had taken and not answered is there again.
            record = int(self._following[p])
            while record > self._first[p] and self._answered[record - 1] > self.now_s:
                record -= 1
                self._answered[record] = np.inf
            self._following[p] = record
        self._serving.free_s[worker.place] = self.now_s
        self._rebalance(self.now_s)

    # --- the group ---

    def _serve(self, until_s: float) -> None:
        s = self._serving
        if s.workers:
            serve(
                until_s, self._times, self._answered, self._first, self._following, self._open_s, s.owned_from, s.owned,
                s.free_s, s.stop_s, s.a_s, s.b_s, s.max_batch, s.batches, s.rows, s.busy_s,
            )  # fmt: skip

    def _commit(self, at_s: float) -> None:
        every_s = self._commit_interval_s
        if every_s > 0:
            until = np.floor((at_s - self._phase_s) / every_s) * every_s + self._phase_s
        else:
            until = np.full(self._partitions, at_s)
        # Who gave a partition away committed then; the new owner has done so at most since it reads.
        until = np.maximum(until, np.where(self._given_s <= at_s, self._given_s, -np.inf))
        count_until(until, self._answered, self._first, self._following, self.committed)

    def _count(self) -> None:
        """Counters of the arrays into the workers."""
        s = self._serving
        for place, worker in enumerate(s.workers):
            worker.batches, worker.rows = int(s.batches[place]), int(s.rows[place])
            worker.busy_s = float(s.busy_s[place])

    def _rebalance(self, at_s: float, joined: Sequence[SimulatedWorker] = ()) -> None:
        self._count()
        # Who is told to stop ends its batch; who gives a partition away commits what it has answered.
        old = self._serving
        members = [w for w in old.workers if w.told_at_s is None] + list(joined)
        places = {id(worker): place for place, worker in enumerate(members)}
        before = [places.get(id(old.workers[p]), -1) if p >= 0 else -1 for p in self._owner]
        new = assignment.assign(self._partitions, [w.kind.curve.capacity_per_s for w in members], before, self._loads)
        free = {id(worker): float(old.free_s[place]) for place, worker in enumerate(old.workers)}
        self._commit(at_s)
        for p in range(self._partitions):
            held_before = self._owner[p]
            moved = new[p] != before[p] or before[p] < 0
            if not moved and self._cooperative:
                continue
            if held_before >= 0:
                given_s = max(at_s, float(old.free_s[held_before]))
                # The first owner of all waits for nothing.
                opens_s = given_s + self._pause_s
                self.paused_s += opens_s - max(at_s, min(opens_s, float(self._open_s[p])))
                self._open_s[p] = max(opens_s, float(self._open_s[p]))
            else:
                self._open_s[p] = max(at_s, float(self._open_s[p]))
            if moved and held_before >= 0 and not old.workers[held_before].killed:
                self._given_s[p] = max(at_s, float(old.free_s[held_before]))
            if moved and new[p] >= 0:
                # The new owner's commits come at its own times.
                self._phase_s[p] = members[new[p]].ready_at_s % max(self._commit_interval_s, 1e-9)
        for worker in old.workers:
            worker.place = None
        for place, worker in enumerate(members):
            worker.place = place
        self._owner = new
        self._serving = _arrays(members, new)
        self._slowed()
        for place, worker in enumerate(members):
            self._serving.free_s[place] = free.get(id(worker), at_s)
        self.rebalances += 1
        self.rebalanced_at_s = at_s

    def _slowed(self) -> None:
        """The workers' batches as slow as what they share makes them."""
        kinds = [worker.kind.curve for worker in self._serving.workers]
        factor = max(1.0, sum(curve.capacity_per_s for curve in kinds) / self._most_per_s)
        if math.isfinite(self._most_per_s):
            self._serving.a_s[:] = [curve.a_s * factor for curve in kinds]
            self._serving.b_s[:] = [curve.b_s * factor for curve in kinds]


def _arrays(members: list[SimulatedWorker], owner: Sequence[int]) -> _Serving:
    order = sorted(range(len(owner)), key=lambda p: owner[p])
    owned = [p for p in order if owner[p] >= 0]
    counts = np.bincount([owner[p] for p in owned], minlength=len(members)) if members else np.zeros(0, dtype=np.int64)
    n = len(members)
    return _Serving(
        workers=members,
        owned_from=np.concatenate(([0], np.cumsum(counts))).astype(np.int64),
        owned=np.array(owned, dtype=np.int64),
        free_s=np.zeros(n),
        stop_s=np.full(n, np.inf),
        a_s=np.array([w.kind.curve.a_s for w in members]),
        b_s=np.array([w.kind.curve.b_s for w in members]),
        max_batch=np.array([w.kind.curve.max_batch for w in members], dtype=np.int64),
        batches=np.array([w.batches for w in members], dtype=np.int64),
        rows=np.array([w.rows for w in members], dtype=np.int64),
        busy_s=np.array([w.busy_s for w in members]),
    )
