"""The compiled group against a second, plain reading of its rules, record by record, on random small cases."""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.model import ServiceCurve
from autoscaler.queueing.dealing import skewed
from autoscaler.queueing.split import shrunk
from autoscaler.simulation import assignment
from autoscaler.simulation.engine import Engine
from autoscaler.simulation.scenario import SimulatedType

CPU = SimulatedType("cpu", ServiceCurve(0.05, 0.1, 3), 1.0, 2.0, 0.4, 0, 9)
GPU = SimulatedType("gpu", ServiceCurve(0.2, 0.02, 8), 5.0, 3.0, 0.2, 0, 9)
#: Ready at the same moment when asked for together.
PROMPT_CPU, PROMPT_GPU = replace(CPU, boot_spread=0.0), replace(GPU, boot_s=2.0, boot_spread=0.0)


@dataclass
class Worker:
    """One worker of the plain group."""

    number: int
    kind: SimulatedType
    asked_s: float
    ready_s: float
    gone_s: float = math.inf
    free_s: float = -math.inf
    told: bool = False
    killed: bool = False
    member: bool = False


@dataclass
class Plain:
    """The rules, one record and one list at a time, with nothing remembered that can be looked up."""

    times: list[float]
    where: list[int]
    partitions: int
    every_s: float
    cooperative: bool
    pause_s: float
    rng: np.random.Generator
    types: tuple[SimulatedType, SimulatedType]
    now: float = 0.0
    workers: list[Worker] = field(default_factory=list)
    members: list[Worker] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.answered = [math.inf] * len(self.times)
        self.taken = [False] * len(self.times)
        self.owner: list[Worker | None] = [None] * self.partitions
        self.opens = [-math.inf] * self.partitions
        self.phase = [0.0] * self.partitions
        self.given = [-math.inf] * self.partitions
        self.committed = [0] * self.partitions
        self.boots: list[tuple[float, int]] = []
        shares = shrunk([self.where.count(p) for p in range(self.partitions)])
        self.loads = shares if skewed(shares) else []

    def declare(self, fleet: dict[str, int]) -> None:
        """Start and stop workers."""
        stopped = False
        for name, count in fleet.items():
            alive = [w for w in self.workers if w.kind.name == name and not w.told]
            for _ in range(count - len(alive)):
                kind = next(one for one in self.types if one.name == name)
                boot = kind.boot_s * (1 + kind.boot_spread * float(self.rng.uniform(-1, 1)))
                worker = Worker(len(self.workers), kind, self.now, self.now + boot)
                self.workers.append(worker)
                heapq.heappush(self.boots, (worker.ready_s, worker.number))
            ordered = sorted(alive, key=lambda w: (w.ready_s > self.now, w.asked_s, w.number))
            for worker in ordered[count:]:
                worker.told = True
                worker.gone_s = max(self.now, worker.free_s) if worker.member else self.now
                stopped |= worker.member
        if stopped:
            self.rebalance()

    def kill(self, number: int) -> None:
        """It dies with its batch in hand."""
        worker = self.workers[number]
        worker.told = worker.killed = True
        worker.gone_s = self.now
        if not worker.member:
            return
        for record, partition in enumerate(self.where):
            if self.owner[partition] is worker and self.taken[record] and self.answered[record] > self.now:
                self.answered[record], self.taken[record] = math.inf, False
        worker.free_s = self.now
        self.rebalance()

    def advance(self, until: float) -> None:
        """Boots and batches in order of time."""
        while self.boots and self.boots[0][0] <= until:
            at = self.boots[0][0]
            joined = [self.workers[number] for when, number in sorted(self.boots) if when == at]
            self.boots = sorted(one for one in self.boots if one[0] > at)
            joined = [worker for worker in joined if not worker.told]
            if not joined:
                continue
            self.serve(at)
            self.now = at
            for worker in joined:
                worker.member = True
                worker.free_s = at
                self.members.append(worker)
            self.rebalance()
        self.serve(until)
        self.now = until
        self.commit()

    def serve(self, until: float) -> None:
        """Every batch that starts before `until`."""
        for worker in self.members:
            while True:
                own = [r for r, p in enumerate(self.where) if self.owner[p] is worker and not self.taken[r]]
                if not own:
                    break
                start = max(worker.free_s, min(max(self.times[r], self.opens[self.where[r]]) for r in own))
                if start >= until:
                    break
                there = [r for r in own if self.times[r] <= start and self.opens[self.where[r]] <= start]
                batch = sorted(there, key=lambda r: self.times[r])[: worker.kind.curve.max_batch]
                worker.free_s = start + worker.kind.curve.seconds(len(batch))
                for record in batch:
                    self.taken[record], self.answered[record] = True, worker.free_s

    def rebalance(self) -> None:
        """Partitions by capacity, skewed ones by load; who is moved (or, eager, everybody) pauses."""
        self.commit()
        self.members = [w for w in self.members if not w.told]
        places = {w.number: place for place, w in enumerate(self.members)}
        before = [places.get(w.number, -1) if w is not None else -1 for w in self.owner]
        able = [w.kind.curve.capacity_per_s for w in self.members]
        new = assignment.assign(self.partitions, able, before, self.loads)
        for p, place in enumerate(new):
            old, owner = self.owner[p], self.members[place] if place >= 0 else None
            moved = owner is not old or old is None
            if moved or not self.cooperative:
                ended = max(self.now, old.free_s) if old is not None else self.now
                self.opens[p] = max(self.opens[p], ended + self.pause_s if old is not None else ended)
                if moved and old is not None and not old.killed:
                    self.given[p] = ended
                if moved and owner is not None:
                    self.phase[p] = owner.ready_s % self.every_s
            self.owner[p] = owner

    def commit(self) -> None:
        """What is committed by now."""
        for p in range(self.partitions):
            until = math.floor((self.now - self.phase[p]) / self.every_s) * self.every_s + self.phase[p]
            if self.given[p] <= self.now:
                until = max(until, self.given[p])
            done = sum(self.where[r] == p and self.answered[r] <= until for r in range(len(self.times)))
            self.committed[p] = max(self.committed[p], done)

    def cost(self, from_s: float, until_s: float) -> float:
        """Price of the time alive."""
        return sum(
            w.kind.price_per_hour * max(0.0, min(until_s, w.gone_s) - max(from_s, w.asked_s)) / 3600
            for w in self.workers
        )


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("fleet"), st.integers(0, 3), st.integers(0, 2)),
        st.tuples(st.just("kill"), st.integers(0, 3), st.just(0)),
        st.tuples(st.just("wait"), st.integers(1, 9), st.just(0)),
    ),
    max_size=6,
)


@given(
    steps=STEPS,
    seed=st.integers(0, 10_000),
    records=st.integers(0, 70),
    partitions=st.integers(1, 6),
    cooperative=st.booleans(),
    pause=st.sampled_from([0.0, 0.7]),
    every=st.sampled_from([0.31, 1.0]),
    types=st.sampled_from([(CPU, GPU), (PROMPT_CPU, PROMPT_GPU)]),
)
@settings(deadline=None, max_examples=120)
def test_every_record_is_answered_when_the_rules_say(
    steps: list[tuple[str, int, int]],
    seed: int,
    records: int,
    partitions: int,
    *,
    cooperative: bool,
    pause: float,
    every: float,
    types: tuple[SimulatedType, SimulatedType],
) -> None:
    """Latencies, commits, arrivals, workers and cost after any course of fleets, waits and deaths."""
    rng = np.random.default_rng(seed)
    times, where = np.sort(rng.uniform(0, 15, records)), rng.integers(0, partitions, records)
    engine = Engine(
        times, where, partitions=partitions, types=types, commit_interval_s=every, cooperative=cooperative,
        pause_s=pause, seed=seed,
    )  # fmt: skip
    plain = Plain(
        times.tolist(), where.tolist(), partitions, every, cooperative, pause, np.random.default_rng(seed), types
    )
    for group in (engine, plain):
        group.declare({"cpu": 1})  # type: ignore[attr-defined] # both have it
    at = 0.0
    for what, first, second in [*steps, ("wait", 30, 0), ("fleet", 1, 0), ("wait", 60, 0)]:
        at += 0.4 + float(rng.uniform(0, 0.2)) if what != "wait" else first
        engine.advance(at)
        plain.advance(at)
        if what == "fleet" and len(plain.workers) < 7:
            engine.declare({"cpu": first, "gpu": second})
            plain.declare({"cpu": first, "gpu": second})
        if what == "kill":
            alive = [w.number for w in plain.workers if not w.told]
            if first < len(alive):
                engine.kill(f"{plain.workers[alive[first]].kind.name}-{alive[first]}")
                plain.kill(alive[first])
        assert engine.committed.tolist() == plain.committed
        assert engine.arrived.tolist() == [sum((times <= at) & (where == p)) for p in range(partitions)]
        ready = [w for w in plain.workers if not w.told and w.ready_s <= at]
        assert sum(engine.ready().values()) == len(ready)
    expected = np.array([one if one <= at else np.nan for one in plain.answered])
    assert engine.latencies_s == pytest.approx(expected - times, abs=1e-9, nan_ok=True)
    assert engine.cost(1.0, at) == pytest.approx(plain.cost(1.0, at), abs=1e-12)
    assert not np.isnan(engine.latencies_s).any()
    late = engine.late_s(0.5, 2.0)
    assert sorted(late) == pytest.approx(sorted(times[(engine.latencies_s > 0.5) & (times >= 2.0)]))


def test_workers_that_are_ready_together_join_in_one_rebalance() -> None:
    """As a group that starts: partitions are dealt once, in turn, and none moves."""
    engine = Engine(np.arange(8.0), np.arange(8) % 8, partitions=8, types=[PROMPT_CPU], pause_s=0.7)
    engine.declare({"cpu": 3})
    engine.advance(4.0)
    owners = [worker.name for worker in engine.owner if worker is not None]
    assert owners == [f"cpu-{p % 3}" for p in range(8)]
    assert engine.rebalances == 1
    assert engine.paused_s == 0


def test_a_restart_forgets_all() -> None:
    """The same course again gives the same figures, boots included."""
    rng = np.random.default_rng(3)
    times = np.sort(rng.uniform(0, 15, 80))
    engine = Engine(times, rng.integers(0, 6, 80), partitions=6, types=[CPU, GPU], pause_s=0.7, seed=3)
    seen = []
    for _ in range(2):
        engine.restart()
        for fleet in ({"cpu": 2}, {"gpu": 1}, {"cpu": 1}):
            engine.declare(fleet)
            engine.advance(engine.now_s + 5)
        seen.append((engine.latencies_s, engine.cost(0, 15), engine.paused_s, engine.tally(np.array([0.5])).tolist()))
    assert np.array_equal(seen[0][0], seen[1][0], equal_nan=True)
    assert seen[0][1:] == seen[1][1:]
    assert sum(seen[0][3]) == np.sum(~np.isnan(seen[0][0]))
