"""The slot plan: which workers to start, drain, kill and forget."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.actuators.base import ActuatorSettings
from autoscaler.actuators.slots import (
    Drain,
    Ended,
    Forget,
    Instruction,
    Kill,
    Live,
    Slot,
    Start,
    after_end,
    instruct,
    next_start_at_s,
    problems,
)

SETTINGS = ActuatorSettings(
    drain_deadline_s=10, backoff_initial_s=1, backoff_max_s=30, stable_after_s=60, refused_retry_s=50
)
NOW = 1000.0
UP = Live(asked_at_s=900.0)
DRAINING = Live(asked_at_s=900.0, draining_since_s=NOW - 3)
LATE = Live(asked_at_s=900.0, draining_since_s=NOW - 10)
KILLED = Live(asked_at_s=900.0, draining_since_s=NOW - 20, killed=True)
DRAINED = Ended(at_s=NOW, exit_code=0, crashes=0, drained=True)
CRASHED = Ended(at_s=NOW - 2, exit_code=1, crashes=1, drained=False)
WAITING = Ended(at_s=NOW - 2, exit_code=1, crashes=4, drained=False)
REFUSED = Ended(at_s=NOW - 40, exit_code=64, crashes=1, drained=False)


def cpu(number: int) -> Slot:
    """A slot of the type that most rows use."""
    return Slot("cpu", number)


@pytest.mark.parametrize(
    ("declared", "live", "ended", "steps"),
    [
        pytest.param({"cpu": 2}, {}, {}, [Start(cpu(0)), Start(cpu(1))], id="from nothing"),
        pytest.param({"cpu": 2}, {cpu(0): UP, cpu(1): UP}, {}, [], id="as declared"),
        pytest.param(
            {"cpu": 1}, {cpu(0): UP, cpu(1): UP, cpu(2): UP}, {}, [Drain(cpu(1)), Drain(cpu(2))], id="highest"
        ),
        pytest.param({}, {cpu(0): UP}, {}, [Drain(cpu(0))], id="a type left out has none"),
        pytest.param({"cpu": 2}, {cpu(1): UP}, {}, [Start(cpu(0))], id="fills the lowest gap"),
        pytest.param({"cpu": 1}, {cpu(4): UP}, {}, [], id="an adopted high number is kept"),
        pytest.param({"cpu": 1}, {cpu(0): UP, cpu(1): DRAINING}, {}, [], id="a drain takes its time"),
        pytest.param({"cpu": 1}, {cpu(0): UP, cpu(1): LATE}, {}, [Kill(cpu(1))], id="a deadline passed"),
        pytest.param({"cpu": 1}, {cpu(0): UP, cpu(1): KILLED}, {}, [], id="killed once"),
        pytest.param(
            {"cpu": 2}, {cpu(0): UP, cpu(1): DRAINING}, {}, [Start(cpu(2))], id="wanted again: another number"
        ),
        pytest.param({"cpu": 1}, {cpu(0): UP}, {cpu(1): DRAINED}, [Forget(cpu(1))], id="drained for good"),
        pytest.param(
            {"cpu": 2}, {cpu(0): UP}, {cpu(1): DRAINED}, [Forget(cpu(1)), Start(cpu(1))], id="forgotten before reuse"
        ),
        pytest.param({"cpu": 1}, {}, {cpu(0): CRASHED}, [Start(cpu(0))], id="a crash restarts after its pause"),
        pytest.param({"cpu": 1}, {}, {cpu(0): WAITING}, [], id="a pause holds the number"),
        pytest.param({"cpu": 1}, {cpu(0): UP}, {cpu(1): WAITING}, [Forget(cpu(1))], id="scaled in while it waits"),
        pytest.param(
            {"cpu": 1}, {cpu(1): UP}, {cpu(0): WAITING}, [Forget(cpu(0))], id="scaled in: one that serves is kept"
        ),
        pytest.param(
            {"cpu": 2},
            {cpu(2): UP, cpu(3): UP, cpu(4): UP},
            {cpu(0): WAITING, cpu(1): REFUSED},
            [Forget(cpu(0)), Forget(cpu(1)), Drain(cpu(4))],
            id="scaled in: the lowest of those that serve",
        ),
        pytest.param(
            {"cpu": 1}, {}, {cpu(0): WAITING, cpu(1): WAITING}, [Forget(cpu(1))], id="scaled in: none of them serves"
        ),
        pytest.param({"cpu": 1}, {}, {cpu(0): REFUSED}, [], id="a bad configuration is not tried hot"),
        pytest.param(
            {"cpu": 1, "gpu": 1},
            {cpu(0): UP, cpu(1): UP},
            {},
            [Drain(cpu(1)), Start(Slot("gpu", 0))],
            id="types apart, drains first",
        ),
    ],
)
def test_the_steps_of_each_case(
    declared: dict[str, int], live: dict[Slot, Live], ended: dict[Slot, Ended], steps: list[Instruction]
) -> None:
    """Each situation has exactly its steps."""
    assert instruct(declared, live, ended, NOW, SETTINGS) == steps


@pytest.mark.parametrize(
    ("crashes", "exit_code", "pause_s"),
    [(1, 1, 1), (2, 1, 2), (3, -9, 4), (5, None, 16), (6, 1, 30), (5000, 1, 30), (1, 64, 50), (9, 73, 50), (1, 69, 1)],
)
def test_the_pause_doubles_up_to_its_cap(crashes: int, exit_code: int | None, pause_s: float) -> None:
    """Crashes in a row wait 1, 2, 4 ... 30 s; a refusal waits its own time."""
    end = Ended(NOW, exit_code, crashes, drained=False)
    assert next_start_at_s(end, SETTINGS) == NOW + pause_s


def test_a_small_step_back_kills_no_worker_that_has_just_begun_to_drain() -> None:
    """A clock that is put right by a second is no drain that hangs."""
    draining = Live(asked_at_s=900.0, draining_since_s=NOW)
    assert instruct({}, {cpu(0): draining}, {}, NOW - 1.0, SETTINGS) == []
    assert instruct({}, {cpu(0): draining}, {}, NOW + SETTINGS.drain_deadline_s, SETTINGS) == [Kill(cpu(0))]


def test_a_clock_set_back_makes_no_pause_longer_by_the_whole_step() -> None:
    """What ended, or was told to stop, an hour after now is due."""
    then = NOW - 3600.0
    refused = Ended(at_s=NOW, exit_code=73, crashes=9, drained=False)
    assert instruct({"cpu": 1}, {}, {cpu(0): refused}, then, SETTINGS) == [Start(cpu(0))]
    hung = Live(asked_at_s=900.0, draining_since_s=NOW)
    assert instruct({}, {cpu(0): hung}, {}, then, SETTINGS) == [Kill(cpu(0))]
    assert instruct({}, {cpu(0): dataclasses.replace(hung, killed=True)}, {}, then, SETTINGS) == []
    # Its next end is told by the new clock, and pauses again.
    again = dataclasses.replace(refused, at_s=then)
    assert instruct({"cpu": 1}, {}, {cpu(0): again}, then, SETTINGS) == []


def test_a_long_life_forgets_earlier_crashes() -> None:
    """A crash after a minute's service counts as the first, a crash after a second adds up, a drain counts nothing."""
    assert after_end(Live(asked_at_s=NOW - 60), 1, 7, NOW, SETTINGS).crashes == 1
    assert after_end(Live(asked_at_s=NOW - 1), 1, 7, NOW, SETTINGS).crashes == 8
    assert after_end(DRAINING, 1, 7, NOW, SETTINGS) == Ended(NOW, 1, 0, drained=True)


def test_a_crash_loop_is_named() -> None:
    """What does not stay up is listed worst first, in words, also while it is up for a moment."""
    found = problems(
        "digits",
        {cpu(0): REFUSED, cpu(1): WAITING, cpu(2): DRAINED},
        {cpu(3): 9, cpu(4): 1},
        SETTINGS,
    )
    assert [problem.slot for problem in found] == ["digits-cpu-3", "digits-cpu-1", "digits-cpu-0"]
    assert found[0].next_start_at_s is None
    assert found[1].meaning.startswith("crash loop")
    assert "configuration" in found[2].meaning


lives = st.builds(
    Live,
    asked_at_s=st.just(900.0),
    draining_since_s=st.one_of(st.none(), st.floats(NOW - 20, NOW)),
    killed=st.booleans(),
)
ends = st.builds(
    Ended,
    at_s=st.floats(NOW - 100, NOW),
    exit_code=st.sampled_from([None, 0, 1, 64, 73, -9]),
    crashes=st.integers(0, 9),
    drained=st.booleans(),
)
places = st.builds(Slot, st.sampled_from(["cpu", "gpu"]), st.integers(0, 6))


@given(
    declared=st.dictionaries(st.sampled_from(["cpu", "gpu"]), st.integers(0, 6)),
    found=st.dictionaries(places, st.one_of(lives, ends)),
)
def test_the_fleet_is_reached_and_then_left_alone(declared: dict[str, int], found: dict[Slot, Live | Ended]) -> None:
    """From any state, obeying the steps reaches exactly the declared fleet, never above it in between, and ends."""
    live = {slot: state for slot, state in found.items() if isinstance(state, Live)}
    ended = {slot: state for slot, state in found.items() if isinstance(state, Ended)}
    before = _serving(live)
    now_s = NOW
    for _ in range(20):
        for step in instruct(declared, live, ended, now_s, SETTINGS):
            slot = step.slot
            if isinstance(step, Start):
                assert slot not in live
                live[slot] = Live(asked_at_s=now_s)
                ended.pop(slot, None)
            elif isinstance(step, Drain):
                live[slot] = dataclasses.replace(live[slot], draining_since_s=now_s)
            elif isinstance(step, Kill):
                ended[slot] = after_end(live.pop(slot), -9, 0, now_s, SETTINGS)
            else:
                del ended[slot]
            for kind in ("cpu", "gpu"):
                assert _serving(live).get(kind, 0) <= max(declared.get(kind, 0), before.get(kind, 0))
        for slot in [slot for slot, worker in live.items() if worker.killed]:
            ended[slot] = after_end(live.pop(slot), -9, 0, now_s, SETTINGS)
        now_s += SETTINGS.refused_retry_s
    assert _serving(live) == {kind: count for kind, count in declared.items() if count}
    assert len(live) == sum(declared.values())
    assert ended == {}
    assert instruct(declared, live, ended, now_s, SETTINGS) == []


def _serving(live: dict[Slot, Live]) -> dict[str, int]:
    count: dict[str, int] = {}
    for slot, worker in live.items():
        if worker.draining_since_s is None:
            count[slot.worker_type] = count.get(slot.worker_type, 0) + 1
    return count


@pytest.mark.parametrize(
    ("field", "value"),
    [("drain_deadline_s", 0), ("backoff_max_s", 0.1), ("crash_loop_after", 0), ("stable_after_s", -1)],
)
def test_settings_out_of_range_are_named(field: str, value: float) -> None:
    """The message names the field."""
    with pytest.raises(ValueError, match=field):
        ActuatorSettings(**{field: value})  # type: ignore[arg-type]
