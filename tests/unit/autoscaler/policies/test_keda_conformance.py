"""KEDA's lag arithmetic as its own tests and its sources state it, and the whole rule on observations.

Sources: kedacore/keda pkg/scalers/kafka_scaler_test.go and kafka_scaler.go; its issues #4483 (one replica more than
partitions) and #2908, #4791 (the top counts are never reached).
"""

from __future__ import annotations

import dataclasses

import pytest

from autoscaler.model import Action, FleetStatus, Objective, Observation, ServiceCurve, TypeStatus, WorkerType
from autoscaler.policies import registry
from autoscaler.policies.keda import even_replicas, steady_lag, total_lag

OBJECTIVE = Objective(1.0, 0.99)
CPU = WorkerType("cpu", min_workers=1, max_workers=100, curve=ServiceCurve(0.015, 0.005, 16))


def seen(at_s: float, lag: int, workers: int, partitions: int = 64) -> Observation:
    """That lag, spread as evenly as it goes."""
    lags = {p: lag // partitions + (p < lag % partitions) for p in range(partitions)}
    fleet = FleetStatus({"cpu": workers}, {"cpu": workers})
    return Observation("p", at_s, partitions, None, lags, fleet, None, workers={"cpu": TypeStatus(workers)})


@pytest.mark.parametrize(("lag", "replicas"), [(10, 1), (20, 2), (40, 4), (50, 5), (99, 10), (100, 10), (101, 20)])
def test_even_distribution_takes_the_next_divisor_of_the_partitions(lag: int, replicas: int) -> None:
    """kafka_scaler_test.go, TestGetNextFactor: 100 partitions, threshold 10."""
    assert even_replicas(lag, 100, 10) == replicas


@pytest.mark.parametrize(
    ("partitions", "divisors"),
    [
        (10, [1, 2, 5, 10]),
        (13, [1, 13]),
        (17, [1, 17]),
        (25, [1, 5, 25]),
        (50, [1, 2, 5, 10, 25, 50]),
        (100, [1, 2, 4, 5, 10, 20, 25, 50, 100]),
    ],
)
def test_the_divisors_are_those_of_the_original(partitions: int, divisors: list[int]) -> None:
    """kafka_scaler_test.go, TestFindFactors."""
    assert sorted({even_replicas(lag, partitions, 1) for lag in range(1, partitions + 1)}) == divisors


def test_lag_is_capped_by_partitions_with_integer_division_and_so_overshoots_by_one() -> None:
    """kafka_scaler.go: 5 partitions, threshold 10: 59 passes uncut and is 6 replicas (#4483); 60 is cut to 50."""
    assert total_lag([59, 0, 0, 0, 0], 10) == 59
    assert total_lag([60, 0, 0, 0, 0], 10) == 50
    assert total_lag([1000, 0, 0, 0, 0], 10, allow_idle_consumers=True) == 1000


def test_lag_may_be_capped_by_the_partitions_that_have_some() -> None:
    """kafka_scaler.go: one hot partition of five is worth one replica."""
    assert total_lag([1000, 0, 0, 0, 0], 10, limit_to_partitions_with_lag=True) == 10
    assert total_lag([1000, 5, 0, 0, 0], 10, limit_to_partitions_with_lag=True) == 20


def test_options_that_exclude_each_other_are_refused() -> None:
    """kafka_scaler_test.go, parseKafkaMetadata: limitToPartitionsWithLag beside each of the two others."""
    for other in ("allow_idle_consumers", "ensure_even_distribution"):
        with pytest.raises(ValueError, match="choose one"):
            registry.build("keda", OBJECTIVE, limit_to_partitions_with_lag=True, **{other: True})
    with pytest.raises(ValueError, match="lag_threshold=-1"):
        registry.build("keda", OBJECTIVE, lag_threshold=-1)


def test_the_default_threshold_is_ten_and_the_first_step_goes_to_four() -> None:
    """Lag 100 asks for 10 replicas; from one, an HPA without `behavior` goes to max(2, 4) in one sync."""
    keda = registry.build("keda", OBJECTIVE)
    state, workers, counts = keda.initial(), 1, []
    for sync in range(4):
        decision, state = keda.decide(seen(15.0 * sync, 100, workers), (CPU,), state)
        workers = decision.fleet["cpu"]
        counts.append(workers)
    assert counts == [4, 8, 10, 10]
    assert decision.action is Action.HOLD
    assert "lag 100 at 10 a replica asks for 10" in decision.reason


def test_with_behavior_given_four_pods_or_double_are_added() -> None:
    """From one replica 4 pods are more than 100 %; from five 100 % are more."""
    keda = registry.build("keda", OBJECTIVE, behavior_given=True)
    first, state = keda.decide(seen(0.0, 1000, 1), (CPU,), keda.initial())
    second, _ = keda.decide(seen(15.0, 1000, first.fleet["cpu"]), (CPU,), state)
    assert (first.fleet["cpu"], second.fleet["cpu"]) == (5, 10)


def test_the_tolerance_keeps_the_last_partitions_without_a_replica() -> None:
    """#2908, #4791: the capped metric is 64 * 10, which is within 10 % of what 59 replicas should have."""
    keda = registry.build("keda", OBJECTIVE)
    for workers, wanted in ((58, 64), (59, 59), (63, 63)):
        decision, _ = keda.decide(seen(0.0, 6400, workers), (CPU,), keda.initial())
        assert decision.fleet["cpu"] == wanted


def test_scale_in_waits_for_five_minutes_and_then_goes_in_one_step() -> None:
    """The highest recommendation of 300 s holds: the fleet shrinks at the first sync after it has left the window."""
    keda = registry.build("keda", OBJECTIVE)
    state, counts = keda.initial(), {}
    _, state = keda.decide(seen(0.0, 200, 20), (CPU,), state)
    for sync in range(1, 23):
        decision, state = keda.decide(seen(15.0 * sync, 10, 20), (CPU,), state)
        counts[15 * sync] = decision.fleet["cpu"]
    assert counts[300] == 20
    assert counts[315] == 1


def test_the_replicas_that_it_finds_are_its_first_recommendation() -> None:
    """horizontal.go, recordInitialRecommendation: a controller that has just started shrinks nothing at first."""
    keda = registry.build("keda", OBJECTIVE)
    decision, _ = keda.decide(seen(0.0, 10, 20), (CPU,), keda.initial())
    assert (decision.fleet["cpu"], decision.bound) == (20, "hysteresis")


def test_a_scaler_that_fails_changes_nothing() -> None:
    """No lag is not lag 0."""
    keda = registry.build("keda", OBJECTIVE)
    decision, _ = keda.decide(dataclasses.replace(seen(0.0, 0, 7), backlog=None), (CPU,), keda.initial())
    assert (decision.fleet["cpu"], decision.action) == (7, Action.NO_DATA)


def test_zero_is_left_at_the_next_poll_and_reached_after_the_cooldown() -> None:
    """scale_executor: 0 -> 1 where the lag is above the activation threshold; to 0 after 300 s without."""
    keda = registry.build("keda", OBJECTIVE)
    to_zero = dataclasses.replace(CPU, min_workers=0)
    state = keda.initial()
    decision, state = keda.decide(seen(0.0, 0, 0), (to_zero,), state)
    assert decision.fleet["cpu"] == 0
    decision, state = keda.decide(seen(30.0, 5, 0), (to_zero,), state)
    assert decision.fleet["cpu"] == 1
    counts = {}
    for sync in range(1, 24):
        decision, state = keda.decide(seen(30.0 + 15 * sync, 0, 3), (to_zero,), state)
        counts[15 * sync] = decision.fleet["cpu"]
    # Seen active at 30 s: 300 s later it is still within the cooldown, then it is not. The HPA goes to 1 before.
    assert counts[300] == 1
    assert counts[315] == 0


def test_the_tuned_threshold_of_the_reference_worker_is_what_a_search_had_found() -> None:
    """76 for a = 15 ms, b = 5 ms, batch 16, commits each second; the textbook's mu (W + commit / 2) is 252."""
    assert steady_lag(CPU.curve, 1.0) == 76
    tuned = registry.build("keda-tuned", OBJECTIVE)
    decision, _ = tuned.decide(seen(0.0, 760, 5), (CPU,), tuned.initial())
    assert "lag 760 at 76 a replica asks for 10" in decision.reason
    given = registry.build("keda-tuned", OBJECTIVE, lag_threshold=100)
    assert "at 100 a replica asks for 8" in given.decide(seen(0.0, 760, 5), (CPU,), given.initial())[0].reason
