"""A decision in words, from the fields that stand in Redis."""

from __future__ import annotations

import dataclasses

import pytest

from autoscaler import redis_fields
from autoscaler.model import Action, Decision, FleetStatus, Forecast, HeadRoom, Observation, Plan, Rates, StuckPartition
from penstock.explaining import BOUNDS, explanation, words

AT_S = 1_795_612_304.173608
SEEN = Observation(
    "digits",
    AT_S,
    12,
    Rates(AT_S, 48.0, 4.8, None, {}, None, None, None),
    {0: 20, 1: 4},
    FleetStatus({"cpu": 1}, {"cpu": 1}),
    None,
    p99_s=0.421697,
)
DECISION = Decision(
    pipeline="digits",
    at_s=AT_S,
    action=Action.SCALE_UP,
    fleet={"cpu": 2},
    reason="cpu 1 -> 2: 2 needed, 1: 56.9/s on 2 puts 50.4% on the busiest",
    bound="plan",
    plan=Plan(2, 3, 56.87885, 47.026353, 0.61, "56.9/s on 2"),
    forecast=Forecast(AT_S, 1.74, 48.0, 40.0, 56.87885, 0.9, "reactive", 20.0),
    runner_up={"cpu": 3},
    runner_up_price_per_hour=0.3,
    price_per_hour=0.2,
    advisory=False,
)
MORE = {"owner": "vm-1", "epoch": 7, "objective_within_s": 1.0, "objective_share": 0.99, "decided_after_s": 0.038558}


def told(decision: Decision = DECISION, seen: Observation = SEEN) -> dict[str, str]:
    """The lines by what they are about."""
    return dict(words(explanation(redis_fields.decision_entry(seen, decision, MORE))))


def test_a_decision_is_told_with_inputs_forecast_plan_bound_runner_up_and_objective() -> None:
    """All that a person asks who was paged for it."""
    assert told() == {
        "Decided": "scale-up: 2 cpu at 0.2 an hour, at 2026-11-25 13:11:44.173 UTC",
        "Because": "cpu 1 -> 2: 2 needed, 1: 56.9/s on 2 puts 50.4% on the busiest",
        "Bound": "plan: what the plan asks for is done; nothing else limited it",
        "Seen": "48.0/s in the last second, 4.8/s over 10 s, 24 records without a result, p99 0.422 s, running 1 cpu",
        "Forecast": "most likely 48.0/s, at least 40.0/s, sized for up to 56.9/s, quantile 0.9, within 1.7 s, "
        "by reactive, from 20 s of history",
        "Plan": "2 workers, for 56.9/s, each 47.0/s at full batches, the busiest at 61% of it, "
        "one pooled queue (Erlang C) would need 3",
        "Runner-up": "3 cpu at 0.3 an hour, 0.1 more",
        "Objective": "0.99 of the requests within 1 s",
        "By": "vm-1, epoch 7, 39 ms after the sample",
    }


def test_what_is_not_known_is_left_out_and_not_zero() -> None:
    """Without data there is no forecast, no plan and no runner-up; nothing is invented."""
    blind = Observation("digits", AT_S, 0, None, None, None, None)
    nothing = dataclasses.replace(
        DECISION,
        action=Action.NO_DATA,
        bound="no-data",
        plan=None,
        forecast=None,
        runner_up=None,
        runner_up_price_per_hour=None,
        advisory=True,
    )
    lines = told(nothing, blind)
    assert set(lines) == {"Decided", "Because", "Bound", "Runner-up", "Objective", "By"}
    assert lines["Runner-up"] == "none: there was no choice"
    assert lines["Decided"].endswith("(said only: advisory)")


def test_a_stuck_partition_is_named_with_its_time_and_its_owner() -> None:
    """In a line of its own, and as an object; one that catches up is told apart."""
    stuck = (
        StuckPartition(3, 95.4, 4210, "digits-cpu-1"),
        StuckPartition(5, 0.0, 70, recovering=True),
    )
    decision = dataclasses.replace(DECISION, stuck=stuck)
    assert told(decision)["Stuck"] == (
        "partition 3: no progress for 95 s, 4210 records wait, owned by digits-cpu-1; "
        "partition 5: catches up, 70 records wait, no worker owns it; none of it is sized for"
    )
    found = explanation(redis_fields.decision_entry(SEEN, decision, MORE))
    assert found["stuck"][0]["partition"] == 3
    assert "stuck" not in explanation(redis_fields.decision_entry(SEEN, DECISION, MORE))


def test_the_price_of_the_reserve_and_of_the_head_room_is_told() -> None:
    """What is paid for now, what came too soon, and what would have had it in time."""
    room = HeadRoom(1740.0, 0.03, 0.026, 0.01, 24.0, 16, 16.0, 6.0)
    decision = dataclasses.replace(DECISION, reserve=2, reserve_price_per_hour=0.2, head_room=room)
    lines = told(decision)
    assert lines["Reserve"] == "2 kept beyond the need, 0.2 an hour"
    assert lines["Head room"] == (
        "3.00% late by measure, 2.60% came too soon for any course, a boot takes 24 s, 16 more workers at all times "
        "would have kept the objective, 16 an hour, or a boot of 6 s would have, by the experience of 1740 s"
    )
    found = explanation(redis_fields.decision_entry(SEEN, decision, MORE))
    assert found["head_room"]["workers"] == 16
    assert found["reserve"] == {"workers": 2, "price_per_hour": 0.2}
    enough = dataclasses.replace(room, unavoidable_share=0.0, workers=0, price_per_hour=0.0, boot_enough_s=24.0)
    assert "kept without more of it" in told(dataclasses.replace(DECISION, head_room=enough))["Head room"]
    lacking = dataclasses.replace(room, workers=None, price_per_hour=None, boot_enough_s=None)
    assert "not even all workers" in told(dataclasses.replace(DECISION, head_room=lacking))["Head room"]


def test_a_cheaper_runner_up_is_said_to_be_less() -> None:
    """Where something held a larger fleet than the plan's, the runner-up is the plan's."""
    cheaper = dataclasses.replace(DECISION, runner_up={"cpu": 1, "gpu": 0}, runner_up_price_per_hour=0.1)
    assert told(cheaper)["Runner-up"] == "1 cpu, 0 gpu at 0.1 an hour, 0.1 less"


def test_as_an_object_numbers_are_numbers() -> None:
    """For programs."""
    found = explanation(redis_fields.decision_entry(SEEN, DECISION, MORE))
    assert found["fleet"] == {"cpu": 2}
    assert found["seen"]["running"] == {"cpu": 1}
    assert found["runner_up"] == {"fleet": {"cpu": 3}, "price_per_hour": 0.3, "dearer_per_hour": 0.1}
    assert found["objective"] == {"within_s": 1.0, "share": 0.99}
    assert found["plan"]["pooled_workers"] == 3
    assert found["epoch"] == 7


def test_an_entry_of_another_version_is_told_as_far_as_it_goes() -> None:
    """A bound that is new, no whole decision, fields that are none: the reason still stands."""
    entry = redis_fields.decision_entry(SEEN, DECISION, MORE) | {"bound": "moon", "json": "[", "runner_up": "3"}
    lines = dict(words(explanation(entry)))
    assert lines["Bound"] == "moon"
    assert lines["Forecast"] == "most likely 48.0/s, sized for up to 56.9/s, within 1.7 s, by reactive"
    assert "Plan" not in lines


@pytest.mark.parametrize("lacking", ["at_s", "action", "fleet", "bound", "reason"])
def test_an_entry_that_is_no_decision_is_refused(lacking: str) -> None:
    """The error names what is missing."""
    entry = redis_fields.decision_entry(SEEN, DECISION, MORE)
    del entry[lacking]
    with pytest.raises(ValueError, match=f"'{lacking}' is missing"):
        explanation(entry)


def test_every_bound_that_the_model_names_has_its_words() -> None:
    """`Decision.bound` lists them."""
    named = ("plan", "hysteresis", "min", "max", "partitions", "paused", "control", "no-data", "starting", "unhelpful")
    assert set(named) <= set(BOUNDS)
