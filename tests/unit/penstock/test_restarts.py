"""Decisions that survive: a decider that is killed and started again, and telemetry that is not as it should be."""

from __future__ import annotations

import dataclasses
import random
from typing import TYPE_CHECKING

import pytest

from autoscaler.model import (
    Action,
    ArrivalSample,
    Claim,
    Decision,
    FleetStatus,
    Objective,
    ServiceCurve,
    WorkerReport,
    WorkerState,
    WorkerType,
)
from autoscaler.settings import PolicySettings
from penstock.deciding import Deciding, Remembered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from autoscaler.model import TelemetryRecord

T0 = 1_700_000_000.0
TYPE = WorkerType(curve=ServiceCurve(0.02, 0.02, 16), boot_s=3.0, max_workers=12)
#: Foresight begins early and the tape is read again for 160 s, so that lives may be short.
POLICY = PolicySettings(foresight_s=60.0, learning_s=40.0, scale_in_patience_s=100.0)
PARTITIONS = 12


def fresh(policy: PolicySettings = POLICY) -> Deciding:
    """A decider that knows nothing."""
    return Deciding("p", policy, [TYPE], Objective(1.0, 0.99))


def report(slot: int, at_s: float, **other: object) -> WorkerReport:
    """A worker that serves and took three seconds to start."""
    known = WorkerReport(
        pipeline="p", worker=f"p-cpu-{slot}", worker_type="cpu", device="cpu", at_s=at_s, pid=1, host="h",
        state=WorkerState.READY, asked_at_s=T0 - 9, ready_at_s=T0 - 6, partitions=(), batches=int(at_s - T0) + 100,
        rows=0, ok=0, failed=0, expired=0, busy_s=0.0, curve=None, latency_counts=(), rebalances=0, retraces=0,
        model_version="1",
    )  # fmt: skip
    return dataclasses.replace(known, **other)  # type: ignore[arg-type]


class Life:
    """A pipeline whose fleet obeys at once and answers all: its tape, and a decider that lives through it."""

    def __init__(self, clock: Callable[[int], float] = float) -> None:
        self.clock = clock
        self.deciding = fresh()
        self.tape: list[tuple[int, TelemetryRecord]] = []
        self.now, self.fleet, self.total = 0, 1, 0
        self.last_s = 0.0
        self.decisions: list[Decision] = []

    def second(self, per_s: int) -> list[TelemetryRecord]:
        """The records of one more second."""
        self.now += 1
        self.total += per_s
        at_s = T0 + self.clock(self.now)
        ends = {p: self.total // PARTITIONS + (p < self.total % PARTITIONS) for p in range(PARTITIONS)}
        status = FleetStatus({"cpu": self.fleet}, {"cpu": self.fleet})
        reports = [report(slot, at_s - 0.3) for slot in range(self.fleet)]
        return [*reports, ArrivalSample("p", at_s, ends, dict(ends), status)]

    def play(self, seconds: int, per_s: int, *others: Deciding) -> None:
        """So many seconds of that load; `others` see the same tape, and must decide the same."""
        for _ in range(seconds):
            for record in self.second(per_s):
                offset = len(self.tape)
                self.tape.append((offset, record))
                made = [decided(one, record, offset) for one in (self.deciding, *others)]
                if made[0] is not None:
                    self.decisions.append(made[0])
                    self.fleet = made[0].fleet["cpu"]
                    assert all(one == made[0] for one in made)

    def remembered(self) -> Remembered:
        """What the decider leaves after its last decision, as text and back."""
        offset, sample = next(one for one in reversed(self.tape) if isinstance(one[1], ArrivalSample))
        assert isinstance(sample, ArrivalSample)
        return Remembered.read(self.deciding.remembered(self.deciding.look(sample, offset)).written())

    def restarted(self, remembered: Remembered | None, since_s: float = 600.0) -> tuple[Deciding, bool]:
        """One that starts now, with the newest tape."""
        new, now_s = fresh(), T0 + self.clock(self.now)
        recent = [one for one in self.tape if one[1].at_s >= now_s - since_s]
        taken = new.replay(recent, [], Claim("p", "me", now_s), len(self.tape), remembered)
        self.tape.append((len(self.tape), Claim("p", "me", now_s)))
        return new, taken


def decided(deciding: Deciding, record: TelemetryRecord, offset: int | None) -> Decision | None:
    """Take a record; the decision on it, if it is a sample."""
    deciding.fold(record, offset)
    if not isinstance(record, ArrivalSample):
        return None
    return deciding.conclude(deciding.look(record, -1 if offset is None else offset))


def bursty() -> Life:
    """Four minutes: a burst after 65 s that nobody could foresee, and quiet since."""
    life = Life()
    life.play(65, 40)
    life.play(12, 300)
    life.play(170, 40)
    return life


def test_a_decider_that_is_killed_in_the_middle_of_a_surge_takes_the_same_course() -> None:
    """With what the one before left half a minute ago, and the tape since then, every further decision is the same."""
    life = bursty()
    left = life.remembered()
    life.play(25, 40)
    life.play(6, 280)
    new, taken = life.restarted(left)
    assert taken
    life.play(15, 280, new)
    life.play(10, 60, new)


def test_without_that_memory_the_tape_is_read_and_the_fleet_goes_on() -> None:
    """Redis was flushed: the burst of three minutes ago is forgotten, what is needed now is not."""
    life = bursty()
    remembering, forgetting = life.restarted(life.remembered())[0], life.restarted(None)[0]
    records = life.second(40)
    offset = len(life.tape)
    made = [[decided(one, record, offset + n) for n, record in enumerate(records)][-1] for one in
            (life.deciding, remembering, forgetting)]  # fmt: skip
    assert made[1] == made[0]
    assert made[0] is not None
    assert made[2] is not None
    assert made[0].fleet["cpu"] > made[2].fleet["cpu"] >= 1
    assert made[2].action is not Action.NO_DATA


def test_a_memory_of_other_settings_or_of_the_future_is_passed_over() -> None:
    """Other numbers make other arrays, and a later offset is another topic's."""
    life = Life()
    life.play(30, 40)
    left = life.remembered()
    assert life.restarted(left)[1]
    assert not life.restarted(dataclasses.replace(left, rules="other"))[1]
    assert not life.restarted(dataclasses.replace(left, offset=10**9))[1]


@pytest.mark.parametrize("text", ["", "1", "1 rules", "x rules e", "5 rules bm90IG9uZQ=="])
def test_what_is_no_memory_is_a_value_error(text: str) -> None:
    """The caller goes on with the tape."""
    with pytest.raises(ValueError, match=r"\w"):
        Remembered.read(text)


def fleets(decisions: Iterable[Decision]) -> list[int]:
    """Workers decided."""
    return [decision.fleet["cpu"] for decision in decisions]


def swing() -> Life:
    """Quiet, a surge, quiet."""
    life = Life()
    life.play(65, 40)
    life.play(20, 200)
    life.play(20, 60)
    return life


def test_telemetry_that_is_late_doubled_and_out_of_order_decides_the_same() -> None:
    """Reports up to two seconds late and in any order, every record twice: the same fleets to a worker and a second."""
    life = swing()
    chance = random.Random(3)
    due = [
        (record.at_s + (chance.uniform(0, 2) if isinstance(record, WorkerReport) else 0.31), n, record)
        for n, (_, record) in enumerate(life.tape)
    ]
    disturbed, made = fresh(), []
    for _, _, record in sorted(due, key=lambda one: one[:2]):
        decision = decided(disturbed, record, None)
        disturbed.fold(record, None)
        if decision is not None:
            made.append(decision)
    assert len(made) == len(life.decisions)
    undisturbed = fleets(life.decisions)
    for tick, count in enumerate(fleets(made)):
        # Who is said to be ready two seconds late is drained for a second sooner.
        assert min(abs(count - other) for other in undisturbed[max(0, tick - 1) : tick + 2]) <= 1


def test_words_of_the_dead_change_nothing() -> None:
    """Old reports of workers that are gone come again with new offsets: not one decision differs."""
    life = swing()
    haunted, offset = fresh(), 0
    made = []
    for _, record in life.tape:
        if isinstance(record, ArrivalSample):
            for slot in range(20, 26):
                haunted.fold(report(slot, record.at_s - 60.0), offset)
                offset += 1
        decision = decided(haunted, record, offset)
        offset += 1
        if decision is not None:
            made.append(decision)
    assert [dataclasses.replace(one, reason="") for one in made] == [
        dataclasses.replace(one, reason="") for one in life.decisions
    ]


@pytest.mark.parametrize("jump_s", [3600.0, -60.0, -3600.0])
def test_a_clock_that_jumps_neither_buys_nor_drops_the_fleet(jump_s: float) -> None:
    """For a few seconds nothing is known, and the fleet stays; then all is as before."""
    jumped = Life(lambda second: second + (jump_s if second > 70 else 0.0))
    jumped.play(110, 100)
    before = fleets(jumped.decisions[40:70])
    assert max(fleets(jumped.decisions[70:])) <= max(before) + 1
    assert min(fleets(jumped.decisions[70:])) >= min(before) - 1
    blind = [decision for decision in jumped.decisions[70:] if decision.action is Action.NO_DATA]
    assert len(blind) <= 10
    assert jumped.decisions[-1].action is Action.HOLD


def test_a_partition_without_a_committed_offset_does_not_buy_the_maximum() -> None:
    """The group has never committed on one of twelve; what arrives there waits, and the fleet stays small."""
    deciding, total, fleet = fresh(dataclasses.replace(POLICY, stuck_after_s=10.0)), 0, 2
    most = 0
    for second in range(80):
        total += 5
        ends = dict.fromkeys(range(PARTITIONS), total)
        commits: dict[int, int | None] = {**ends, 7: None}
        status = FleetStatus({"cpu": fleet}, {"cpu": fleet})
        for slot in range(fleet):
            deciding.fold(report(slot, T0 + second - 0.3), None)
        decision = decided(deciding, ArrivalSample("p", T0 + second, ends, commits, status), second)
        assert decision is not None
        fleet = decision.fleet["cpu"]
        most = max(most, fleet if second > 20 else 0)
    assert most <= 3
    assert [one.partition for one in decision.stuck] == [7]
