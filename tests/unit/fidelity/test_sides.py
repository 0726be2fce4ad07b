"""Both sides of a comparison: their figures, and when they count as equal."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import numpy as np
import pytest

from autoscaler.model import ServiceCurve
from autoscaler.policies import registry
from autoscaler.simulation.arrivals import Load
from autoscaler.simulation.run import run
from autoscaler.simulation.scenario import Scenario
from penstock import settings
from penstock.demo.history import Series
from penstock.fidelity.setting import KIND, PIPELINE, Setting, settings_toml
from penstock.fidelity.sides import Side, apart, figures, late_by, over_phases, simulated, table

#: Quick enough for one worker.
QUICK = dataclasses.replace(KIND, curve=ServiceCurve(0.1, 0.02, 8))


def _setting() -> Setting:
    """A hundred seconds of ten requests a second, of which twenty are the warm-up."""
    times = np.arange(1000) / 10
    load = Load("even", times, np.zeros(1000, dtype=np.int32), 100.0, "made up")
    scenario = Scenario(partitions=1, warm_up_s=20.0, mean_rate=10.0, commit_interval_s=0.0, worker_types=(QUICK,))
    return Setting(scenario, load)


def _side(late: int, worker_seconds: float) -> Side:
    latencies = np.full(1000, 0.1)
    latencies[-late:] = 3.0
    return Side(
        "keda", "live", latencies, Series(np.array([0.0, 60.0]), np.array([2.0, 4.0])),
        Series(np.array([0.0]), np.array([2.0])), worker_seconds, (5.0, 60.0), {"boots": 2},
    )  # fmt: skip


def test_figures_count_from_the_end_of_the_warm_up() -> None:
    """800 requests count, of which 8 are late; two workers for 40 s and four for 40."""
    found = figures(_setting(), _side(8, 240.0))
    assert (found["requests"], found["violation"], found["scale_actions"]) == (800, 0.01, 1)
    assert (found["p50_s"], found["p99_s"]) == (0.1, 3.0)
    assert (found["mean_workers"], found["min_workers"], found["max_workers"]) == (3.0, 2, 4)
    assert found["cost"] == pytest.approx(240 / 3600, abs=1e-6)
    assert found["boots"] == 2


def test_an_answer_that_never_came_is_late() -> None:
    """And has no place in a quantile."""
    side = _side(8, 240.0)
    side.latencies_s[-8:] = np.inf
    found = figures(_setting(), side)
    assert found["violation"] == 0.01
    assert found["p99_s"] is None
    assert "never" in table([found], [])


@pytest.mark.parametrize(
    ("late", "worker_seconds", "equal"), [(8, 109.0, True), (8, 111.0, False), (23, 100.0, True), (26, 100.0, False)]
)
def test_equal_is_ten_per_cent_of_cost_and_two_points_of_late_requests(
    late: int, worker_seconds: float, equal: bool
) -> None:
    """Measured against the simulator's figures."""
    base = over_phases([figures(_setting(), _side(8, 100.0))])
    found = apart(figures(_setting(), _side(late, worker_seconds)), base)
    assert found["equal"] is equal
    assert found["simulated_cost_range"] == [0, 0]
    assert found["cost_apart"] == pytest.approx(worker_seconds / 100 - 1)
    assert found["violation_points_apart"] == pytest.approx((late - 8) / 8)
    assert ("equal" if equal else "apart") in table([], [found])


def test_the_simulated_side_is_the_mean_over_the_moments_of_looking() -> None:
    """With its range: what lies inside is chance."""
    made = _setting()
    found = over_phases([figures(made, _side(8, 90.0)), figures(made, _side(24, 110.0))])
    assert (found["worker_seconds"], found["violation"]) == (100.0, 0.02)
    assert (found["worker_seconds_least"], found["worker_seconds_most"]) == (90.0, 110.0)
    assert apart(figures(made, _side(8, 105.0)), found)["simulated_cost_range"] == [-0.1, 0.1]


def test_a_run_that_looks_earlier_is_told_without_its_idle_seconds() -> None:
    """Arrivals, warm-up and steps are those of the load."""
    made = _setting()
    late = made.later(0.75)
    assert late.load.arrivals_s[1] - 0.75 == pytest.approx(made.load.arrivals_s[1])
    policy = registry.build("static", made.scenario.objective, workers=1)
    found = figures(made, simulated(made, run(policy, late.load, late.scenario), 0.75))
    assert (found["requests"], found["worker_seconds"]) == (800, 80)


def test_late_shares_are_by_the_time_of_sending() -> None:
    """The last 50 of 1,000 are half of the last ten seconds."""
    series = late_by(_setting(), _side(50, 1.0), 10.0)
    assert series.at_s.tolist() == [5, 15, 25, 35, 45, 55, 65, 75, 85, 95]
    assert series.values.tolist() == [0, 0, 0, 0, 0, 0, 0, 0, 0, 0.5]


def test_the_simulators_run_is_a_side() -> None:
    """Its cost is in worker-seconds: one fixed worker for what counts."""
    made = _setting()
    side = simulated(made, run(registry.build("static", made.scenario.objective, workers=1), made.load, made.scenario))
    found = figures(made, side)
    assert found["worker_seconds"] == 80
    assert found["mean_workers"] == 1
    # A batch takes 0.12 s and more while ten requests a second come in: they wait for the one before.
    assert 0.12 < found["p50_s"] < 0.3


def test_the_live_side_gets_the_same_group(tmp_path: Path) -> None:
    """The settings file says of workers, objective and policy what the scenario says."""
    made = _setting()
    path = tmp_path / "penstock.toml"
    path.write_text(
        settings_toml(made, "keda:lag_threshold=20", model=Path("m"), bootstrap="b:1", redis_url_file=Path("u")),
        encoding="utf-8",
    )
    tomllib.loads(path.read_text(encoding="utf-8"))
    tree = settings.load(path, {})
    assert tree.worker_types == (QUICK.as_worker_type(),)
    assert tree.pipeline.name == PIPELINE
    assert tree.pipeline.objective == made.scenario.objective
    assert tree.topics.partitions == 1
    assert tree.autoscaler.policy == "keda:lag_threshold=20"
    assert 0 < tree.worker.emulated_boot_s < KIND.boot_s
