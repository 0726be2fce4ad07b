"""Policies other than Penstock's own on the tape of a live pipeline."""

from __future__ import annotations

import pytest

from autoscaler.errors import UnknownPolicy
from autoscaler.model import Action, ArrivalSample, Claim, FleetStatus, Objective, ServiceCurve, WorkerType
from autoscaler.settings import PolicySettings
from penstock.deciding import Deciding

TYPE = WorkerType(curve=ServiceCurve(0.02, 0.02, 16), boot_s=3.0)
START_S = 1_700_000_000.0


def _deciding(rule: str) -> Deciding:
    return Deciding("p", PolicySettings(), [TYPE], Objective(1.0, 0.99), rule)


def _sample(second: float, lag: int, workers: int) -> ArrivalSample:
    fleet = {"cpu": workers}
    return ArrivalSample("p", START_S + second, {0: 1000, 1: 1000}, {0: 1000 - lag, 1: 1000}, FleetStatus(fleet, fleet))


def test_a_slower_policy_keeps_its_own_pace() -> None:
    """KEDA's HPA looks every 15 s: samples in between, early or late by a little, repeat its last word."""
    deciding = _deciding("keda")
    made = []
    for offset, second in enumerate([0, 1.02, 2.0, 14.4, 14.6, 15.6, 29.9]):
        sample = _sample(second, lag=12 if second < 2 else 100, workers=1)
        deciding.fold(sample, offset)
        made.append(deciding.conclude(deciding.look(sample)))
    # The HPA at most doubles, or goes to 4; and 100 records at 10 a replica are capped by the two partitions.
    assert [one.fleet["cpu"] for one in made] == [2, 2, 2, 2, 2, 2, 2]
    assert [one.bound for one in made] == ["plan", "pace", "pace", "pace", "plan", "pace", "plan"]
    assert [one.action for one in made[:3]] == [Action.SCALE_UP, Action.HOLD, Action.HOLD]
    assert made[1].at_s == START_S + 1.02
    assert made[1].reason.startswith("keda decides again in 14 s; last: cpu 1 -> 2: lag 12")


def test_a_clock_set_back_is_no_reason_to_wait() -> None:
    """Else the fleet would stand still until the old time has come again."""
    deciding = _deciding("keda")
    bounds = []
    for offset, second in enumerate([0.0, -3600.0]):
        sample = _sample(second, lag=0, workers=1)
        deciding.fold(sample, offset)
        bounds.append(deciding.conclude(deciding.look(sample)).bound)
    assert "pace" not in bounds


def test_a_restart_remembers_what_the_policy_remembers() -> None:
    """KEDA keeps the highest count of five minutes: one that starts anew would let go at once."""
    lived, tape = _deciding("keda"), []
    for offset, second in enumerate(range(200)):
        sample = _sample(second, lag=100 if second < 20 else 0, workers=2)
        lived.fold(sample, offset)
        tape.append((offset, sample))
        lived.conclude(lived.look(sample))
    restarted, new = _deciding("keda"), _deciding("keda")
    restarted.replay(tape, [], Claim("p", "me", START_S + 200), 500)
    after = _sample(214, lag=0, workers=2)
    found = []
    for deciding in (lived, restarted, new):
        deciding.fold(after, 600)
        found.append(deciding.conclude(deciding.look(after)))
    assert found[0] == found[1]
    assert [one.fleet["cpu"] for one in found] == [2, 2, 2]
    much_later = _sample(230, lag=0, workers=2)
    restarted.fold(much_later, 700)
    assert restarted.conclude(restarted.look(much_later)).bound == "hysteresis"


def test_an_unknown_policy_is_refused_before_anything_is_decided() -> None:
    """With the names that there are."""
    with pytest.raises(UnknownPolicy, match="'kedda' is not known: use one of penstock, static"):
        _deciding("kedda")
    with pytest.raises(UnknownPolicy, match="keda has no parameter 'lag': it has lag_threshold"):
        _deciding("keda:lag=3")
