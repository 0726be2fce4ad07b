"""Needs read off paths: what piles up for a moment is no reason for a worker, what was never seen is not believed."""

from __future__ import annotations

import numpy as np
import pytest

from autoscaler.model import ArrivalHistory
from autoscaler.policies import reading


def most_waiting(loads: np.ndarray, capacity: float, step_s: float) -> float:
    """The highest backlog of a queue with that capacity, played in small pieces."""
    waits = most = 0.0
    for load in loads:
        for _ in range(100):
            waits = max(0.0, waits + (load - capacity) * step_s / 100)
            most = max(most, waits)
    return most


def test_with_the_effective_capacity_just_the_slack_waits() -> None:
    """Against the queue itself, on random paths: with C the highest backlog is C times the slack."""
    loads = np.random.default_rng(3).uniform(2.0, 12.0, (8, 7))
    for slack_s in (0.2, 0.8):
        for path, capacity in zip(loads, reading.effective(loads, 5.0, slack_s), strict=True):
            assert most_waiting(path, capacity, 5.0) == pytest.approx(capacity * slack_s, rel=1e-6)


def test_a_step_above_counts_less_than_a_minute_above() -> None:
    """10 for 5 s in a load of 8 takes 9.3 where 0.4 s of work may wait; for a minute it takes 9.9."""
    once, long = np.full((1, 12), 8.0), np.full((1, 12), 10.0)
    once[0, 5] = 10.0
    assert reading.effective(once, 5.0, 0.4) == pytest.approx([10 * 5 / 5.4])
    assert reading.effective(long, 5.0, 0.4) == pytest.approx([10 * 60 / 60.4])
    assert reading.effective(once, 5.0, 0.0) == pytest.approx([10.0])


def history(counts: list[float]) -> ArrivalHistory:
    """Arrivals of one partition by second, ending at 1000 s."""
    return ArrivalHistory.of(1000.0, counts)


def test_paths_go_a_quarter_above_what_was_seen() -> None:
    """The first seconds of a burst grow without an end; the highest five seconds of the last minutes do not."""
    rates = np.array([[50.0, 124.0, 126.0, 900.0]])
    seen = [0.0] * 100 + [100.0] * 5 + [20.0] * 100
    assert reading.capped(rates, history(seen)).tolist() == [[50.0, 124.0, 125.0, 125.0]]
    # One second is no level.
    seen = [20.0] * 100 + [100.0] + [20.0] * 100
    assert reading.capped(rates, history(seen)).max() == pytest.approx(1.25 * 36)
    # What is coming now was seen.
    seen = [20.0] * 100 + [200.0] * 3
    assert reading.capped(rates, history(seen)).max() == pytest.approx(1.25 * 200)
