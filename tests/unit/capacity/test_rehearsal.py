"""What of a plan is run live, and how what was seen is compared with what was foretold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from autoscaler.model import Objective
from penstock.analyse.source import from_file
from penstock.errors import InvalidInput
from penstock.plan import planner
from penstock.plan.order import Order, worker_type
from penstock.plan.rehearsal import Figures, foretold, holds, measured, paid_s, quiet, ratios, rehearse, stretch
from penstock.plan.replay import steps
from streams.topics import TopicSettings

if TYPE_CHECKING:
    from pathlib import Path

    from penstock.plan.planner import Plan


def written(folder: Path) -> Path:
    """30 minutes: 40/s, then 200/s for ten minutes, then 40/s again."""
    rates = np.r_[np.full(600, 40.0), np.full(600, 200.0), np.full(600, 40.0)]
    counts = np.random.default_rng(3).poisson(rates)
    path = folder / "load.csv"
    path.write_text("t_seconds,requests\n" + "".join(f"{i},{n}\n" for i, n in enumerate(counts)), encoding="utf-8")
    return path


def ordered(path: Path) -> Order:
    """In periods of 5 minutes."""
    return Order(
        history=from_file(path), trace=path, types=(worker_type("cpu=40:10:8,price=3.6,boot=2"),),
        objective=Objective(0.5, 0.99), scale=1.0, growth=1.0, overhead_s=0.02, period_s=300.0, partitions=None,
        head_room=2.0, topics=TopicSettings(), request_bytes=100.0, result_bytes=100.0, bytes_known=True, brokers=1,
        broker_bytes_per_s=1e8, disk_bytes=None, zones=1, seed=1,
    )  # fmt: skip


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Order, Plan]:
    """The load, and the plan for it."""
    order = ordered(written(tmp_path_factory.mktemp("rehearsal")))
    return order, planner.make(order, lambda _: None)


def test_the_periods_with_the_most_changes_around_the_peak_are_chosen() -> None:
    """The peak is always among them; with as many changes the earliest."""
    workers = np.array([[1], [1], [1], [3], [5], [5], [5], [1], [1]])
    assert stretch(workers, peak=5, count=4) == 2
    assert stretch(workers, peak=6, count=3) == 5
    assert stretch(workers, peak=8, count=2) == 7
    assert stretch(np.append(workers, [[4]], axis=0), peak=6, count=4) == 6
    assert stretch(workers, peak=0, count=1) == 0
    assert stretch(workers, peak=4, count=99) == 0


def test_a_rehearsal_has_the_same_rates_in_a_shorter_time(planned: tuple[Order, Plan]) -> None:
    """Six times as fast: each period lasts 50 s, with as many requests a second and the plan's workers."""
    order, plan = planned
    run = rehearse(order, plan, periods=3, period_s=50.0)
    assert run.compression == 6
    assert run.window.length_s == pytest.approx(150)
    counts = np.histogram(run.load.arrivals_s, bins=[0, 50, 100, 150])[0]
    assert counts / 50 == pytest.approx([40, 200, 200], rel=0.1)
    assert [fleet["cpu"] for fleet in run.fleets] == plan.best.schedule.workers[1:4, 0].tolist()
    assert run.fleets[0]["cpu"] < run.fleets[1]["cpu"]
    with pytest.raises(InvalidInput, match="400 s live are longer"):
        rehearse(order, plan, periods=3, period_s=400.0)


def test_predicted_and_simulated_agree_where_pauses_are_short(planned: tuple[Order, Plan]) -> None:
    """99th percentile and cost within 15 %; a long pause at the change is seen by the simulator only."""
    order, plan = planned
    run = rehearse(order, plan, periods=3, period_s=100.0)
    predicted, simulated = foretold(run, plan, pause_s=0.2)
    assert holds((predicted, simulated))
    assert predicted.cost == pytest.approx(3.6 / 3600 * (100 * sum(f["cpu"] for f in run.fleets)), rel=0.05)
    assert simulated.cost > predicted.cost
    held = foretold(run, plan, pause_s=10.0)
    assert held[0] == predicted
    assert held[1].p99_s > 3 * predicted.p99_s
    assert not holds(held)


def test_what_was_never_answered_or_never_sent_is_never_in_time(planned: tuple[Order, Plan]) -> None:
    """Of the others the times count from when each was due."""
    order, plan = planned
    run = rehearse(order, plan, periods=3, period_s=10.0)
    seen_s = run.load.arrivals_s + 0.1
    found = measured(run, seen_s, 1.0)
    assert (found.p50_s, found.p99_s, found.attainment) == (pytest.approx(0.1), pytest.approx(0.1), 1.0)
    seen_s[::10] = np.nan
    assert measured(run, seen_s, 1.0).p99_s == np.inf
    assert measured(run, seen_s, 1.0).attainment == pytest.approx(0.9, abs=0.01)
    half = len(seen_s) // 2
    assert measured(run, (run.load.arrivals_s + 0.1)[:half], 1.0).attainment == pytest.approx(0.5, abs=0.01)


def test_what_was_due_around_a_stall_does_not_count(planned: tuple[Order, Plan]) -> None:
    """From half a second before it until a busy fleet has worked off four times as long; the rest does."""
    due_s = np.array([1.0, 9.4, 9.6, 10.5, 11.0, 15.4, 15.6, 30.0])
    kept = quiet(due_s, [(10.0, 11.0), (29.9, 30.0)])
    assert kept.tolist() == [True, True, False, False, False, False, True, False]
    assert quiet(due_s, []).all()
    order, plan = planned
    run = rehearse(order, plan, periods=3, period_s=10.0)
    seen_s = run.load.arrivals_s + np.where(run.load.arrivals_s < 5, 9.0, 0.1)
    counted = quiet(run.load.arrivals_s, [(0.0, 0.5)])
    assert measured(run, seen_s, 1.0, name="some", counted=counted).p99_s == pytest.approx(9.0)
    counted = quiet(run.load.arrivals_s, [(0.0, 1.0)])
    found = measured(run, seen_s, 1.0, name="some", counted=counted)
    assert (found.name, found.p99_s) == ("some", pytest.approx(0.1))


def test_workers_are_paid_inside_the_run_only() -> None:
    """One there throughout, one that came and went, one that outlived it."""
    assert paid_s([(-5.0, 130.0), (20.0, 50.0), (90.0, 104.0), (-9.0, -1.0)], 100.0) == 100 + 30 + 10


def test_more_are_asked_for_ahead_and_fewer_at_once() -> None:
    """A rise by its lead before its period, a fall at its begin, both of one period in order of time."""
    fleets = [{"a": 1, "b": 2}, {"a": 3, "b": 1}, {"a": 3, "b": 1}, {"a": 2, "b": 2}]
    assert steps(fleets, [60.0] * len(fleets), {"a": 10.0, "b": 4.0}) == [
        (50.0, {"a": 3}), (60.0, {"b": 1}), (176.0, {"b": 2}), (180.0, {"a": 2}),
    ]  # fmt: skip


def test_ratios_are_of_each_two() -> None:
    """Later over earlier, 99th percentile and cost; one that is 16 % off does not hold."""
    first, second = Figures("predicted", 0.1, 0.2, 1.0, 10.0), Figures("simulated", 0.1, 0.22, 1.0, 11.0)
    third = Figures("live", 0.1, 0.2, 1.0, 11.6)
    assert list(ratios((first, second))) == [("simulated / predicted", pytest.approx(1.1), pytest.approx(1.1))]
    assert [name for name, _, _ in ratios((first, second, third))][1:] == ["live / predicted", "live / simulated"]
    assert holds((first, second))
    assert not holds((first, second, third))


def test_a_gap_in_the_record_moves_no_change_of_the_fleet(tmp_path: Path) -> None:
    """What was not recorded is cut out of the load, so the steps after it come as much earlier."""
    path = written(tmp_path)
    (tmp_path / "load.gaps.csv").write_text("gap_start_s,gap_len_s\n350,140\n", encoding="utf-8")
    order = ordered(path)
    plan = planner.make(order, lambda _: None)
    assert plan.tightened == 0
    found = plan.checked
    assert found.window.periods_s == (300.0, 160.0, 300.0, 300.0, 300.0, 300.0)
    assert found.window.length_s == 1660.0
    workers = plan.best.schedule.workers[:, 0]
    assert workers[2] > workers[1]
    # A price of 3.6 an hour is 0.001 a second; the starts are paid 2 s before.
    seconds = float(workers @ found.window.periods_s) + 2.0 * float(np.maximum(np.diff(workers), 0).sum())
    assert found.planned_cost == pytest.approx(seconds / 1000)
    assert found.ideal.cost == pytest.approx(found.planned_cost, rel=0.01)
    assert found.ideal.attainment >= 0.99
    run = rehearse(order, plan, periods=3, period_s=100.0)
    assert sum(run.window.periods_s) == pytest.approx(run.window.length_s) == pytest.approx(run.load.length_s)
    assert steps([{"a": 1}, {"a": 2}, {"a": 1}], (300.0, 160.0, 300.0), {"a": 10.0}) == [
        (290.0, {"a": 2}), (460.0, {"a": 1}),
    ]  # fmt: skip
