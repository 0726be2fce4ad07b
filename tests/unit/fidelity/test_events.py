"""The logs of a live run, folded: who lived, who was paid, who served, how long partitions paused."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime

import pytest

from penstock.fidelity import events

START_S = 1_700_000_000.0


def _line(at_s: float, event: str, **facts: object) -> str:
    stamp = datetime.fromtimestamp(START_S + at_s, tz=UTC).isoformat()
    return json.dumps({"event": event, "timestamp": stamp, **facts})


AUTOSCALER = "\n".join(
    [
        "a library says something that is no JSON",
        _line(-1, "autoscaler.owner", pipeline="p"),
        _line(10, "actuator.started", worker="p-cpu-1"),
        _line(40, "actuator.draining", worker="p-cpu-0"),
        _line(41.5, "actuator.drained", worker="p-cpu-0"),
        _line(50, "actuator.started", worker="p-cpu-0"),
        _line(53, "actuator.draining", worker="p-cpu-0"),
        _line(54, "actuator.drained", worker="p-cpu-0"),
    ]
)
FIRST = "\n".join(
    [
        _line(-20, "group.assigned", member="p-cpu-0", partitions=[0, 1, 2, 3]),
        _line(-20, "worker.ready", worker="p-cpu-0"),
        _line(21, "group.revoked", member="p-cpu-0", partitions=[2, 3]),
        _line(40.75, "worker.stopped", worker="p-cpu-0"),
    ]
)
SECOND = "\n".join(
    [
        _line(21.5, "group.assigned", member="p-cpu-1", partitions=[2, 3]),
        _line(21.5, "worker.ready", worker="p-cpu-1"),
        _line(40.5, "group.assigned", member="p-cpu-1", partitions=[0, 1]),
    ]
)


@pytest.fixture
def said() -> list[events.Event]:
    """A fleet of one that becomes two and one again, and asks for one more that it does not wait for."""
    return events.read([AUTOSCALER, FIRST, SECOND])


def test_each_process_has_a_life_of_its_own(said: list[events.Event]) -> None:
    """A slot that is used again is another worker; a worker's own word of its end is nearer than the actuator's."""
    found = events.lives(said, START_S + 100)
    told = [(one.worker, one.asked_s - START_S, one.told_s - START_S, one.gone_s - START_S) for one in found]
    assert told == [
        ("p-cpu-0", -math.inf, 40, 40.75),
        ("p-cpu-0", 50, 53, 54),
        ("p-cpu-1", 10, math.inf, 100),
    ]
    assert [one.ready_s and one.ready_s - START_S for one in found] == [-20, None, 21.5]


def test_a_worker_is_paid_from_its_order_until_it_is_gone(said: list[events.Event]) -> None:
    """Boots and drains cost, and only what lies inside of what is counted."""
    found = events.lives(said, START_S + 100)
    assert events.worker_seconds(found, START_S, START_S + 100) == pytest.approx(40.75 + 4 + 90)
    assert events.worker_seconds(found, START_S + 40, START_S + 45) == pytest.approx(0.75 + 5)


def test_who_runs_and_who_serves_are_steps(said: list[events.Event]) -> None:
    """Told to stop is not running any more; one that never served never counts as serving."""
    running, ready = events.counts(events.lives(said, START_S + 100), START_S, 100)
    assert list(zip(running.at_s, running.values, strict=True)) == [
        (0, 1), (10, 2), (40, 1), (50, 2), (53, 1)
    ]  # fmt: skip
    assert list(zip(ready.at_s, ready.values, strict=True)) == [(0, 1), (21.5, 2), (40, 1)]


def test_a_pause_lasts_from_the_old_owner_to_the_new_one(said: list[events.Event]) -> None:
    """Half a second for each of the two that were handed over, and for each of the two of the one that left."""
    assert events.pauses_s(said) == pytest.approx([0.5, 0.5, 0.5, 0.5])
