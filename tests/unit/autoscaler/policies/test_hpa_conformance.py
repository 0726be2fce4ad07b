"""The HorizontalPodAutoscaler's arithmetic as its own tests state it.

Sources: kubernetes/kubernetes pkg/controller/podautoscaler/replica_calculator_test.go (external metric with a target
per pod) and horizontal_test.go (TestNormalizeDesiredReplicas, TestScalingWithRules, TestUpscaleCap). Quantities there
are thousandths.
"""

from __future__ import annotations

import pytest

from autoscaler.policies.hpa import Recommendations, ScalingRules, desired_replicas, down_limit, limited, up_limit

FREE = (None, None)


@pytest.mark.parametrize(
    ("metric", "target", "replicas", "wanted"),
    [
        # TestReplicaCalcScaleUpPerPodCMExternal, ...ScaleDownPerPodCMExternal, ...TolerancePerPodCMExternal
        (8.6, 2.15, 3, 4),
        (8.6, 2.867, 5, 3),
        (8.6, 2.9, 3, 3),
        # TestReplicaCalcTolerancePerPodCMObject, ...ScaleDownPerPodCMObject
        (20.166, 5.0, 4, 4),
        (6.0, 2.0, 5, 3),
    ],
)
def test_replicas_for_a_target_per_pod(metric: float, target: float, replicas: int, wanted: int) -> None:
    """replica_calculator_test.go."""
    assert desired_replicas(metric, target, replicas, 0.1) == wanted


def test_the_tolerance_includes_its_edge() -> None:
    """replica_calculator.go: a ratio of exactly 1.1 or 0.9 is left alone, one beyond it is not."""
    assert desired_replicas(110.0, 10.0, 10, 0.1000001) == 10
    assert desired_replicas(111.0, 10.0, 10, 0.1) == 12
    assert desired_replicas(89.0, 10.0, 10, 0.1) == 9


@pytest.mark.parametrize(
    ("earlier", "wanted", "stabilised"),
    [
        ([], 5, 5),
        ([(-120, 4), (-60, 5)], 3, 5),
        ([(-120, 1), (-60, 2)], 3, 3),
        ([(-600, 10), (-540, 9)], 3, 3),
        ([(-600, 10), (-540, 9), (-120, 5), (-60, 4)], 3, 5),
    ],
)
def test_the_highest_recommendation_of_the_window_holds(
    earlier: list[tuple[float, int]], wanted: int, stabilised: int
) -> None:
    """horizontal_test.go, TestNormalizeDesiredReplicas: a window of five minutes."""
    seen = Recommendations()
    for then_s, replicas in earlier:
        seen = seen.add(then_s, replicas, 300.0)
    assert seen.add(0.0, wanted, 300.0).highest == stabilised


@pytest.mark.parametrize(
    ("rules", "replicas", "limit"),
    [
        # Of TestScalingWithRules those named scaleUp
        (ScalingRules(0, 1), 3, 4),
        (ScalingRules(100, 100), 10, 110),
        (ScalingRules(2, 100), 10, 20),
        (ScalingRules(30, 0), 10, 40),
        (ScalingRules(0, 200), 10, 30),
        # TestUpscaleCap
        (ScalingRules(0, 700), 3, 24),
        # Without `behavior`: calculateScaleUpLimit
        (None, 1, 4),
        (None, 3, 6),
        (None, 10, 20),
    ],
)
def test_limits_up(rules: ScalingRules | None, replicas: int, limit: int) -> None:
    """horizontal_test.go."""
    assert up_limit(replicas, rules) == limit


@pytest.mark.parametrize(
    ("rules", "replicas", "limit"),
    [
        # TestScalingWithRules: "scaleDown with ...", and the limit above minReplicas
        (ScalingRules(20, 0), 1000, 980),
        (ScalingRules(20, 1), 100, 80),
        (ScalingRules(2, 1), 100, 98),
        (ScalingRules(5, 0), 10, 5),
        (ScalingRules(0, 50), 10, 5),
        (None, 10, 0),
    ],
)
def test_limits_down(rules: ScalingRules | None, replicas: int, limit: int) -> None:
    """horizontal_test.go."""
    assert down_limit(replicas, rules) == limit


@pytest.mark.parametrize(
    ("wanted", "replicas", "least", "most", "count"),
    [(7, 5, 3, 8, 7), (1, 3, 2, 8, 2), (0, 1, 0, 10, 0), (1000, 20, 1, 10, 10), (1000, 100, 100, 150, 150)],
)
def test_min_and_max_replicas(wanted: int, replicas: int, least: int, most: int, count: int) -> None:
    """horizontal_test.go, TestScalingWithRules, the first five cases."""
    assert limited(wanted, replicas, least, most, FREE) == count
