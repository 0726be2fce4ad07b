"""The control loop of one pipeline, fed by hand: no Kafka, no Redis, no processes."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from typing import TYPE_CHECKING

import pytest

from autoscaler.errors import StaleDecider
from autoscaler.model import (
    ArrivalSample,
    Claim,
    Control,
    FleetStatus,
    Objective,
    ServiceCurve,
    WorkerReport,
    WorkerState,
    WorkerType,
)
from autoscaler.redis_fields import RatePoint
from autoscaler.redis_store import MetricsStore
from autoscaler.settings import PolicySettings
from penstock.deciding import Deciding, Remembered, fingerprint
from penstock.pipeline_controller import PipelineController
from streams import telemetry
from streams.errors import BrokerUnavailable
from streams.ownership import Standing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from autoscaler.actuators.base import SlotProblem
    from autoscaler.model import TelemetryRecord

TYPE = WorkerType(curve=ServiceCurve(0.02, 0.02, 16), boot_s=3.0)
POLICY = PolicySettings()
START_S = 1_700_000_000.0
REPORT = WorkerReport(
    pipeline="p", worker="p-cpu-0", worker_type="cpu", device="cpu", at_s=START_S, pid=1, host="h",
    state=WorkerState.READY, asked_at_s=START_S, ready_at_s=START_S + 2, partitions=(0,), batches=1, rows=1, ok=1,
    failed=0, expired=0, busy_s=0.1, curve=None, latency_counts=(), rebalances=0, retraces=0, model_version="1",
)  # fmt: skip


class Tape:
    """A telemetry partition in memory, and a requests topic whose arrivals are stated."""

    def __init__(self) -> None:
        self.records: list[TelemetryRecord] = []
        self.now_s = START_S
        self.end = 0
        self.away = False

    def prepare(self) -> int:
        """The partition."""
        return 3

    def sample(self, fleet: FleetStatus | None, control: Control | None) -> ArrivalSample:
        """Where the topic stands."""
        if self.away:
            raise BrokerUnavailable("away")
        ends = dict.fromkeys(range(12), self.end)
        return ArrivalSample("p", self.now_s, ends, ends, fleet, control)

    def publish(self, record: TelemetryRecord) -> int:
        """Append."""
        if self.away:
            raise BrokerUnavailable("away")
        self.records.append(record)
        return len(self.records) - 1

    def recent(self, since_s: float, until_offset: int) -> list[tuple[int, TelemetryRecord]]:
        """Read again."""
        return [(offset, record) for offset, record in enumerate(self.records[:until_offset]) if record.at_s >= since_s]


class Hand:
    """An actuator that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[dict[str, int], int]] = []
        self.stale = False
        self.stopped = 0

    def declare(self, fleet: Mapping[str, int], epoch: int) -> None:
        """Note it."""
        if self.stale:
            raise StaleDecider("older")
        self.told.append((dict(fleet), epoch))

    def reconcile(self) -> None:
        """Nothing to do."""

    def status(self) -> FleetStatus:
        """As last told."""
        fleet = self.told[-1][0] if self.told else {}
        return FleetStatus(fleet, fleet)

    def problems(self) -> tuple[SlotProblem, ...]:
        """None."""
        return ()

    def stop_workers(self) -> None:
        """Count it."""
        self.stopped += 1


class Bench:
    """A controller on a tape, and what feeds it."""

    def __init__(self) -> None:
        self.tape, self.hand = Tape(), Hand()
        self.controller = PipelineController(
            pipeline="p",
            owner="me",
            policy=POLICY,
            worker_types=[TYPE],
            objective=Objective(1.0, 0.99),
            link=self.tape,
            actuator=self.hand,
            store=MetricsStore(None, "p"),
            clock=lambda: self.tape.now_s,
        )
        self.fed = 0

    def feed(self) -> None:
        """Hand on what is new on the tape, as the agent would."""
        while self.fed < len(self.tape.records):
            value = telemetry.encode(self.tape.records[self.fed])
            self.controller.record(b"p", value, 3, self.fed)
            self.fed += 1

    async def until(self, condition: Callable[[], object]) -> None:
        """Feed until it is so."""
        end = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < end
            self.feed()
            await asyncio.sleep(0.001)

    async def own(self) -> None:
        """Get the partition and become the owner."""
        await self.controller.prepared()
        self.controller.owned(frozenset({3}))
        await self.until(lambda: self.controller.ownership.epoch is not None)

    async def tick(self, arrivals: int) -> None:
        """One second with that many arrivals, up to the decision."""
        self.tape.now_s += 1
        self.tape.end += arrivals
        told = len(self.hand.told)
        await self.controller._sample()
        await self.until(lambda: len(self.hand.told) > told)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """A controller that ends with the test."""
    bench = Bench()
    yield bench
    await bench.controller.stop(stop_workers=False)


async def test_only_the_partition_of_the_pipeline_makes_an_owner(bench: Bench) -> None:
    """Other telemetry partitions are other pipelines'; losing ours ends deciding."""
    await bench.controller.prepared()
    bench.controller.owned(frozenset({0, 1}))
    assert bench.controller.ownership.standing is Standing.SPECTATOR
    await bench.own()
    bench.controller.lost(frozenset({0}))
    assert bench.controller.ownership.epoch == 0
    bench.controller.lost(frozenset({3}))
    assert bench.controller.ownership.epoch is None


async def test_load_grows_the_fleet_under_the_claims_epoch(bench: Bench) -> None:
    """Arrivals on the tape become a declared fleet that can carry them."""
    await bench.own()
    for _ in range(8):
        await bench.tick(10)
    fleet, epoch = bench.hand.told[-1]
    assert epoch == bench.controller.ownership.epoch == 0
    # 12 partitions get 10/s each, and one worker does 16 rows in 0.34 s = 47/s.
    assert fleet["cpu"] >= 3


async def test_a_sample_takes_along_what_was_decided_and_how_much_was_known(bench: Bench) -> None:
    """Each decision is on the tape once, with the offsets that a replay needs; one that failed to go comes later."""
    await bench.own()
    await bench.until(lambda: bench.hand.told)
    await bench.tick(10)
    bench.tape.away = True
    await bench.controller._sample()
    bench.tape.away = False
    for _ in range(3):
        await bench.tick(10)
    samples = [(at, record) for at, record in enumerate(bench.tape.records) if isinstance(record, ArrivalSample)]
    said = [decided for _, sample in samples for decided in sample.decided]
    assert [decided.sample for decided in said] == [at for at, _ in samples[:-1]]
    assert [decided.fleet for decided in said] == [fleet for fleet, _ in bench.hand.told[:-1]]
    assert all(decided.epoch == 0 and decided.through >= decided.sample for decided in said)
    claim = bench.tape.records[0]
    assert isinstance(claim, Claim)
    assert claim.policy == "penstock"
    assert claim.settings == fingerprint(POLICY, [TYPE], Objective(1.0, 0.99))


async def test_a_younger_claim_ends_deciding(bench: Bench) -> None:
    """A claim by another that is read from the tape is obeyed at once."""
    await bench.own()
    await bench.tick(10)
    bench.tape.publish(Claim("p", "other", bench.tape.now_s))
    bench.feed()
    assert bench.controller.ownership.standing is Standing.SUPERSEDED
    told = len(bench.hand.told)
    bench.tape.publish(bench.tape.sample(None, None))
    bench.feed()
    await asyncio.sleep(0.02)
    assert len(bench.hand.told) == told


async def test_a_refused_epoch_ends_deciding(bench: Bench) -> None:
    """An actuator that knows a higher epoch is believed."""
    await bench.own()
    bench.hand.stale = True
    await bench.controller._sample()
    await bench.until(lambda: bench.controller.ownership.standing is Standing.SUPERSEDED)


async def test_old_samples_are_folded_and_not_decided_on(bench: Bench) -> None:
    """While it catches up with the tape, a decider does not act on what was an hour ago."""
    await bench.own()
    bench.controller._newest_sample = 50
    sample = bench.tape.sample(None, None)
    bench.controller.record(b"p", telemetry.encode(sample), 3, 40)
    assert bench.controller._due is None
    bench.controller.record(b"p", telemetry.encode(sample), 3, 50)
    assert bench.controller._due is not None


async def test_malformed_and_foreign_records_do_nothing(bench: Bench) -> None:
    """What is not ours, or no record, is passed over."""
    await bench.own()
    sample = telemetry.encode(bench.tape.sample(None, None))
    bench.controller.record(b"q", sample, 3, 90)
    bench.controller.record(b"p", b"{", 3, 91)
    bench.controller.record(b"p", sample.replace(b'"p"', b'"q"'), 3, 92)
    assert bench.controller._due is None


async def test_a_broker_that_is_away_costs_samples_only(bench: Bench) -> None:
    """Sampling fails without an exception; the next sample that works is decided on."""
    await bench.own()
    await bench.tick(10)
    bench.tape.away = True
    await bench.controller._sample()
    bench.tape.away = False
    await bench.tick(10)
    assert bench.controller.ownership.epoch == 0


async def test_what_came_while_the_tape_was_read_is_not_lost(bench: Bench) -> None:
    """Records between the claim and the end of the replay are folded afterwards, in order."""
    await bench.controller.prepared()
    bench.controller.owned(frozenset({3}))
    late = Claim("p", "other", START_S)
    bench.controller.record(b"p", telemetry.encode(late), 3, 5)
    await bench.until(lambda: bench.controller.ownership.standing is not Standing.CLAIMING)
    assert bench.controller.ownership.standing is Standing.SUPERSEDED


async def test_a_sample_from_before_the_last_change_is_not_decided_on(bench: Bench) -> None:
    """To carry a change out took some seconds: a sample of then shows the fleet before, whatever the clock says."""
    await bench.own()
    await bench.tick(40)
    before = bench.hand.status()
    for _ in range(8):
        await bench.tick(400)
    told = [dict(fleet) for fleet, _ in bench.hand.told]
    assert told[-1] != told[0], "the load must have changed the fleet"
    bench.tape.now_s -= 30
    bench.tape.publish(bench.tape.sample(before, None))
    bench.feed()
    await bench.until(lambda: bench.controller._due is None and not bench.controller._deciding_now)
    assert len(bench.hand.told) == len(told)
    bench.tape.now_s += 30
    await bench.tick(400)
    assert len(bench.hand.told) == len(told) + 1


async def test_a_sample_from_before_the_claim_is_not_decided_on(bench: Bench) -> None:
    """The topic may be read again from further back: it was decided on by an owner before, and is minutes old."""
    await bench.own()
    await bench.tick(40)
    told = len(bench.hand.told)
    bench.controller._newest_sample = -1
    old = dataclasses.replace(bench.tape.sample(None, None), at_s=START_S - 400)
    bench.controller.record(b"p", telemetry.encode(old), 3, bench.controller.ownership.epoch or 0)
    await bench.until(lambda: bench.controller._due is None and not bench.controller._deciding_now)
    assert len(bench.hand.told) == told


async def test_a_memory_that_cannot_be_decided_with_is_passed_over_at_the_take_over(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of another version, with arrays of another shape: the owner decides without it."""
    broken = Remembered(0, fingerprint(POLICY, [TYPE], Objective(1.0, 0.99)), memory="of another version")
    monkeypatch.setattr(bench.controller, "_recalled", lambda: broken)
    for second in range(5):
        bench.tape.end += 40
        bench.tape.records.append(
            ArrivalSample("p", START_S + second, dict.fromkeys(range(12), bench.tape.end), {}, None)
        )
    bench.tape.now_s = START_S + 5
    await bench.own()
    await bench.tick(40)
    assert bench.hand.told


async def test_a_memory_that_every_decision_fails_with_is_given_up(bench: Bench) -> None:
    """Nothing was left to be decided again at the take-over: the first decisions fail, then it is forgotten."""
    await bench.own()
    bench.controller._deciding._runner.memory = "of another version"
    for _ in range(8):
        bench.tape.now_s += 1
        await bench.controller._sample()
        bench.feed()
        await bench.until(lambda: bench.controller._due is None and not bench.controller._deciding_now)
    await bench.tick(40)
    assert bench.hand.told


async def test_a_take_over_that_fails_is_tried_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it was: while this process lives nobody else takes over."""
    tries = 0

    def recent(*_: object) -> list[tuple[int, TelemetryRecord]]:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise IndexError("something that nobody thought of")
        return []

    monkeypatch.setattr(bench.tape, "recent", recent)
    monkeypatch.setattr("penstock.pipeline_controller._CLAIM_RETRY_S", 0.01)
    await bench.own()
    assert tries == 2


async def test_advice_by_control_is_not_acted_on(bench: Bench) -> None:
    """`advisory` in the control that rides on the sample stops the acting, not the deciding."""
    await bench.own()
    sample = ArrivalSample("p", START_S + 1, {0: 0}, {0: 0}, FleetStatus({}, {}), Control(advisory=True))
    told = len(bench.hand.told)
    bench.controller.record(b"p", telemetry.encode(sample), 3, 99)
    await bench.until(lambda: not bench.controller._deciding_now)
    assert len(bench.hand.told) == told


async def test_workers_are_stopped_only_when_asked() -> None:
    """The end of an autoscaler is not the end of its workers."""
    for asked in (False, True):
        bench = Bench()
        await bench.own()
        await bench.controller.stop(stop_workers=asked)
        assert bench.hand.stopped == int(asked)


def test_a_fingerprint_tells_settings_apart() -> None:
    """Equal for equal rules, another one for any number, type, objective or policy that differs."""
    own = fingerprint(POLICY, [TYPE], Objective(1.0, 0.99))
    assert own == fingerprint(PolicySettings(), [TYPE], Objective(1.0, 0.99))
    others = [
        fingerprint(PolicySettings(drain_s=6), [TYPE], Objective(1.0, 0.99)),
        fingerprint(POLICY, [dataclasses.replace(TYPE, price_per_hour=2.0)], Objective(1.0, 0.99)),
        fingerprint(POLICY, [TYPE], Objective(1.0, 0.98)),
        fingerprint(POLICY, [TYPE], Objective(1.0, 0.99), "keda"),
    ]
    assert len({own, *others}) == 5


def test_looking_at_reports_changes_no_decision() -> None:
    """Who asks which workers there are, between two samples, must not make a rebalance of it."""
    deciding = Deciding("p", POLICY, [TYPE], Objective(1.0, 0.99))
    looks = []
    for second in range(4):
        if second == 2:
            deciding.fold(dataclasses.replace(REPORT, at_s=START_S + 1.5), 15)
            assert deciding.reports(START_S + 1.6)
        sample = ArrivalSample("p", START_S + second, {0: second}, {0: 0})
        deciding.fold(sample, 10 * second)
        looks.append(deciding.look(sample).observation.rebalanced_at_s)
    assert looks == [None, None, START_S + 2, START_S + 2]


def test_history_from_redis_is_what_the_tape_lacks() -> None:
    """Redis rounds times: the tape's first sample must not come in again a part of a microsecond earlier."""
    at_s = START_S + 0.0363152
    tape = [(9, ArrivalSample("p", at_s, {0: 5}, {0: 0}))]
    points = [RatePoint(round(at_s, 6), None, {0: 5}), RatePoint(at_s - 1, None, {0: 2})]
    assert points[0].at_s < at_s
    deciding = Deciding("p", POLICY, [TYPE], Objective(1.0, 0.99))
    deciding.replay(tape, points, Claim("p", "me", at_s + 1), 10)
    assert deciding.from_redis == 1


def test_a_replayed_tape_gives_the_same_decisions() -> None:
    """A decider that learnt from the tape decides the next sample as the one who lived through it."""

    def fresh() -> Deciding:
        return Deciding("p", POLICY, [TYPE], Objective(1.0, 0.99))

    lived, tape, end = fresh(), [], 0
    fleet = {"cpu": 0}
    for second in range(90):
        end += 30 if second < 45 else 150
        sample = ArrivalSample(
            "p", START_S + second, {0: end // 2, 1: end - end // 2}, {0: 0, 1: 0}, FleetStatus(fleet, fleet)
        )
        tape.append((second + 1, sample))
        lived.fold(sample, second + 1)
        fleet = dict(lived.conclude(lived.look(sample)).fleet)
    restarted = fresh()
    restarted.replay(tape, [], Claim("p", "me", START_S + 90), 200)
    end += 150
    after = ArrivalSample("p", START_S + 90, {0: end // 2, 1: end - end // 2}, {0: 0, 1: 0}, FleetStatus(fleet, fleet))
    for deciding in (lived, restarted):
        deciding.fold(after, 300)
    assert restarted.conclude(restarted.look(after)) == lived.conclude(lived.look(after))
