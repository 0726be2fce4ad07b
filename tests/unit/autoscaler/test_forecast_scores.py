"""Which method is believed: what it takes to be taken for better than the level, and for worse."""

from __future__ import annotations

import numpy as np
import pytest

from autoscaler.forecasting.scoring import QUANTILES, Scores

PRIOR = np.array([[1.0, 1.2], [1.0, 3.0]])
ABLE = np.array([True, True])


def judged(times: int, *, level_off: float, new_off: float) -> Scores:
    """After so many forecasts of 100/s that the level missed by `level_off` and another method by `new_off`."""
    scores = Scores.initial(2)
    for _ in range(30):
        # The level alone, as long as it takes the other to have a forecast at all.
        by_method = np.array([np.full(QUANTILES.size, 100 - level_off), np.full(QUANTILES.size, np.nan)])
        scores = _next(scores, by_method)
    for _ in range(times):
        by_method = np.array([np.full(QUANTILES.size, 100 - level_off), np.full(QUANTILES.size, 100 - new_off)])
        scores = _next(scores, by_method)
    return scores


def _next(scores: Scores, by_method: np.ndarray) -> Scores:
    return scores.judge(by_method, by_method[0], actual=100.0, scale=100.0, state=0, kept=0.99, step=0.0)


def share(scores: Scores) -> float:
    """Weight of the other method in calm."""
    return float(scores.weights(0, ABLE, PRIOR, 6.0)[1])


@pytest.mark.parametrize("times", [0, 1, 4, 8])
def test_a_new_method_is_not_better_than_the_level_by_chance(times: int) -> None:
    """However right it was a few times, it has at most the level's share."""
    assert share(judged(times, level_off=10, new_off=1)) <= 0.5


def test_a_new_method_that_stays_better_is_believed() -> None:
    """A hundred seconds of buckets are enough."""
    assert share(judged(20, level_off=10, new_off=1)) > 0.9


def test_a_new_method_that_is_worse_is_dropped_at_once() -> None:
    """Four misses are enough for that."""
    assert share(judged(4, level_off=5, new_off=20)) < 0.1
