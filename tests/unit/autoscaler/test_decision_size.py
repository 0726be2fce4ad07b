"""What a decision takes grows with the size of the pipeline, and not with its square: counted, not timed."""

from __future__ import annotations

import sys
import tracemalloc
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from autoscaler.model import (
    ArrivalSample,
    FleetStatus,
    Objective,
    ServiceCurve,
    WorkerReport,
    WorkerState,
    WorkerType,
)
from autoscaler.pipeline_state import PipelineState
from autoscaler.planning.mixture import MixKind, mixes
from autoscaler.policies import registry
from autoscaler.queueing import split
from autoscaler.settings import PolicySettings

if TYPE_CHECKING:
    from collections.abc import Callable

START_S = 1e9
CURVE = ServiceCurve(0.015, 0.005, 16)
KIND = WorkerType("cpu", max_workers=10_000, curve=CURVE, boot_s=20.0)
#: Seconds after which the reactive rule decides still, and the paths do.
REACTIVE_S, PATHS_S = 40, 190


def report(number: int, workers: int, partitions: int, at_s: float) -> WorkerReport:
    """A worker's."""
    return WorkerReport(
        pipeline="p", worker=f"p-cpu-{number}", worker_type="cpu", device="cpu", at_s=at_s, pid=1, host="h",
        state=WorkerState.READY, asked_at_s=START_S - 60, ready_at_s=START_S - 40,
        partitions=tuple(range(number, partitions, workers)), batches=1, rows=1, ok=1, failed=0, expired=0, busy_s=0.5,
        curve=CURVE, latency_counts=(1,) * 42, rebalances=1, retraces=0, model_version="1",
    )  # fmt: skip


def deciding(partitions: int, workers: int, seconds: int) -> Callable[[], None]:
    """One observation and one decision of a pipeline of that size, with skewed partitions, as a call."""
    settings = PolicySettings(history_s=200.0)
    policy = registry.build("penstock", Objective(), settings)
    known = PipelineState("p", settings, (KIND,))
    shares = np.arange(1, partitions + 1) ** -0.3
    shares *= 0.6 * workers * CURVE.capacity_per_s / shares.sum()
    random, ends = np.random.default_rng(1), np.zeros(partitions, int)
    state, offset = policy.initial(), 0

    def second(tick: int) -> None:
        nonlocal ends, offset
        ends = ends + random.poisson(shares)
        counts = dict(enumerate(ends.tolist()))
        if tick > seconds - 12:
            for number in range(workers):
                known.apply(report(number, workers, partitions, START_S + tick), offset)
                offset += 1
        status = FleetStatus({"cpu": workers}, {"cpu": workers})
        known.apply(
            ArrivalSample("p", START_S + tick, counts, {p: end - 1 for p, end in counts.items()}, status), offset
        )
        offset += 1

    def decide() -> None:
        nonlocal state
        _, state = policy.decide(known.observe(START_S + seconds), known.worker_types(), state)

    for tick in range(seconds):
        second(tick)
        if tick in {seconds - 2, seconds - 1}:
            _, state = policy.decide(known.observe(START_S + tick), known.worker_types(), state)
    second(seconds)
    return decide


def calls(work: Callable[[], None]) -> int:
    """Functions that were called, those of C too."""
    count = 0

    def counted(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(counted)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def peak_bytes(work: Callable[[], None]) -> int:
    """Most memory held at once while it ran, beyond what was held before."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("seconds", [REACTIVE_S, PATHS_S])
def test_work_and_memory_grow_with_the_size_and_not_with_its_square(seconds: int) -> None:
    """Four times the partitions and workers: at most four times the calls and bytes, and a little for the parts."""
    small, large = (deciding(1000, 60, seconds) for _ in range(2)), (deciding(4000, 240, seconds) for _ in range(2))
    few, many = calls(next(small)), calls(next(large))
    assert many < 5 * few, (few, many)
    little, much = peak_bytes(next(small)), peak_bytes(next(large))
    assert much < 5 * little, (little, much)


def test_many_skewed_partitions_are_not_placed_one_by_one_for_every_count() -> None:
    """The grid of useful counts of 10,000 partitions: as many steps as counts, not times partitions."""
    raw = np.arange(1, 10_001) ** -0.5
    shares = tuple((raw / raw.sum()).tolist())
    found: list[int] = []
    assert calls(lambda: found.extend(split.useful_counts(shares))) < 10 * len(shares)
    assert found[:3] == [1, 2, 3]
    # Beyond the largest partition's share no further worker is of use.
    assert found[-1] < 1 / shares[0] + 2


@pytest.mark.parametrize("types", [1, 2, 3])
def test_a_table_of_mixes_is_made_of_its_combinations_and_not_of_all_counts(types: int) -> None:
    """Up to a thousand workers of each slow type and 2,000 partitions, anew for each change of the shares.

    There are at most 400 combinations, but a thousand to the power of `types` counts.
    """
    slow = [MixKind(f"gpu{number}", 4.0 + number, 3.0 + number, 0, 1000) for number in range(types)]
    kinds = (*slow, MixKind("cpu", 1.0, 1.0, 1, 1000))

    def table(partitions: int) -> Callable[[], None]:
        return lambda: mixes(kinds, (1 / partitions,) * partitions) and None

    # Once before, so that what is imported at the first call is not counted.
    table(1999)()
    assert calls(table(2000)) < 4000
    assert peak_bytes(table(2001)) < 16 * 2**20
