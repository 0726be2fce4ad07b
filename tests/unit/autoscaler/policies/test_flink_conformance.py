"""Flink's autoscaler as its own tests state it.

Sources: apache/flink-kubernetes-operator, flink-autoscaler/src/test: JobVertexScalerTest, alignment/AlignmentModeTest,
ScalingMetricEvaluatorTest, DelayedScaleDownTest, BacklogBasedScalingTest (commit 6e9caeb4).
"""

from __future__ import annotations

import dataclasses
import math

import pytest

from autoscaler.model import (
    ArrivalHistory,
    FleetStatus,
    Objective,
    Observation,
    ServiceCurve,
    TypeStatus,
    WorkerReport,
    WorkerState,
    WorkerType,
)
from autoscaler.policies.flink import FlinkPolicy, FlinkState, Minute
from autoscaler.policies.flink_rules import DelayedScaleIn, aligned, parallelism, target_capacity

OBJECTIVE = Objective()
NO_LIMIT = 2**31


def scaled(
    current: int, partitions: int, factor: float, *, least: int = 1, most: int = NO_LIMIT, how: str = "off"
) -> int:
    """As JobVertexScaler.scale."""
    return parallelism(current, factor, partitions, least=least, most=most, alignment=how)


@pytest.mark.parametrize(
    ("current", "partitions", "factor", "count"),
    [(1, 720, 0.0001, 1), (2, 720, 0.1, 1), (6, 720, 0.8, 5), (16, 128, 1.5, 24), (200, 720, 2.0, 400)],
)
def test_counts_follow_the_factor(current: int, partitions: int, factor: float, count: int) -> None:
    """JobVertexScalerTest.testParallelismComputation; a factor without bound ends at the partitions."""
    assert scaled(current, partitions, factor) == count
    assert scaled(200, 720, float(NO_LIMIT)) == 720
    assert scaled(200, 720, math.inf) == 720


@pytest.mark.parametrize(
    ("current", "partitions", "factor", "count"),
    [(6, 36, 0.8, 6), (16, 128, 1.5, 32), (200, 720, 1.3, 360), (200, 720, float(NO_LIMIT), 720), (10, 128, 2.5, 32)],
)
def test_counts_are_spread_evenly(current: int, partitions: int, factor: float, count: int) -> None:
    """JobVertexScalerTest.testParallelismComputationWithAdjustment."""
    assert scaled(current, partitions, factor, how="evenly-spread") == count


@pytest.mark.parametrize(
    ("current", "partitions", "factor", "least", "most", "count"),
    [
        (6, 720, 0.8, 1, 700, 5),
        (8, 720, 0.8, 8, 700, 8),
        (16, 128, 1.5, 1, NO_LIMIT, 32),
        (16, 128, 1.5, 60, NO_LIMIT, 64),
    ],
)
def test_counts_stay_within_limits(  # noqa: PLR0917 - a table
    current: int, partitions: int, factor: float, least: int, most: int, count: int
) -> None:
    """JobVertexScalerTest.testParallelismComputationWithLimit."""
    assert scaled(current, partitions, factor, least=least, most=most, how="evenly-spread") == count


@pytest.mark.parametrize(
    ("how", "current", "target", "partitions", "most", "count"),
    [
        # 128 partitions on 24: five a subtask; 26 is the first with four, 32 the first divisor.
        ("balanced", 16, 24, 128, NO_LIMIT, 26),
        ("evenly-spread", 16, 24, 128, NO_LIMIT, 32),
        ("off", 16, 24, 128, NO_LIMIT, 24),
        ("balanced", 10, 25, 128, 128, 26),
        # Nothing fits below the bound: the target stays, and nothing is blocked.
        ("balanced", 22, 25, 35, 30, 25),
        ("evenly-spread", 22, 25, 35, 30, 25),
        ("evenly-spread", 5, 7, 12, 8, 7),
    ],
)
def test_alignment(how: str, current: int, target: int, partitions: int, most: int, count: int) -> None:  # noqa: PLR0917 - a table
    """AlignmentModeTest: balancedReducesLoad..., offReturns..., builtInModesFallBack..., ...SearchOneRegion..."""
    assert aligned(current, target, partitions, most, how) == count


@pytest.mark.parametrize(
    ("catch_up_s", "lag_per_s", "backlog", "low", "high"),
    [
        (0.0, 0.0, False, 778.0, 1000.0),
        (2.0, 350.0, False, 1128.0, 1700.0),
        (2.0, 0.0, False, 778.0, 1350.0),
        (2.0, 350.0, True, 1050.0, math.inf),
        (2.0, 0.0, True, 700.0, math.inf),
    ],
)
def test_bounds_of_the_capacity(catch_up_s: float, lag_per_s: float, backlog: bool, low: float, high: float) -> None:
    """ScalingMetricEvaluatorTest.testUtilizationBoundaryComputation: 700/s, utilisation 0.7 to 0.9, restart 1 s."""
    upper, lower = (1.0, 0.0) if backlog else (0.9, 0.7)

    def capacity(utilisation: float, restart_s: float) -> float:
        return target_capacity(700.0, utilisation, catch_up_per_s=lag_per_s, restart_s=restart_s, catch_up_s=catch_up_s)

    assert capacity(upper, 0.0) == low
    assert capacity(lower, 1.0) == high


@pytest.mark.parametrize(
    ("current", "arrivals", "true_rate", "utilisation", "limits", "count"),
    [
        (10, 50, 100, 1.0, {}, 5),
        (10, 50, 100, 0.8, {}, 8),
        (10, 80, 100, 0.8, {}, 10),
        (10, 60, 100, 0.8, {}, 8),
        (10, 59, 100, 0.8, {}, 8),
        (2, 100, 40, 0.5, {}, 10),
        (2, 100, 100, 0.6, {}, 4),
        (10, 10, 100, 1.0, {"max_scale_down_factor": 0.5}, 5),
        (10, 10, 100, 1.0, {"max_scale_down_factor": 0.6}, 4),
        (10, 200, 10, 1.0, {"max_scale_up_factor": 0.5}, 15),
        (10, 200, 10, 1.0, {"max_scale_up_factor": 0.6}, 16),
    ],
)
def test_target_utilisation_and_largest_steps(  # noqa: PLR0917 - a table
    current: int, arrivals: float, true_rate: float, utilisation: float, limits: dict[str, float], count: int
) -> None:
    """JobVertexScalerTest.testParallelismScaling: no catch-up, 720 key groups."""
    policy = FlinkPolicy(
        OBJECTIVE,
        utilization_target=utilisation,
        catch_up_s=0.0,
        **{"max_scale_down_factor": 1.0, **limits},  # type: ignore[arg-type] # numbers only
    )
    evaluated = policy.evaluate([Minute(0.0, 0, arrivals, arrivals, None)], true_rate)
    assert evaluated is not None
    assert scaled(current, 720, evaluated.factor, how="evenly-spread") == count


def test_lag_that_grows_is_input_too() -> None:
    """testLagBasedSourceScaling: 100/s are read while the lag grows by 50: 150/s come in, and 500/s catch up."""
    policy = FlinkPolicy(OBJECTIVE, catch_up_s=2.0, restart_s=0.0, utilization_target=1.0, utilization_boundary=0.0)
    evaluated = policy.evaluate([Minute(2.0, 1000, 100.0, 150.0, None)], 650.0)
    assert evaluated is not None
    assert evaluated.factor == pytest.approx(1.0)


def test_the_observed_rate_replaces_a_busy_time_that_claims_more() -> None:
    """ScalingMetricEvaluatorTest.testObservedTprEvaluation and testMissing...: two observations, 15 % tolerance."""
    policy = FlinkPolicy(OBJECTIVE)
    catching_up = [Minute(0.0, 100_000, 400.0, 500.0, 0.8), Minute(60.0, 100_000, 600.0, 500.0, 0.8)]
    assert policy.true_rate(catching_up) == pytest.approx(500.0)
    near = [dataclasses.replace(one, busy=0.9) for one in catching_up]
    assert policy.true_rate(near) == pytest.approx(500.0 / 0.9)
    assert policy.true_rate(catching_up[:1]) == pytest.approx(400.0 / 0.8)
    assert policy.true_rate([dataclasses.replace(one, busy=None) for one in catching_up]) == pytest.approx(500.0)
    assert policy.true_rate([Minute(0.0, 0, 0.0, 0.0, 0.0)]) == math.inf
    assert policy.true_rate([Minute(0.0, 0, 10.0, 10.0, None)]) is None


def test_the_highest_recommendation_of_a_window_slides() -> None:
    """DelayedScaleDownTest: 5, 9, 4, 5, 6 and the windows from each; an equal one later keeps its place alive."""
    delayed = DelayedScaleIn()
    for at_s, workers in enumerate((5, 9, 4, 5, 6)):
        delayed = delayed.add(float(at_s), workers, outside=workers != 9)
    assert [delayed.highest(float(since)).workers for since in range(5)] == [9, 9, 6, 6, 6]
    assert delayed.first_at_s == 0.0
    assert not delayed.highest(0.0).outside
    again = DelayedScaleIn().add(6.0, 3, outside=True).add(7.0, 3, outside=True)
    assert again.highest(7.0).workers == 3
    with pytest.raises(IndexError):
        again.highest(8.0)


CPU = WorkerType("cpu", min_workers=1, max_workers=64, curve=ServiceCurve(0.015, 0.005, 16))


def report(name: str, at_s: float, busy: float) -> WorkerReport:
    """A worker that has been busy for that part of the time."""
    return WorkerReport(
        pipeline="p",
        worker=name,
        worker_type="cpu",
        device="emulated",
        at_s=at_s,
        pid=1,
        host="h",
        state=WorkerState.READY,
        asked_at_s=0.0,
        ready_at_s=0.0,
        partitions=(),
        batches=0,
        rows=0,
        ok=0,
        failed=0,
        expired=0,
        busy_s=busy * at_s,
        curve=None,
        latency_counts=(),
        rebalances=0,
        retraces=0,
        model_version="1",
    )


def look(
    policy: FlinkPolicy, state: FlinkState, minute: int, *, workers: int, per_s: float, busy: float
) -> tuple[int, FlinkState]:
    """One look at a steady load without lag; the first worker is the busiest."""
    at_s = 60.0 * minute
    reports = {f"p-cpu-{n}": report(f"p-cpu-{n}", at_s, busy if n == 0 else busy / 2) for n in range(workers)}
    fleet = FleetStatus({"cpu": workers}, {"cpu": workers})
    history = ArrivalHistory.of(at_s, [per_s] * 120)
    seen = Observation(
        "p", at_s, 64, None, {0: 0}, fleet, None, workers={"cpu": TypeStatus(workers)}, reports=reports, history=history
    )
    decision, state = policy.decide(seen, (CPU,), state)
    return decision.fleet["cpu"], state


def test_nothing_is_done_until_metrics_of_a_whole_window_are_there() -> None:
    """Stabilisation 5 min and window 15 min: a job at its limit grows in the 21st minute, to 70 % utilisation.

    400/s at 95 % busy are a true rate of 421/s; wanted are 400 / 0.7 and 400 * 300 / 1800, 638/s: 4 * 1.515 = 6.06, 7
    workers, and 8 is the first count that divides 64 partitions.
    """
    policy, state, done = FlinkPolicy(OBJECTIVE, utilization_boundary=0.2), FlinkState(), []
    for minute in range(1, 30):
        count, state = look(policy, state, minute, workers=4, per_s=400.0, busy=0.95)
        if count != 4:
            done.append((minute, count))
    assert done[0] == (21, 8)


def test_nothing_is_done_while_the_capacity_is_within_its_bounds() -> None:
    """JobVertexScaler and ScalingExecutor: at 85 % utilisation more is wanted for 70 %, yet 100 % is not passed."""
    policy, state, counts = FlinkPolicy(OBJECTIVE, fitted_capacity=True), FlinkState(), set()
    for minute in range(1, 30):
        count, state = look(policy, state, minute, workers=4, per_s=0.85 * 4 * CPU.curve.capacity_per_s, busy=0.5)
        counts.add(count)
    assert counts == {4}
    evaluated = policy.evaluate(state.minutes, 4 * CPU.curve.capacity_per_s)
    assert evaluated is not None
    assert evaluated.factor > 1.3
    assert not evaluated.outside


def test_a_smaller_fleet_waits_for_an_hour_and_takes_its_highest() -> None:
    """JobVertexScaler.applyScaleDownInterval, as in DelayedScaleDownEndToEndTest.

    16 workers for 80/s are asked to become 8 (the largest step, aligned); a wave of 940/s in that hour needs 940 / 0.7
    + 940 / 6 of 2695/s, which is 9 of 16, aligned 10: so many are left when the hour is over.
    """
    for wave_per_s, left in ((80.0, 8), (940.0, 10)):
        policy, state, counts = FlinkPolicy(OBJECTIVE, fitted_capacity=True), FlinkState(), {}
        for minute in range(1, 85):
            per_s = wave_per_s if 45 <= minute < 61 else 80.0
            counts[minute], state = look(policy, state, minute, workers=16, per_s=per_s, busy=0.5)
        assert next(minute for minute, count in counts.items() if count != 16) == 81
        assert counts[81] == left


def test_the_fitted_capacity_is_not_fooled_by_batches() -> None:
    """At half load a worker that batches is 95 % busy: busy time asks for more workers, the curve for none."""
    for fitted, grows in ((False, True), (True, False)):
        policy = FlinkPolicy(OBJECTIVE, fitted_capacity=fitted, utilization_boundary=0.2)
        state, counts = FlinkState(), set()
        for minute in range(1, 24):
            count, state = look(policy, state, minute, workers=4, per_s=2 * CPU.curve.capacity_per_s, busy=0.95)
            counts.add(count)
        assert (max(counts) > 4) is grows
