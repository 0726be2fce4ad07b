"""Knative's stable and panic windows as its own tests state them.

Source: knative/serving pkg/autoscaler/scaling/autoscaler_test.go. Targets there are given directly; a
`container_concurrency` with `target_utilization` 1 is the same.
"""

from __future__ import annotations

import pytest

from autoscaler.model import FleetStatus, Objective, Observation, TypeStatus, WorkerType
from autoscaler.policies.knative import KnativePolicy, KnativeState

OBJECTIVE = Objective()


def kpa(
    target: float, up: float = 10.0, down: float = 10.0, delay_s: float = 0.0, threshold: float = 2.0
) -> KnativePolicy:
    """As the tests' own autoscaler: rates 10, panic at twice the ready pods."""
    return KnativePolicy(
        OBJECTIVE,
        container_concurrency=target,
        target_utilization=1.0,
        max_scale_up_rate=up,
        max_scale_down_rate=down,
        scale_down_delay_s=delay_s,
        panic_threshold=threshold,
    )


CALM = KnativeState(begun=True)


@pytest.mark.parametrize(
    ("target", "ready", "stable", "panic", "wanted"),
    [
        # TestAutoscalerScale
        (10, 1, 0.0, 0.0, 0),
        (10, 1, 50.0, 49.0, 5),
        (10, 5, 50.0, 50.0, 5),
        (10, 1, 50.0, 100.0, 10),
        (181, 1, 21.0, 26.0, 1),
        # TestAutoscalerStableModeIncreaseWithConcurrencyDefault, ...Decrease
        (10, 1, 50.0, 10.0, 5),
        (10, 1, 100.0, 10.0, 10),
        (10, 8, 50.0, 50.0, 5),
        # TestAutoscalerRateLimitScaleUp, ...Down, ...UseOnePodAsMinimumIfEndpointsNotFound
        (10, 1, 1000.0, 1001.0, 10),
        (10, 10, 1000.0, 1001.0, 100),
        (10, 100, 1.0, 1.0, 10),
        (10, 10, 1.0, 1.0, 1),
        (10, 0, 1000.0, 888.0, 10),
    ],
)
def test_one_look(target: float, ready: int, stable: float, panic: float, wanted: int) -> None:
    """Pods for both windows."""
    assert kpa(target).scale(0.0, ready, stable, panic, CALM)[0] == wanted


def test_small_rates_limit_one_look() -> None:
    """TestAutoscalerScale: rate 1.1 from 2 pods allows 3, and from 100 down to 90."""
    assert kpa(1, up=1.1).scale(0.0, 2, 3.0, 3.1, CALM)[0] == 3
    assert kpa(10, down=1.1).scale(0.0, 100, 1.0, 1.0, CALM)[0] == 90


def test_in_panic_the_larger_window_counts() -> None:
    """TestAutoscalerScale, AutoscalerPanicStable...: five pods in panic since 5 s."""
    panicking = KnativeState(begun=True, panic_at_s=-5.0, panic_pods=5)
    assert kpa(1).scale(0.0, 5, 50.0, 30.0, panicking)[0] == 50
    assert kpa(1).scale(0.0, 5, 20.0, 30.0, panicking)[0] == 30


def test_in_panic_nothing_shrinks_and_after_a_stable_window_it_does() -> None:
    """TestAutoscalerPanicThenUnPanicScaleDown."""
    policy = kpa(10)
    _, state = policy.scale(-1.0, 1, 100.0, 100.0, CALM)
    pods, state = policy.scale(0.0, 10, 100.0, 1000.0, state)
    assert pods == 100
    pods, state = policy.scale(30.0, 10, 1.0, 1.0, state)
    assert pods == 100
    assert policy.scale(61.0, 10, 1.0, 1.0, state)[0] == 1


def test_a_slow_increase_does_not_prolong_panic() -> None:
    """TestAutoscalerUnpanicAfterSlowIncrease: 25, then 41 of 40 ready, then out of panic at 62 s with the stable 50."""
    policy = kpa(1)
    pods, state = policy.scale(0.0, 10, 11.0, 25.0, CALM)
    assert (pods, state.panic_at_s) == (25, 0.0)
    pods, state = policy.scale(30.0, 40, 30.0, 41.0, state)
    assert (pods, state.panic_at_s) == (41, 0.0)
    pods, state = policy.scale(62.0, 55, 50.0, 56.0, state)
    assert (pods, state.panic_at_s) == (50, None)


def test_a_surge_that_goes_on_prolongs_panic() -> None:
    """TestAutoscalerExtendPanicWindow."""
    policy = kpa(1)
    _, state = policy.scale(0.0, 10, 11.0, 25.0, CALM)
    pods, state = policy.scale(30.0, 40, 30.0, 80.0, state)
    assert (pods, state.panic_at_s) == (80, 30.0)


def test_an_exponential_rise_is_tracked_by_panic() -> None:
    """TestAutoscalerPanicModeExponentialTrackAndStabilize: 6, 36, 216, 1296, and it stays."""
    policy, state, counts = kpa(1), CALM, []
    for at_s, ready, load in ((0.0, 1, 6.0), (1.0, 6, 36.0), (2.0, 36, 216.0), (2.0, 216, 1296.0), (3.0, 1296, 1296.0)):
        pods, state = policy.scale(at_s, ready, load, load, state)
        counts.append(pods)
    assert counts == [6, 36, 216, 1296, 1296]


def test_a_delay_of_scale_in_keeps_the_highest_of_its_window() -> None:
    """TestAutoscalerScaleDownDelay, both parts: five minutes."""
    policy = kpa(10, delay_s=300.0, threshold=100.0)
    looks = [(2, 40.0, 4), (300, 0.0, 4), (302, 0.0, 0), (540, 40.0, 4), (600, 30.0, 4), (660, 0.0, 4), (840, 0.0, 3)]
    state = CALM
    for at_s, load, wanted in [*looks, (900, 0.0, 0)]:
        pods, state = policy.scale(float(at_s), 0, load, load, state)
        assert pods == wanted, at_s


def test_a_start_with_several_pods_is_one_in_panic() -> None:
    """TestStartInPanicMode: 0 and 1 ready pods begin calmly, 2 in panic with two pods kept."""
    for ready in (0, 1):
        assert kpa(100, threshold=220.0).scale(0.0, ready, 10.0, 10.0, KnativeState())[1].panic_at_s is None
    pods, state = kpa(100, threshold=220.0).scale(0.0, 2, 10.0, 10.0, KnativeState())
    assert (pods, state.panic_at_s) == (2, 0.0)


def test_the_defaults_aim_at_seventy_requests_a_pod_and_average_over_both_windows() -> None:
    """pkg/autoscaler/config: 100 requests at 70 %, windows of 60 s and 6 s; a burst of 6 s is panic."""
    policy, cpu = KnativePolicy(OBJECTIVE), WorkerType("cpu", max_workers=64)
    assert policy.target == pytest.approx(70.0)
    state = policy.initial()
    for look in range(34):
        lag = 70 if look < 30 else 700
        seen = Observation(
            "p",
            2.0 * look,
            4,
            None,
            {0: lag},
            FleetStatus({"cpu": 1}, {"cpu": 1}),
            None,
            workers={"cpu": TypeStatus(1)},
        )
        decision, state = policy.decide(seen, (cpu,), state)
        if look == 29:
            assert (decision.fleet["cpu"], decision.bound) == (1, "plan")
    assert (decision.fleet["cpu"], decision.bound) == (10, "panic")
