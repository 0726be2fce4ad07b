"""The text-book policies against the formulas they stand for, and what all rivals read off an observation."""

from __future__ import annotations

import dataclasses
import math

import pytest

from autoscaler.model import ArrivalHistory, FleetStatus, Objective, Observation, ServiceCurve, TypeStatus, WorkerType
from autoscaler.policies import registry, rival
from autoscaler.policies.textbook import highest_rate
from autoscaler.queueing import erlang

OBJECTIVE = Objective(1.0, 0.99)
CPU = WorkerType("cpu", max_workers=64, price_per_hour=2.0, curve=ServiceCurve(0.015, 0.005, 16))
CAPACITY = CPU.curve.capacity_per_s


def seen(counts: list[float | None], lag: int | None = 0) -> Observation:
    """With that history, oldest first, and that lag on one of two partitions."""
    backlog = None if lag is None else {0: lag, 1: 0}
    fleet = FleetStatus({"cpu": 4}, {"cpu": 5})
    history = ArrivalHistory.of(1000.0, counts)
    return Observation(
        "p", 1000.0, 2, None, backlog, fleet, None, workers={"cpu": TypeStatus(3, (990.0,))}, history=history
    )


@pytest.mark.parametrize(
    ("load", "beta", "workers"), [(4.0, 1.0, 6), (9.0, 1.0, 12), (9.0, 0.5, 11), (0.0, 1.0, 1), (16.0, 2.0, 24)]
)
def test_square_root_staffing_is_its_formula(load: float, beta: float, workers: int) -> None:
    """R + beta sqrt R for the mean rate of the last minute, whatever was before; never below the least fleet."""
    policy = registry.build("square-root", OBJECTIVE, beta=beta)
    counts: list[float | None] = [*[5000.0] * 60, *[load * CAPACITY] * 60]
    decision, _ = policy.decide(seen(counts), (CPU,), policy.initial())
    assert decision.fleet["cpu"] == workers
    assert decision.price_per_hour == 2.0 * workers


def test_pooled_erlang_is_the_fewest_servers_of_one_queue() -> None:
    """For the highest ten seconds of the last minute; 8 workers' worth need 9 pooled servers."""
    policy = registry.build("pooled-erlang", OBJECTIVE)
    counts: list[float | None] = [*[4 * CAPACITY] * 80, *[8 * CAPACITY] * 10, *[4 * CAPACITY] * 30]
    decision, _ = policy.decide(seen(counts), (CPU,), policy.initial())
    wait_s = 1.0 - CPU.curve.seconds(16)
    assert decision.fleet["cpu"] == 9 == erlang.servers_for_wait(8 * CAPACITY, CAPACITY, wait_s, 0.99, most=20)
    assert highest_rate(seen(counts)) == pytest.approx(8 * CAPACITY)


def test_an_objective_that_no_pooled_queue_meets_asks_for_all() -> None:
    """A full batch alone takes longer than the objective."""
    policy = registry.build("pooled-erlang", Objective(0.05, 0.99))
    assert policy.decide(seen([10.0] * 60), (CPU,), policy.initial())[0].fleet["cpu"] == 64


def test_seconds_that_are_not_known_are_no_silence() -> None:
    """The mean and the maximum are those of what is known; nothing known is no rate."""
    half: list[float | None] = [None if second % 2 else 30.0 for second in range(60)]
    assert rival.arrival_rate(seen(half), 60.0) == pytest.approx(30.0)
    assert highest_rate(seen(half)) == pytest.approx(30.0)
    assert rival.arrival_rate(seen([None] * 60), 60.0) is None
    assert highest_rate(seen([None] * 60)) is None
    assert rival.arrival_rate(seen([*[100.0] * 50, *[10.0] * 10]), 10.0) == pytest.approx(10.0)


def test_records_in_flight_are_the_lag_without_its_floor() -> None:
    """100/s and commits each second: 50 of a lag of 80 are answered and only wait for their commit."""
    assert rival.in_flight(seen([100.0] * 60, 80), 1.0) == pytest.approx(30.0)
    assert rival.in_flight(seen([100.0] * 60, 80), 5.0) == 0.0
    assert rival.in_flight(seen([100.0] * 60, None), 1.0) is None


def test_the_group_is_what_the_actuator_and_the_reports_say() -> None:
    """Declared, alive and ready; without the actuator's word those that report, and never none by mistake."""
    assert rival.group(seen([1.0]), (CPU,)) == rival.Group(CPU, 4, 5, 3)
    alone = dataclasses.replace(seen([1.0]), fleet=None)
    assert rival.group(alone, (CPU,)) == rival.Group(CPU, 4, 4, 3)
    blind = dataclasses.replace(alone, workers={})
    assert rival.group(blind, (dataclasses.replace(CPU, min_workers=2),)).declared == 2


def test_safety_below_zero_is_refused() -> None:
    """It would be fewer workers than the load."""
    with pytest.raises(ValueError, match="beta=-1"):
        registry.build("square-root", OBJECTIVE, beta=-1.0)
    assert math.isclose(registry.build("square-root", OBJECTIVE).tick_s, 10.0)
