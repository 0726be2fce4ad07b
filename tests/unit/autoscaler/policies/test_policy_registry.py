"""Policies by name: built, refused, and all behind one interface."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from autoscaler.errors import NoWorkerTypes, UnknownPolicy
from autoscaler.model import (
    Action,
    ArrivalHistory,
    Control,
    FleetStatus,
    Objective,
    Observation,
    TypeStatus,
    WorkerType,
)
from autoscaler.policies import registry
from autoscaler.settings import PolicySettings

if TYPE_CHECKING:
    from autoscaler.policies.base import Policy

CPU = WorkerType("cpu", min_workers=1, max_workers=16, price_per_hour=2.0)
GPU = WorkerType("gpu", "gpu:0", min_workers=0, max_workers=4, price_per_hour=8.0)
OBJECTIVE = Objective(1.0, 0.99)
SEEN = Observation(
    pipeline="p",
    at_s=1000.0,
    partitions=12,
    rates=None,
    backlog=dict.fromkeys(range(12), 5),
    fleet=FleetStatus({"cpu": 3, "gpu": 1}, {"cpu": 3, "gpu": 1}),
    control=None,
    workers={"cpu": TypeStatus(3)},
    history=ArrivalHistory.of(1000.0, [20.0] * 120, dict.fromkeys(range(12), 200.0)),
)


def test_a_name_that_is_not_known_is_refused_with_those_that_are() -> None:
    """The error is the list that a person needs."""
    with pytest.raises(UnknownPolicy, match="'kedda' is not known: use one of penstock, static"):
        registry.build("kedda", OBJECTIVE)


def test_a_parameter_that_is_not_known_is_refused_with_those_that_are() -> None:
    """As for names."""
    with pytest.raises(UnknownPolicy, match="static has no parameter 'size': it has workers, tick_s"):
        registry.build("static", OBJECTIVE, size=3)


def test_text_is_read_as_the_type_of_the_default_or_refused() -> None:
    """Parameters come from command lines and files too."""
    policy = registry.build("static", OBJECTIVE, workers="7")
    decision, _ = policy.decide(SEEN, (CPU, GPU), policy.initial())
    assert decision.fleet == {"cpu": 7, "gpu": 1}
    with pytest.raises(UnknownPolicy, match="static: workers='many' is not understood: write a number"):
        registry.build("static", OBJECTIVE, workers="many")


def test_a_fixed_fleet_without_a_size_is_refused() -> None:
    """No number is as good as another."""
    with pytest.raises(ValueError, match=r"give the size of the fleet, e\.g\. workers=8"):
        registry.build("static", OBJECTIVE)


def test_settings_are_those_of_penstock() -> None:
    """Its tick is in them."""
    assert registry.build("penstock", OBJECTIVE, PolicySettings(tick_s=2.0)).tick_s == 2.0
    assert registry.build("static", OBJECTIVE, PolicySettings(tick_s=2.0), workers=1).tick_s == 60.0


def _built(name: str) -> Policy:
    return registry.build(name, OBJECTIVE, **({"workers": 5} if name == "static" else {}))


@pytest.mark.parametrize("name", registry.NAMES)
def test_every_policy_decides_says_why_and_leaves_other_types_alone(name: str) -> None:
    """The whole fleet is declared, with a price and a reason, and the same inputs give the same decision."""
    policy = _built(name)
    assert policy.name == name
    assert policy.tick_s > 0
    decision, _ = policy.decide(SEEN, (CPU, GPU), policy.initial())
    assert decision.fleet["gpu"] == 1
    assert 1 <= decision.fleet["cpu"] <= 16
    assert decision.reason
    again, _ = policy.decide(SEEN, (CPU, GPU), policy.initial())
    assert again == decision


@pytest.mark.parametrize("name", registry.NAMES)
def test_no_data_is_not_no_load(name: str) -> None:
    """With nothing known of arrivals, backlog and workers, the declared fleet stays."""
    policy = _built(name)
    blind = dataclasses.replace(SEEN, backlog=None, history=None, workers={}, partitions=0)
    state = policy.initial()
    for tick in range(4):
        decision, state = policy.decide(
            dataclasses.replace(blind, at_s=1000.0 + tick * policy.tick_s), (CPU, GPU), state
        )
        assert decision.fleet["cpu"] == (5 if name == "static" else 3)
        assert name == "static" or decision.action is Action.NO_DATA


@pytest.mark.parametrize("name", registry.NAMES)
def test_a_person_may_pause_and_bound_every_policy(name: str) -> None:
    """`control` is above all rules."""
    policy = _built(name)
    paused = dataclasses.replace(SEEN, control=Control(paused=True))
    assert policy.decide(paused, (CPU, GPU), policy.initial())[0].fleet["cpu"] == 3
    bounded = dataclasses.replace(SEEN, control=Control(max_workers=2, advisory=True))
    decision, _ = policy.decide(bounded, (CPU, GPU), policy.initial())
    assert decision.fleet["cpu"] <= 2
    assert decision.advisory


@pytest.mark.parametrize("name", registry.NAMES)
def test_without_worker_types_nothing_is_decided(name: str) -> None:
    """A named error, not an IndexError."""
    policy = _built(name)
    with pytest.raises(NoWorkerTypes):
        policy.decide(SEEN, (), policy.initial())
