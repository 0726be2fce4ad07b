"""Decisions as a time table: what is known at a time, and what is to be done."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from autoscaler.errors import NoWorkerTypes
from autoscaler.model import (
    Action,
    ArrivalSample,
    Control,
    Decision,
    FleetStatus,
    Objective,
    Observation,
    ServiceCurve,
    WorkerReport,
    WorkerState,
    WorkerType,
)
from autoscaler.pipeline_state import PipelineState
from autoscaler.policies.penstock import PolicyState, decide
from autoscaler.settings import PolicySettings

if TYPE_CHECKING:
    from collections.abc import Iterable

T0 = 1_700_000_000.0
CPU = WorkerType("cpu", "emulated", 0.1, 1, 8, ServiceCurve(0.02, 0.02, 8), 3.0)
#: The reactive rule alone: foresight is in test_foresight.py.
SETTINGS = PolicySettings(scale_in_patience_s=30.0, foresight_s=1e9)
OBJECTIVE = Objective(1.0, 0.99)


class Script:
    """Feeds a pipeline of 12 partitions second by second; the fleet obeys at once and is ready 3 s later."""

    def __init__(self, settings: PolicySettings = SETTINGS, declared: int | None = 1, *, obeys: bool = True) -> None:
        self.settings, self.obeys = settings, obeys
        self.known = PipelineState("p", settings, (CPU,))
        self.policy = PolicyState()
        self.now = 0
        self.total = 0
        self.declared = declared
        self.born = [-100.0] * (declared or 0)
        self.control: Control | None = None
        self.waiting = 0
        #: Instead of what the reports say.
        self.rebalanced_at_s: float | None = None

    def second(self, per_s: int, *, sampled: bool = True) -> Decision:
        """One second with so many arrivals, spread evenly, all but `waiting` answered; then one decision."""
        self.now += 1
        self.total += per_s
        at_s = T0 + self.now
        ends = {p: self.total // 12 + (p < self.total % 12) for p in range(12)}
        committed: dict[int, int | None] = {p: max(0, end - self.waiting // 12) for p, end in ends.items()}
        for slot, born in enumerate(self.born):
            self.known.apply(report(slot, at_s, T0 + born))
        fleet = None if self.declared is None else FleetStatus({"cpu": self.declared}, {"cpu": self.declared})
        if sampled:
            self.known.apply(ArrivalSample("p", at_s, ends, committed, fleet, self.control))
        seen = self.known.observe(at_s)
        if self.rebalanced_at_s is not None:
            seen = dataclasses.replace(seen, rebalanced_at_s=self.rebalanced_at_s)
        decision, self.policy = decide(seen, self.settings, self.known.worker_types(), OBJECTIVE, self.policy)
        if self.obeys and not decision.advisory:
            self.declared = decision.fleet["cpu"]
            self.born = self.born[: self.declared] + [float(self.now)] * (self.declared - len(self.born))
        return decision

    def play(self, seconds: int, per_s: int) -> list[Decision]:
        """So many seconds of the same load."""
        return [self.second(per_s) for _ in range(seconds)]


def report(slot: int, at_s: float, born_at_s: float) -> WorkerReport:
    """A worker started at `born_at_s` that is ready 3 s later."""
    ready = at_s >= born_at_s + 3
    return WorkerReport(
        pipeline="p",
        worker=f"p-cpu-{slot}",
        worker_type="cpu",
        device="emulated",
        at_s=at_s,
        pid=1,
        host="h",
        state=WorkerState.READY if ready else WorkerState.STARTING,
        asked_at_s=born_at_s,
        ready_at_s=born_at_s + 3 if ready else None,
        partitions=(),
        batches=0,
        rows=0,
        ok=0,
        failed=0,
        expired=0,
        busy_s=0.0,
        curve=None,
        latency_counts=(),
        rebalances=0,
        retraces=0,
        model_version="1",
    )


def changes(decisions: Iterable[Decision]) -> list[tuple[int, Action, int]]:
    """(second, action, workers) of the decisions that change something."""
    quiet = (Action.HOLD, Action.NO_DATA)
    return [(round(d.at_s - T0), d.action, d.fleet["cpu"]) for d in decisions if d.action not in quiet]


def test_quiet_load_keeps_the_smallest_fleet() -> None:
    """20/s on one worker of 44/s: nothing is done for two minutes, and the plan says why."""
    decisions = Script().play(120, 20)
    assert changes(decisions) == []
    assert decisions[-1].bound == "plan"
    assert decisions[-1].plan is not None
    assert decisions[-1].plan.workers == 1


def test_a_step_is_met_in_one_decision_within_two_seconds() -> None:
    """20/s to 100/s: at most two seconds later the final count is decided, and not decided again."""
    script = Script()
    script.play(60, 20)
    script.waiting = 100
    done = changes(script.play(10, 100))
    assert len(done) == 1
    second, action, workers = done[0]
    assert second <= 62
    assert action is Action.SCALE_UP
    assert workers >= 3


def test_workers_under_way_are_waited_for() -> None:
    """While the new workers start, the decision holds and says `starting`."""
    script = Script()
    script.play(60, 20)
    decisions = script.play(5, 100)
    grown = next(n for n, d in enumerate(decisions) if d.action is Action.SCALE_UP)
    assert [d.bound for d in decisions[grown + 1 : grown + 3]] == ["starting", "starting"]


def test_more_is_asked_for_when_the_load_goes_on_growing_during_the_start() -> None:
    """A second step while workers start is not waited out."""
    script = Script()
    script.play(60, 20)
    first = changes(script.play(2, 100))
    second = changes(script.play(3, 300))
    assert first[-1][2] < second[-1][2]


def test_a_ramp_is_met_ahead_of_saturation() -> None:
    """From 20/s by 1/s each second: the second worker is asked for before one worker's 44/s are reached."""
    script = Script()
    script.play(40, 20)
    decisions = [script.second(20 + t) for t in range(40)]
    second, action, _ = changes(decisions)[0]
    assert action is Action.SCALE_UP
    assert 20 + (second - 40) < 44


def test_the_fleet_shrinks_only_after_patience_and_in_one_rebalance() -> None:
    """After a step down from 100/s to 20/s nothing happens for 30 s, and then the fleet is one."""
    script = Script()
    script.play(30, 100)
    script.play(60, 100)
    before = script.declared
    decisions = script.play(80, 20)
    done = changes(decisions)
    assert before is not None
    assert before >= 3
    assert [action for _, action, _ in done] == [Action.SCALE_DOWN] * len(done)
    assert done[0][0] >= 90 + 30
    assert done[-1][2] == 1
    assert {d.bound for d in decisions[10:25]} == {"hysteresis"}


def test_a_need_within_the_patience_begins_it_anew() -> None:
    """Bursts every 20 s keep the fleet that they need."""
    script = Script()
    for _ in range(4):
        script.play(10, 100)
        decisions = script.play(10, 20)
        assert all(d.action is not Action.SCALE_DOWN for d in decisions)


def test_before_any_data_there_is_the_smallest_fleet() -> None:
    """Nothing known at all: the minimum, named no data."""
    decision, _ = decide(Observation("p", T0, 0, None, None, None, None), SETTINGS, (CPU,), OBJECTIVE, PolicyState())
    assert (decision.action, decision.bound, decision.fleet) == (Action.NO_DATA, "no-data", {"cpu": 1})


def test_losing_sight_keeps_the_fleet() -> None:
    """When samples stop, the five workers stay for as long as it takes, and patience begins anew afterwards."""
    script = Script(declared=5)
    script.play(10, 20)
    blind = [script.second(20, sampled=False) for _ in range(100)]
    assert {d.fleet["cpu"] for d in blind} == {5}
    assert blind[-1].action is Action.NO_DATA
    seeing = script.play(28, 20)
    assert all(d.action in (Action.HOLD, Action.NO_DATA) for d in seeing)


def test_what_ran_while_nobody_looked_may_have_been_needed() -> None:
    """Foresight finds five workers where one would do: it keeps them for a patience of its own, and then one."""
    script = Script(PolicySettings(foresight_s=20.0), declared=5)
    decisions = script.play(60, 20)
    assert [(d.bound, d.fleet["cpu"]) for d in decisions[20:30]] == [("plan", 5)] * 10
    assert decisions[-1].fleet["cpu"] == 1


def test_an_unknown_fleet_is_not_shrunk() -> None:
    """When the actuator's word is missing, ready workers are what is there."""
    script = Script(declared=None, obeys=False)
    script.born = [-100.0] * 4
    decisions = script.play(5, 20)
    assert all(d.fleet["cpu"] == 4 for d in decisions)


@pytest.mark.parametrize(
    ("control", "workers", "bound"),
    [
        (Control(min_workers=3), 3, "control"),
        (Control(max_workers=2), 2, "control"),
        (Control(paused=True), 1, "paused"),
        (Control(), 3, "plan"),
    ],
)
def test_a_person_is_obeyed(control: Control, workers: int, bound: str) -> None:
    """Minimum, maximum and pause win over the plan, and the decision says so."""
    script = Script()
    script.control = control
    decisions = script.play(20, 20 if control.min_workers else 100)
    assert decisions[-1].fleet == {"cpu": workers}
    assert bound in {d.bound for d in decisions[5:]}


def test_a_lowered_maximum_shrinks_at_once() -> None:
    """A person's limit has no patience."""
    script = Script(declared=6)
    script.play(5, 20)
    script.control = Control(max_workers=2)
    decision = script.second(20)
    assert (decision.action, decision.fleet["cpu"], decision.bound) == (Action.SCALE_DOWN, 2, "control")


def test_advice_is_said_and_not_remembered_as_done() -> None:
    """In advisory mode the decision asks for workers again and again, since nobody starts them."""
    script = Script()
    script.control = Control(advisory=True)
    decisions = script.play(20, 100)
    assert decisions[-1].advisory
    assert decisions[-1].action is Action.SCALE_UP
    assert script.declared == 1


def test_the_partition_count_is_the_ceiling() -> None:
    """More load than 12 partitions carry, with a maximum above: 12 and `partitions`."""
    wide = dataclasses.replace(CPU, max_workers=99)
    script = Script()
    script.play(10, 2000)
    decision, _ = decide(script.known.observe(T0 + script.now), SETTINGS, (wide,), OBJECTIVE, PolicyState())
    assert decision.fleet == {"cpu": 12}
    assert decision.plan is not None
    assert "not even 12" in decision.reason


def test_a_sample_from_before_the_decision_does_not_repeat_it() -> None:
    """A scale-up that the newest sample cannot know of yet is not counted twice."""
    script = Script()
    script.play(60, 20)
    up = next(d for d in (script.second(100) for _ in range(4)) if d.action is Action.SCALE_UP)
    again, _ = decide(
        script.known.observe(up.at_s + 0.4), SETTINGS, script.known.worker_types(), OBJECTIVE, script.policy
    )
    assert (again.action, again.fleet) == (Action.HOLD, up.fleet)


def test_other_worker_types_are_left_as_they_are() -> None:
    """A declared GPU worker stays in the fleet that is declared."""
    script = Script()
    script.play(5, 20)
    seen = dataclasses.replace(
        script.known.observe(T0 + 5), fleet=FleetStatus({"cpu": 1, "gpu": 1}, {"cpu": 1, "gpu": 1})
    )
    decision, _ = decide(seen, SETTINGS, (CPU,), OBJECTIVE, PolicyState())
    assert decision.fleet == {"cpu": 1, "gpu": 1}


def test_each_decision_is_priced_and_has_its_alternative() -> None:
    """One worker at 0.1 an hour; the next that helps would be two."""
    decision = Script().play(20, 20)[-1]
    assert decision.price_per_hour == pytest.approx(0.1)
    assert decision.runner_up == {"cpu": 2}
    assert decision.runner_up_price_per_hour == pytest.approx(0.2)


def test_the_reason_holds_the_numbers() -> None:
    """Load, share, capacity and objective stand in the sentence."""
    reason = Script().play(20, 20)[-1].reason
    for part in ("21.", "100.0%", "44.4/s", "0.99 within 1 s", "40.0/s"):
        assert part in reason


def test_the_backlog_of_our_own_rebalance_is_not_load() -> None:
    """Right after a rebalance as many records as one pause holds up are masked; a minute later they would count."""
    masked, counted = Script(), Script()
    for script in (masked, counted):
        script.settings = dataclasses.replace(SETTINGS, rebalance_pause_s=2.0, drain_s=1.0)
        script.play(30, 30)
    masked.rebalanced_at_s = T0 + masked.now
    masked.waiting = counted.waiting = 72
    assert masked.second(30).fleet["cpu"] == 1
    assert counted.second(30).fleet["cpu"] > 1


def test_a_reserve_is_kept_beyond_the_need_and_priced() -> None:
    """One worker is enough for 20/s: with a reserve of 2 there are three, no more with time, and the price is told."""
    script = Script(dataclasses.replace(SETTINGS, reserve=2))
    decision = script.play(90, 20)[-1]
    assert decision.fleet == {"cpu": 3}
    assert decision.plan is not None
    assert (decision.plan.workers, decision.plan.reserve) == (3, 2)
    assert (decision.reserve, decision.reserve_price_per_hour) == (2, pytest.approx(0.2))
    assert "2 more in reserve" in decision.reason


def test_of_a_reserve_above_the_maximum_only_what_is_left_is_told() -> None:
    """A person allows 2: one is needed, so one is the reserve."""
    script = Script(dataclasses.replace(SETTINGS, reserve=5))
    script.control = Control(max_workers=2)
    decision = script.play(20, 20)[-1]
    assert (decision.fleet, decision.reserve, decision.bound) == ({"cpu": 2}, 1, "control")


@pytest.mark.parametrize("reserve", [-1, 1_000_000])
def test_a_reserve_out_of_range_is_refused(reserve: int) -> None:
    """Field, value and range."""
    with pytest.raises(ValueError, match=f"reserve={reserve}: must be 0"):
        PolicySettings(reserve=reserve)


def test_no_worker_type_is_an_error_with_a_cure() -> None:
    """There is nothing to scale."""
    with pytest.raises(NoWorkerTypes, match="at least one worker type"):
        decide(Observation("p", T0, 0, None, None, None, None), SETTINGS, (), OBJECTIVE, PolicyState())
