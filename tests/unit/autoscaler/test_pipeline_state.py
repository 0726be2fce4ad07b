"""The tape folded into an observation."""

from __future__ import annotations

import dataclasses

import pytest

from autoscaler.errors import WrongPipeline
from autoscaler.latency import BUCKETS
from autoscaler.model import (
    ArrivalSample,
    Claim,
    Control,
    FleetStatus,
    ServiceCurve,
    TypeStatus,
    WorkerReport,
    WorkerState,
    WorkerType,
)
from autoscaler.pipeline_state import PipelineState
from autoscaler.settings import PolicySettings

T0 = 1_700_000_000.0
ASSUMED = ServiceCurve(0.05, 0.01, 8)
CPU = WorkerType("cpu", "cpu", 0.1, 1, 8, ASSUMED, 10.0)


def sample(at_s: float, end: int, committed: int | None, **known: object) -> ArrivalSample:
    """A sample of two partitions that look the same."""
    return ArrivalSample("p", T0 + at_s, {0: end, 1: end}, {0: committed, 1: committed}, **known)  # type: ignore[arg-type]


def report(worker: str, at_s: float, **other: object) -> WorkerReport:
    """A report of a ready worker that took 2 s to start."""
    known = WorkerReport(
        pipeline="p",
        worker=worker,
        worker_type="cpu",
        device="cpu",
        at_s=T0 + at_s,
        pid=1,
        host="h",
        state=WorkerState.READY,
        asked_at_s=T0 - 2,
        ready_at_s=T0,
        partitions=(0,),
        batches=int(at_s),
        rows=0,
        ok=0,
        failed=0,
        expired=0,
        busy_s=0.0,
        curve=None,
        latency_counts=(),
        rebalances=0,
        retraces=0,
        model_version="1",
    )
    return dataclasses.replace(known, **other)  # type: ignore[arg-type]


def state() -> PipelineState:
    """A state that has seen nothing."""
    return PipelineState("p", PolicySettings(), (CPU,))


def test_nothing_is_known_before_the_first_record() -> None:
    """Rates, backlog, fleet, control and latency are `None`, not 0."""
    seen = state().observe(T0)
    assert (seen.rates, seen.backlog, seen.fleet, seen.control, seen.p99_s, seen.history) == (None,) * 6
    assert seen.partitions == 0
    assert not seen.reports


def test_backlog_is_what_has_no_committed_result() -> None:
    """A partition that never committed counts from its start; commits ahead of a stale end are no negative backlog."""
    known = state()
    known.apply(ArrivalSample("p", T0, {0: 100, 1: 40, 2: 5}, {0: 90, 1: None, 2: 7}))
    assert known.observe(T0).backlog == {0: 10, 1: 40, 2: 0}


def test_an_old_sample_tells_no_backlog() -> None:
    """After the collector fell silent the backlog is not known, and the partitions still are."""
    known = state()
    known.apply(sample(0, 100, 0))
    seen = known.observe(T0 + 60)
    assert seen.backlog is None
    assert seen.partitions == 2


def test_stale_and_stopped_workers_are_left_out() -> None:
    """Only reports of the last seconds from workers that live are seen."""
    known = state()
    known.apply(report("old", 0))
    known.apply(report("gone", 9, state=WorkerState.STOPPED))
    known.apply(report("new", 9))
    assert list(known.observe(T0 + 10).reports) == ["new"]


def test_a_late_report_does_not_replace_a_newer_one() -> None:
    """Out of order, the newest by its own time wins."""
    known = state()
    known.apply(report("w", 9, rows=90))
    known.apply(report("w", 8, rows=80))
    assert known.observe(T0 + 9).reports["w"].rows == 90


def test_a_worker_whose_clock_was_set_back_is_heard() -> None:
    """On the tape's word that it came later, a report with more batches done replaces one with a later time."""
    known = state()
    known.apply(report("w", 9, batches=9), offset=1)
    known.apply(report("w", 5, batches=10), offset=2)
    assert known.observe(T0 + 6).reports["w"].batches == 10


def test_replayed_latencies_count_once() -> None:
    """A rebalance that reads the tape again does not move the 99th percentile."""
    fast, slow = [0] * BUCKETS, [0] * BUCKETS
    fast[5], slow[30] = 199, 1
    known = state()
    tape = [report("w", 1, latency_counts=tuple(fast)), report("w", 2, latency_counts=tuple(slow))]
    for offset, record in [(0, tape[0]), (1, tape[1]), (0, tape[0]), (1, tape[1])]:
        known.apply(record, offset)
    once = known.observe(T0 + 2).p99_s
    for record in [tape[1], tape[1], tape[1]]:
        known.apply(record)
    assert once is not None
    assert once < 0.01
    assert known.observe(T0 + 2).p99_s == once
    assert known.observe(T0 + 60).p99_s is None


def test_latencies_of_a_worker_of_another_version_stop_no_decision() -> None:
    """During an upgrade one worker reports over other bounds: the others' are still known."""
    counts = [0] * BUCKETS
    counts[3] = 10
    known = state()
    known.apply(report("old", 1, latency_counts=(5,) * (BUCKETS - 2)))
    known.apply(report("new", 1, latency_counts=tuple(counts)))
    assert known.observe(T0 + 2).latency_counts == tuple(counts)


def test_what_redis_said_last_holds_while_it_is_away() -> None:
    """A pause asked for by a person is not lost with the connection."""
    known = state()
    known.apply(sample(0, 0, 0, control=Control(paused=True), fleet=FleetStatus({"cpu": 2}, {"cpu": 1})))
    known.apply(sample(1, 5, 0))
    seen = known.observe(T0 + 1)
    assert seen.control == Control(paused=True)
    assert seen.fleet == FleetStatus({"cpu": 2}, {"cpu": 1})
    known.apply(sample(2, 5, 0, control=Control()))
    assert known.observe(T0 + 2).control == Control()


def test_actuation_delay_is_the_upper_of_those_seen() -> None:
    """The 90th percentile of recent starts replaces the assumed boot time; absurd ones are clocks, not starts."""
    known = state()
    assert known.worker_types()[0].boot_s == 10.0
    for n, delay_s in enumerate([1.0, 1.2, 1.1, 6.0]):
        known.apply(report(f"w{n}", 1, asked_at_s=T0, ready_at_s=T0 + delay_s))
    known.apply(report("absurd", 1, asked_at_s=0.0))
    known.apply(report("backwards", 1, asked_at_s=T0 + 5, ready_at_s=T0))
    assert known.worker_types()[0].boot_s == pytest.approx(6.0)


def test_old_starts_are_forgotten() -> None:
    """A slow start long ago does not count after many fast ones."""
    known = state()
    known.apply(report("slow", 1, asked_at_s=T0 - 99))
    for n in range(20):
        known.apply(report(f"w{n}", 2, asked_at_s=T0 - 1))
    assert known.worker_types()[0].boot_s == pytest.approx(1.0)


def test_the_curve_is_the_median_of_those_fitted() -> None:
    """One worker with a noisy core does not speak for all; other types are not touched."""
    known = state()
    assert known.worker_types()[0].curve == ASSUMED
    for n, a_s in enumerate([0.02, 0.021, 0.9]):
        known.apply(report(f"w{n}", 1, curve=ServiceCurve(a_s, 0.02, 8)))
    known.apply(report("g", 1, worker_type="gpu", curve=ServiceCurve(5, 5, 1)))
    assert known.worker_types()[0].curve == ServiceCurve(0.021, 0.02, 8)


def test_the_youngest_claim_owns_and_its_offset_is_the_epoch() -> None:
    """A claim read again is not a younger one."""
    known = state()
    assert (known.owner, known.epoch) == (None, None)
    known.apply(Claim("p", "a", T0), 3)
    known.apply(Claim("p", "b", T0 - 9), 7)
    known.apply(Claim("p", "a", T0), 3)
    assert (known.owner, known.epoch) == ("b", 7)


def test_a_record_of_another_pipeline_is_refused() -> None:
    """Mixing tapes would mix loads."""
    with pytest.raises(WrongPipeline, match="'q'"):
        state().apply(Claim("q", "a", T0))


def test_dead_workers_are_forgotten() -> None:
    """Names that never come back do not fill the memory."""
    known = state()
    for n in range(50):
        known.apply(report(f"w{n}", n * 100.0))
    assert len(known._reports) < 10


def _with_fleet(at_s: float, running: int) -> ArrivalSample:
    return sample(at_s, 0, 0, fleet=FleetStatus({"cpu": running}, {"cpu": running}))


def test_workers_that_have_said_nothing_yet_are_starting() -> None:
    """A worker reports once it is in the group; that it was asked for shows in the actuator's count from the start."""
    known = state()
    for second in range(6):
        known.apply(_with_fleet(second, 1 if second < 3 else 3))
        known.apply(report("w0", second))
    assert known.observe(T0 + 5).workers["cpu"] == TypeStatus(1, (T0 + 3, T0 + 3))
    known.apply(report("w1", 6))
    known.apply(_with_fleet(6, 4))
    assert known.observe(T0 + 6).workers["cpu"] == TypeStatus(2, (T0 + 3, T0 + 6))


def test_a_worker_that_speaks_of_its_start_counts_once() -> None:
    """Its own word of when it was asked for is better than the sample's."""
    known = state()
    known.apply(_with_fleet(0, 1))
    known.apply(report("w0", 1))
    known.apply(_with_fleet(1, 2))
    known.apply(report("w1", 2, state=WorkerState.STARTING, asked_at_s=T0 + 0.7, ready_at_s=None))
    assert known.observe(T0 + 2).workers["cpu"] == TypeStatus(1, (T0 + 0.7,))


def test_a_worker_that_never_comes_is_not_waited_for() -> None:
    """Three times the longest start that was seen, then it no longer counts as one that will serve soon."""
    known = state()
    known.apply(_with_fleet(0, 1))
    known.apply(report("w0", 0))
    known.apply(_with_fleet(1, 2))
    for second, asked in ((6, (T0 + 1,)), (8, ())):
        known.apply(report("w0", second))
        assert known.observe(T0 + second).workers["cpu"].asked_at_s == asked
