"""Numaflow's rule for sources as its own tests state it, and its steps and cooldown.

Source: numaproj/numaflow pkg/reconciler/vertex/scaling/scaling_test.go (Test_desiredReplicasSinglePartition, "test
src": two ready replicas, five seconds) and scaling.go.
"""

from __future__ import annotations

import pytest

from autoscaler.model import ArrivalHistory, FleetStatus, Objective, Observation, TypeStatus, WorkerType
from autoscaler.policies.numaflow import NumaflowPolicy, desired_replicas

CPU = WorkerType("cpu", max_workers=50)


@pytest.mark.parametrize(
    ("rates", "pending", "wanted"),
    [
        ([250, 500, 750], [10010, 800, 1200], 16),
        ([450, 500, 750], [10010, 800, 1200], 9),
        ([450, 20, 750], [10010, 800, 1200], 16),
        ([450, 20, 750], [18932, 800, 1200], 17),
        ([800, 200, 750], [18932, 800, 24988], 13),
        ([800, 210, 750], [18932, 800, 24988], 13),
        ([800, 21, 750], [18932, 800, 24988], 15),
    ],
)
def test_the_partition_that_asks_for_most_decides(rates: list[float], pending: list[float], wanted: int) -> None:
    """Test_desiredReplicasSinglePartition."""
    assert desired_replicas(rates, pending, 2, 5.0) == wanted


def test_a_partition_without_rate_or_pending_is_passed_over() -> None:
    """scaling.go: one of the two missing says nothing, so one replica is asked for; both missing everywhere is zero."""
    assert desired_replicas([0, 10], [500, 0], 3, 20.0) == 1
    assert desired_replicas([0, 0], [0, 0], 3, 20.0) == 0


def seen(at_s: float, lag: int, workers: int, per_s: float = 100.0) -> Observation:
    """A constant load with that lag."""
    fleet = FleetStatus({"cpu": workers}, {"cpu": workers})
    history = ArrivalHistory.of(at_s, [per_s] * 300)
    return Observation("p", at_s, 4, None, {0: lag}, fleet, None, workers={"cpu": TypeStatus(workers)}, history=history)


def test_a_step_is_at_most_two_and_the_next_one_waits_for_ninety_seconds() -> None:
    """scaling.go: replicasPerScale and cooldown. 20,000 pending at 100/s on 4 replicas ask for 40."""
    policy = NumaflowPolicy(Objective())
    state, workers, counts = policy.initial(), 4, []
    for look in range(8):
        decision, state = policy.decide(seen(30.0 * look, 20_000, workers), (CPU,), state)
        workers = decision.fleet["cpu"]
        counts.append(workers)
    assert counts == [4, 6, 6, 6, 8, 8, 8, 10]


def test_at_rest_twenty_seconds_of_work_are_pending() -> None:
    """Below that it shrinks: 100/s and 2000 pending keep any count, 1000 pending ask for half."""
    assert desired_replicas([100.0], [2000.0], 8, 20.0) == 8
    assert desired_replicas([100.0], [1000.0], 8, 20.0) == 4
