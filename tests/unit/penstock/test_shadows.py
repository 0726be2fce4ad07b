"""Shadow policies: counted beside the policy in charge, and never in its way."""

from __future__ import annotations

import dataclasses
import logging
import threading
from typing import TYPE_CHECKING, Any

import pytest

from autoscaler.model import ArrivalSample, Decision, FleetStatus, Objective, ServiceCurve, WorkerType
from autoscaler.policies.static import StaticPolicy
from autoscaler.redis_store import MetricsStore
from autoscaler.settings import PolicySettings
from penstock.autoscaler_settings import MOST_SHADOWS, AutoscalerSettings
from penstock.deciding import Deciding, Look
from penstock.explaining import explanation, words
from penstock.shadows import Shadows

if TYPE_CHECKING:
    from collections.abc import Callable

    from autoscaler.model import Observation

START_S = 1_795_612_300.0
CPU = WorkerType("cpu", "emulated", 0.5, 1, 8, ServiceCurve(0.02, 0.02, 8), 4.0)
POLICY, OBJECTIVE = PolicySettings(), Objective(1.0, 0.99)


class Kept(MetricsStore):
    """A store that keeps what shadows write."""

    def __init__(self) -> None:
        super().__init__(None, "p")
        self.written: list[tuple[str, Decision | None, dict[str, Any]]] = []

    def record_shadow(self, name: str, observation: Observation, decision: Decision | None, more: Any) -> None:
        """Keep it."""
        assert observation.pipeline == "p"
        self.written.append((name, decision, dict(more)))


class Live:
    """A policy in charge, second by second."""

    def __init__(self, *rules: str) -> None:
        self.store = Kept()
        self.shadows = Shadows(rules, OBJECTIVE, POLICY, self.store)
        self._deciding = Deciding("p", POLICY, [CPU], OBJECTIVE, "static:workers=3")
        self._offset = 0

    def second(self, at_s: float) -> tuple[Look, Decision]:
        """One decision, watched."""
        self._offset += 1
        ends = {0: 10 * self._offset, 1: 10 * self._offset}
        status = FleetStatus({"cpu": 3}, {"cpu": 3})
        sample = ArrivalSample("p", START_S + at_s, ends, dict(ends), status)
        self._deciding.fold(sample, self._offset)
        look = self._deciding.look(sample, self._offset)
        decision = self._deciding.conclude(look)
        self.shadows.watch(look, decision)
        return look, decision

    def settled(self) -> None:
        """What was watched has been looked at."""
        self.shadows._thread.submit(lambda: None).result()

    def each(self, seconds: range) -> None:
        """One after the other, none missed."""
        for at_s in seconds:
            self.second(at_s)
            self.settled()


def test_a_shadow_is_counted_beside_the_policy_in_charge() -> None:
    """Decisions, differences, and what either fleet has cost; gaps in which nobody decided cost nothing."""
    live = Live("static:workers=2", "static:workers=3")
    live.each(range(11))
    live.each(range(1000, 1011))
    smaller, same = live.shadows.standings()
    live.shadows.close()
    assert (smaller.name, smaller.decisions, smaller.differed) == ("static:workers=2", 22, 22)
    assert (same.decisions, same.differed) == (22, 0)
    assert smaller.cost == pytest.approx(20 * 2 * 0.5 / 3600)
    assert smaller.live_cost == same.cost == pytest.approx(20 * 3 * 0.5 / 3600)
    assert (smaller.price_per_hour, smaller.live_price_per_hour) == (1.0, 1.5)
    assert smaller.since_s == START_S
    assert smaller.decision is not None
    assert smaller.decision.fleet == {"cpu": 2}
    # Shown the fleet that is there: it would shrink it anew each time that it decides.
    assert [decision.fleet for _, decision, _ in live.store.written[:2] if decision] == [{"cpu": 2}, {"cpu": 3}]


def test_a_take_over_begins_anew() -> None:
    """What was counted belongs to the decider before."""
    live = Live("static:workers=2")
    live.each(range(5))
    live.shadows.begin()
    live.each(range(100, 102))
    live.shadows.close()
    (one,) = live.shadows.standings()
    assert (one.decisions, one.since_s) == (2, START_S + 100)


def test_one_that_raises_is_given_up_and_told_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The other goes on, and so does the policy in charge; its last figures stand, with the reason."""
    decide, calls = StaticPolicy.decide, []

    def broken(self: StaticPolicy, *arguments: Any) -> Any:
        if self.workers == 7:
            calls.append(1)
            raise ZeroDivisionError("no worker")
        return decide(self, *arguments)

    monkeypatch.setattr(StaticPolicy, "decide", broken)
    live = Live("static:workers=7", "static:workers=2")
    with caplog.at_level(logging.ERROR):
        live.each(range(5))
    live.shadows.close()
    failed, other = live.shadows.standings()
    assert failed.failed == "ZeroDivisionError: no worker"
    assert (failed.decisions, other.decisions, other.failed) == (0, 5, None)
    assert len(calls) == 1
    assert [record.message for record in caplog.records] == ["autoscaler.shadow_failed"]
    told = [more["shadow_failed"] for name, _, more in live.store.written if name == failed.name]
    assert told == ["ZeroDivisionError: no worker"]


def test_one_that_is_slow_delays_nothing_and_misses_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """It looks at the newest observation when it is done, not at all that it missed."""
    gate, inside = threading.Event(), threading.Event()
    decide = StaticPolicy.decide

    def slow(self: StaticPolicy, *arguments: Any) -> Any:
        if self.workers == 7:
            inside.set()
            assert gate.wait(20)
        return decide(self, *arguments)

    monkeypatch.setattr(StaticPolicy, "decide", slow)
    live = Live("static:workers=7")
    live.second(0)
    assert inside.wait(20)
    for at_s in range(1, 50):
        live.second(at_s)
    assert live.shadows.standings()[0].decisions == 0
    gate.set()
    live.settled()
    live.shadows.close()
    (one,) = live.shadows.standings()
    assert one.decisions == 2
    assert one.live is not None
    assert one.live.at_s == START_S + 49


def test_after_the_end_nothing_is_asked() -> None:
    """A decision that comes while the process ends raises nothing."""
    live = Live("static:workers=2")
    live.shadows.close()
    live.second(0)
    assert live.shadows.standings()[0].decisions == 0


def test_a_shadow_is_told_side_by_side() -> None:
    """`penstock explain --shadow`: both fleets, prices, how often they differed, cost so far, and what it assumes."""
    from autoscaler import redis_fields  # noqa: PLC0415

    live = Live("static:workers=2")
    live.each(range(3))
    look, _ = live.second(3)
    live.settled()
    live.shadows.close()
    (one,) = live.shadows.standings()
    assert one.decision is not None
    lines = dict(words(explanation(redis_fields.decision_entry(look.observation, one.decision, one.fields()))))
    assert lines["Beside"] == "in charge: 3 cpu at 1.5 an hour; shadow: 2 cpu at 1 an hour"
    assert "another fleet in 4 of 4 decisions since 2026-11-25 13:11:40.000 UTC" in lines["Cost so far"]
    assert "shown the fleet and backlog that are there" in lines["Mind"]
    assert lines["By"] == "policy static:workers=2"
    # A decision of the policy in charge has nothing beside it.
    assert "Beside" not in dict(words(explanation(redis_fields.decision_entry(look.observation, one.decision, {}))))


@pytest.mark.parametrize(
    ("shadow", "said"),
    [
        (("oracle",), "autoscaler.shadow='oracle': use one of"),
        (("keda", "keda"), "name each once"),
        (tuple(f"static:workers={n}" for n in range(MOST_SHADOWS + 1)), f"at most {MOST_SHADOWS}"),
    ],
)
def test_settings_refuse_what_makes_no_sense(shadow: tuple[str, ...], said: str) -> None:
    """Field, value, cure."""
    with pytest.raises(ValueError, match=said):
        AutoscalerSettings(shadow=shadow)


def test_a_shadow_that_says_no_fleet_is_given_up_and_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """A candidate may return anything."""
    decide: Callable[..., Any] = StaticPolicy.decide

    def odd(self: StaticPolicy, *arguments: Any) -> Any:
        decision, state = decide(self, *arguments)
        return (dataclasses.replace(decision, fleet=None) if self.workers == 7 else decision), state

    monkeypatch.setattr(StaticPolicy, "decide", odd)
    live = Live("static:workers=7")
    live.each(range(2))
    live.shadows.close()
    assert live.shadows.standings()[0].failed is not None
    assert [decision for _, decision, _ in live.store.written] == [None]
