"""What stands in Redis: control as a person writes it, and entries that are read back."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler import redis_fields
from autoscaler.model import (
    Action,
    ArrivalSample,
    Control,
    Decision,
    FleetStatus,
    Forecast,
    HeadRoom,
    Observation,
    Plan,
    Rates,
)

RATES = Rates(10.0, 41.0, 40.0, None, {0: 20.0, 1: 20.0}, None, 1.1, 0.5)
SAMPLE = ArrivalSample("p", 10.0, {0: 100, 1: 90}, {0: 95, 1: None})
OBSERVATION = Observation("p", 10.0, 2, RATES, {0: 5, 1: 90}, FleetStatus({"cpu": 2}, {"cpu": 1}), Control())
DECISION = Decision(
    pipeline="p",
    at_s=10.0,
    action=Action.SCALE_UP,
    fleet={"cpu": 3},
    reason="40/s need 3 workers",
    bound="plan",
    plan=Plan(3, 2, 44.0, 20.0, 0.8, "because"),
    forecast=Forecast(10.0, 5.0, 41.0, 35.0, 44.0, 0.9, "reactive", 9.0),
    runner_up={"cpu": 4},
    runner_up_price_per_hour=0.4,
    price_per_hour=0.3,
    advisory=False,
)


@pytest.mark.parametrize(
    ("fields", "expected", "named"),
    [
        ({}, Control(), ()),
        ({"paused": "1"}, Control(paused=True), ()),
        ({"paused": "No", "advisory": " TRUE "}, Control(paused=False, advisory=True), ()),
        ({"min": "2", "max": "5"}, Control(min_workers=2, max_workers=5), ()),
        ({"min": "0"}, Control(min_workers=0), ()),
        ({"paused": "maybe", "max": "3"}, Control(max_workers=3), ("paused='maybe'",)),
        ({"min": "-1"}, Control(), ("min='-1'",)),
        ({"min": "2.5"}, Control(), ("min='2.5'",)),
        ({"max": "9" * 50}, Control(), ("max=",)),
        ({"max": "٣"}, Control(), ("max=",)),
        ({"min": "5", "max": "2"}, Control(), ("min=5 is above max=2",)),
        ({"pause": "1"}, Control(), ("'pause' is not known",)),
    ],
)
def test_control_is_obeyed_or_named(fields: dict[str, str], expected: Control, named: tuple[str, ...]) -> None:
    """Each value is taken, or ignored and named with what to write."""
    control, problems = redis_fields.control(fields)
    assert control == expected
    assert len(problems) == len(named)
    assert all(word in problem for word, problem in zip(named, problems, strict=True))


@given(st.dictionaries(st.text(), st.text()))
def test_no_control_is_an_exception(fields: dict[str, str]) -> None:
    """Whatever stands there, what comes back is within range."""
    control, _ = redis_fields.control(fields)
    assert control.min_workers is None or control.min_workers >= 0


def test_a_rate_entry_comes_back() -> None:
    """History is read as it was written; what is no entry is None."""
    point = redis_fields.rate_point(redis_fields.rate_entry(SAMPLE, OBSERVATION))
    assert point == redis_fields.RatePoint(10.0, 41.0, {0: 100, 1: 90})
    assert redis_fields.rate_point({"at_s": "x"}) is None


def test_a_decision_is_flat_and_whole() -> None:
    """What was seen, forecast, planned and passed over can be read without JSON, and all of it is in `json`."""
    entry = redis_fields.decision_entry(OBSERVATION, DECISION, {"epoch": 7})
    assert entry["seen_backlog"] == "95"
    assert entry["forecast_upper_per_s"] == "44.0"
    assert entry["runner_up"] == '{"cpu":4}'
    assert entry["runner_up_price_per_hour"] == "0.4"
    assert entry["epoch"] == "7"
    assert json.loads(entry["json"])["plan"]["pooled_workers"] == 2


def test_reserve_and_head_room_are_fields_of_their_own() -> None:
    """For a dashboard: shares, workers, price; 0 workers are a number, `None` is not known."""
    room = HeadRoom(900.0, 0.02, 0.018, 0.01, 20.0, 6, 0.6, None)
    decision = dataclasses.replace(DECISION, reserve=1, reserve_price_per_hour=0.1, head_room=room)
    for fields in (
        redis_fields.metrics(OBSERVATION, decision, {}),
        redis_fields.decision_entry(OBSERVATION, decision, {}),
    ):
        assert (fields["reserve"], fields["reserve_price_per_hour"]) == ("1", "0.1")
        assert (fields["unavoidable_share"], fields["head_room_workers"]) == ("0.018", "6")
        assert fields["head_room_price_per_hour"] == "0.6"
        assert "boot_enough_s" not in fields
    enough = dataclasses.replace(decision, head_room=dataclasses.replace(room, workers=0))
    assert redis_fields.metrics(OBSERVATION, enough, {})["head_room_workers"] == "0"
    assert "head_room_workers" not in redis_fields.metrics(OBSERVATION, DECISION, {})


def test_what_is_not_known_is_left_out() -> None:
    """No rate is no field, never a zero."""
    dark = Observation("p", 10.0, 0, None, None, None, None)
    blind = Decision("p", 10.0, Action.NO_DATA, {"cpu": 1}, "no samples", "no-data", None, None, None, None, 0.1, False)  # noqa: FBT003
    fields = redis_fields.metrics(dark, blind, {"owner": None})
    assert not {"rate_1s_per_s", "backlog", "p99_s", "workers_running", "forecast_mean_per_s", "owner"} & set(fields)
    assert fields["workers_declared"] == "1"
