"""Ray Serve's delays and factors as its own tests state them.

Source: ray-project/ray python/ray/serve/tests/unit/test_autoscaling_policy.py (TestReplicaQueueLengthPolicy); the
time-weighted mean from the tests of python/ray/serve/_private/metrics_utils.py.
"""

from __future__ import annotations

import pytest

from autoscaler.model import FleetStatus, Objective, Observation, TypeStatus, WorkerType
from autoscaler.policies.ray_serve import RayServePolicy, RayServeState, time_weighted_mean

OBJECTIVE = Objective()


def ray(**parameters: float) -> RayServePolicy:
    """With these parameters instead of the defaults."""
    return RayServePolicy(OBJECTIVE, **parameters)  # type: ignore[arg-type] # numbers only


def test_from_zero_replicas_the_factor_is_taken_at_once() -> None:
    """test_scaling_factor_scale_up_from_0_replicas: factor 10 gives 10, factor 0.5 gives 1."""
    assert ray(upscaling_factor=10.0).wanted(1.0, 0, 0) == 10
    assert ray(upscaling_factor=0.5).wanted(1.0, 0, 0) == 1
    assert ray().wanted(0.0, 0, 0) == 0


def test_a_small_factor_does_not_get_stuck_on_the_way_down() -> None:
    """test_scaling_factor_scale_down_to_0_replicas: factor 0.2 reaches 0 from 5 within five looks."""
    policy, replicas = ray(downscaling_factor=0.2, downscale_delay_s=0.0, upscale_delay_s=0.0), 5
    for _ in range(5):
        replicas, _ = policy.delayed(0.0, policy.wanted(0.0, replicas, replicas), replicas, replicas, RayServeState())
    assert replicas == 0


def test_zero_is_reached_from_one_only() -> None:
    """The same test: a factor of 10 asks for less than 0 from 5, and stops at 1 first."""
    policy = ray(downscaling_factor=10.0, downscale_delay_s=0.0)
    wanted = max(0, policy.wanted(0.0, 5, 5))
    assert policy.delayed(0.0, wanted, 5, 5, RayServeState())[0] == 1
    assert policy.delayed(0.0, 0, 1, 1, RayServeState())[0] == 0


def looks(
    policy: RayServePolicy, state: RayServeState, start: int, wanted: int, target: int
) -> tuple[int, int, RayServeState]:
    """Looks ten times a second until something is done: (looks without it, the count, the state)."""
    for look in range(100_000):
        count, state = policy.delayed((start + look) / 10, wanted, target, target, state)
        if count != target:
            return look, count, state
    raise AssertionError("nothing was done")


def test_delays_and_their_interruption() -> None:
    """test_upscale_downscale_delay: 300 looks before 1 -> 2, 6000 before 2 -> 1; the other direction begins anew."""
    policy, state = ray(target_ongoing_requests=1.0), RayServeState()
    waited, count, state = looks(policy, state, 0, 2, 1)
    assert (waited, count) == (300, 2)
    waited, count, state = looks(policy, state, 1000, 0, 2)
    assert (waited, count) == (6000, 1)
    for look in range(150):
        _, state = policy.delayed(1000 + look / 10, 2, 1, 1, state)
    _, state = policy.delayed(1015.0, 0, 1, 1, state)
    waited, count, state = looks(policy, state, 10_160, 2, 1)
    assert (waited, count) == (300, 2)


def test_replicas_that_start_are_not_asked_for_twice() -> None:
    """test_replicas_delayed_startup: 100, 100 while they start, 123 for more requests, and no less within the delay."""
    policy, state = ray(target_ongoing_requests=1.0, upscale_delay_s=0.0, downscale_delay_s=100_000.0), RayServeState()
    target, counts = 1, []
    for at_s, (ongoing, running) in enumerate(((100, 1), (100, 1), (123, 3), (10, 4))):
        target, state = policy.delayed(float(at_s), policy.wanted(ongoing, running, target), target, running, state)
        counts.append(target)
    assert counts == [100, 100, 123, 123]


@pytest.mark.parametrize(("delay_s", "changes"), [(30.0, False), (0.0, True)])
def test_requests_that_go_up_and_down_change_nothing_within_the_delay(delay_s: float, changes: bool) -> None:
    """test_fluctuating_ongoing_requests: 100 with one replica, 40 with two, 50 a replica."""
    policy = ray(target_ongoing_requests=50.0, upscale_delay_s=delay_s, downscale_delay_s=delay_s)
    state = RayServeState()
    for trial in range(1000):
        ongoing, replicas, other = (100, 1, 2) if trial % 2 == 0 else (40, 2, 1)
        count, state = policy.delayed(trial / 10, policy.wanted(ongoing, replicas, replicas), replicas, replicas, state)
        assert count == (other if changes else replicas)


@pytest.mark.parametrize("ongoing", [20, 100, 10])
def test_requests_on_one_replica_count_like_any(ongoing: int) -> None:
    """test_single_replica_receives_all_requests: 5 a replica, four replicas."""
    policy = ray(target_ongoing_requests=5.0, upscale_delay_s=0.0, downscale_delay_s=0.0)
    assert policy.delayed(0.0, policy.wanted(ongoing, 4, 4), 4, 4, RayServeState())[0] == ongoing // 5


def test_the_mean_holds_each_value_until_the_next() -> None:
    """metrics_utils.time_weighted_average: 8 through 0.6 s, 10 through 0.1 s, 11 through 0.5 s, 15, then 14."""
    seen = ((0.2, 8.0), (0.8, 10.0), (0.9, 11.0), (1.4, 15.0), (1.5, 14.0))
    expected = (8 * 0.6 + 10 * 0.1 + 11 * 0.5 + 15 * 0.1 + 14 * 0.5) / 1.8
    assert time_weighted_mean(seen, 0.2, 2.0) == pytest.approx(expected)


def test_the_defaults_ask_for_one_replica_to_two_requests_after_half_a_minute() -> None:
    """config.py: 2 ongoing requests, 30 s up. The mean passes 30 s too, so a step is answered with its value then."""
    policy, cpu, state = RayServePolicy(OBJECTIVE), WorkerType("cpu", max_workers=64), RayServeState()
    done: tuple[int, int] | None = None
    for second in range(60):
        lag = 2 if second < 10 else 20
        fleet = FleetStatus({"cpu": 1}, {"cpu": 1})
        seen = Observation("p", float(second), 4, None, {0: lag}, fleet, None, workers={"cpu": TypeStatus(1)})
        decision, state = policy.decide(seen, (cpu,), state)
        if done is None and decision.fleet["cpu"] > 1:
            done = (second, decision.fleet["cpu"])
    # Asked for from the first second after the step on; applied 30 s later, when the mean is nearly the new value.
    assert done == (41, 10)
