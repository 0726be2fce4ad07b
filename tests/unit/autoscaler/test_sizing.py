"""How many workers a load needs."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.model import Objective, ServiceCurve
from autoscaler.planning.sizing import Situation, arrears_at_start, size
from autoscaler.settings import PolicySettings

SETTINGS = PolicySettings()
CURVE = ServiceCurve(0.02, 0.02, 8)
OBJECTIVE = Objective(1.0, 0.99)
EVEN = (1 / 12,) * 12
IDLE = Situation(
    rate_per_s=10,
    mean_per_s=10,
    shares=EVEN,
    dispersion=1.0,
    backlog=0.0,
    ready=1,
    declared=1,
    declared_in_s=0.0,
    actuation_s=3.0,
)


def workers(**changed: object) -> int:
    """Workers for a situation like `IDLE`."""
    return size(dataclasses.replace(IDLE, **changed), CURVE, OBJECTIVE, SETTINGS).workers  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rate", "needed"),
    # One worker does 44.4/s and is filled to 40/s; 12 partitions split evenly among 1, 2, 3, 4, 6 and 12 only.
    [
        (10, 1),
        (39, 1),
        (41, 2),
        (79, 2),
        (81, 3),
        (119, 3),
        (121, 4),
        (159, 4),
        (161, 6),
        (239, 6),
        (241, 12),
        (470, 12),
    ],
)
def test_the_busiest_worker_decides(rate: float, needed: int) -> None:
    """Counts jump where ceil(12 / c) changes."""
    assert workers(rate_per_s=rate, mean_per_s=rate, ready=12, declared=12) == needed


def test_what_cannot_be_met_says_so() -> None:
    """Twelve partitions cannot carry 1000/s: as many as there are, and the reason says that it is not enough."""
    plan = size(dataclasses.replace(IDLE, rate_per_s=1000), CURVE, OBJECTIVE, SETTINGS)
    assert plan.workers == 12
    assert "not even 12" in plan.reason
    assert plan.busiest_utilisation > 1


def test_a_partition_that_no_worker_can_do_has_one_and_the_rest_is_sized_without_it() -> None:
    """Half of 100/s on one partition, against 40/s a worker: one worker for it and two for the rest, whatever waits."""
    shares = (0.5, *(0.5 / 11,) * 11)
    load = dataclasses.replace(IDLE, rate_per_s=100, mean_per_s=100, shares=shares, ready=3, declared=3)
    for backlog in (0.0, 5000.0):
        plan = size(dataclasses.replace(load, backlog=backlog), CURVE, OBJECTIVE, SETTINGS)
        assert plan.workers == 3
        assert plan.busiest_utilisation > 1
        assert plan.reason.startswith("1 of 12 partitions alone are more than a worker can do")


def test_the_pooled_figure_stands_beside() -> None:
    """At 200/s the common queue of the text book needs 5, the split group 6."""
    plan = size(dataclasses.replace(IDLE, rate_per_s=200, ready=6, declared=6), CURVE, OBJECTIVE, SETTINGS)
    assert (plan.workers, plan.pooled_workers) == (6, 5)


@given(
    one=st.floats(0, 500),
    other=st.floats(0, 500),
    backlog=st.floats(0, 2000),
    ready=st.integers(0, 12),
    more=st.integers(0, 12),
)
@settings(deadline=None)
def test_more_load_never_needs_fewer_and_never_less_than_the_fluid_bound(
    one: float, other: float, backlog: float, ready: int, more: int
) -> None:
    """Monotone in the rate, and at least rate / capacity as far as the partitions go."""
    low, high = sorted((one, other))
    fleet = {"backlog": backlog, "ready": ready, "declared": ready + more, "declared_in_s": 1.0 if more else 0.0}
    fewer = workers(rate_per_s=low, mean_per_s=low, **fleet)
    assert fewer <= workers(rate_per_s=high, mean_per_s=high, **fleet)
    assert fewer >= min(12, math.ceil(low / CURVE.capacity_per_s - 1e-9))


@given(one=st.floats(0, 3000), other=st.floats(0, 3000), rate=st.floats(0, 400))
@settings(deadline=None)
def test_more_backlog_never_needs_fewer(one: float, other: float, rate: float) -> None:
    """Monotone in the backlog."""
    low, high = sorted((one, other))
    load = {"rate_per_s": rate, "mean_per_s": rate}
    assert workers(backlog=low, **load) <= workers(backlog=high, **load)


def test_a_backlog_is_worked_off_in_the_stated_time() -> None:
    """400 records at 25/s: enough workers that the busiest is in time again 5 s after they are ready."""
    count = workers(rate_per_s=25, mean_per_s=25, backlog=400)
    assert count > 1
    for tried, holds in ((count, True), (1, False)):
        arrears = arrears_at_start(dataclasses.replace(IDLE, mean_per_s=25, backlog=400), tried, CURVE.capacity_per_s)
        queue = (arrears + 25 * SETTINGS.drain_s) / tried - CURVE.capacity_per_s * SETTINGS.drain_s
        assert (queue / CURVE.capacity_per_s + 2 * CURVE.seconds(8) <= 1.0) is holds


def test_an_unknown_backlog_is_sized_for_the_rate_alone() -> None:
    """No committed offsets are no arrears."""
    assert workers(rate_per_s=25, backlog=None) == 1


def test_the_backlog_until_new_workers_serve_is_foreseen() -> None:
    """100/s on one worker of 44/s leaves 55 more each second of the 3 s until help serves."""
    behind = dataclasses.replace(IDLE, mean_per_s=100, backlog=50)
    assert arrears_at_start(behind, 4, CURVE.capacity_per_s) == pytest.approx(50 + 3 * (100 - 400 / 9))


def test_workers_under_way_are_counted_when_they_serve() -> None:
    """Declared workers that are ready in 1 s work for the 2 s that further ones need beyond that."""
    behind = dataclasses.replace(IDLE, mean_per_s=100, backlog=50, ready=1, declared=2, declared_in_s=1.0)
    capacity = CURVE.capacity_per_s
    assert arrears_at_start(behind, 2, capacity) == pytest.approx(50 + 100 - capacity)
    assert arrears_at_start(behind, 4, capacity) == pytest.approx(50 + 100 - capacity + 2 * (100 - 2 * capacity))


def test_a_hot_partition_needs_more_workers_than_even_ones() -> None:
    """When one partition has 30 % of 100/s, three workers have 33 % and two have half."""
    skewed = (0.3, *([0.7 / 11] * 11))
    assert workers(rate_per_s=130, mean_per_s=130, shares=skewed, ready=12, declared=12) >= workers(
        rate_per_s=130, mean_per_s=130, ready=12, declared=12
    )


def test_bursty_arrivals_need_more_room() -> None:
    """Twenty times the Poisson variance moves the threshold of two workers below 79/s."""
    assert workers(rate_per_s=79, mean_per_s=79, dispersion=20.0, ready=12, declared=12) > 2
