"""`penstock simulate`: what it prints, what it writes, and what it refuses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from autoscaler.simulation.scenario import Scenario
from penstock.cli.main import run
from penstock.simulate import policies
from penstock.simulate.bounds import bounds
from penstock.simulate.errors import BadInput
from penstock.simulate.frontier import frontier
from penstock.simulate.rows import cells, markdown, summary, unmet
from penstock.simulate.scenario_file import parse_scenario
from penstock.simulate.windows import window

if TYPE_CHECKING:
    from pathlib import Path

KEYS = [
    "policy",
    "trace",
    "cost",
    "cost_over_fluid",
    "cost_over_clairvoyant",
    "violation",
    "p50_s",
    "p99_s",
    "scale_actions",
    "rebalance_pause_s",
    "mean_workers",
    "max_workers",
    "decide_ms_p99",
]
SMALL = """
partitions = 12
mean_rate = 60
warm_up_s = 10
rebalance_pause_s = 0.5
[[worker_type]]
name = "cpu"
a_s = 0.02
b_s = 0.02
max_batch = 8
boot_s = 4
max = 12
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Bounds are remembered in a directory of this test."""
    monkeypatch.setenv("PENSTOCK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def scenario(tmp_path: Path) -> str:
    """A small group's file."""
    path = tmp_path / "small.toml"
    path.write_text(SMALL, encoding="utf-8")
    return str(path)


def test_json_report_and_gaps(tmp_path: Path, scenario: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A list of runs with the promised keys on a clean standard output; pictures, table and frontier in the report."""
    rows = "\n".join(f"{second},{30 if second % 40 < 30 else 0}" for second in range(200))
    (tmp_path / "t.csv").write_text(f"t_seconds,requests\n{rows}\n", encoding="utf-8")
    (tmp_path / "t.gaps.csv").write_text("gap_start_s,gap_len_s\n70,10\n", encoding="utf-8")
    report = tmp_path / "report"
    arguments = ["simulate", "--trace", str(tmp_path / "t.csv"), "--start", "40", "--length", "140", "--pattern"]
    arguments += ["step5", "--policy", "static:workers=6", "--policy", "clairvoyant", "--scenario", scenario]
    assert run([*arguments, "--json", "--report", str(report), "--compression", "1"]) == 0
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    assert [(one["trace"], one["policy"]) for one in found] == [
        (trace, policy) for trace in ("t.csv", "step5") for policy in ("static:workers=6", "clairvoyant")
    ]
    for one in found:
        assert list(one)[: len(KEYS)] == KEYS
        assert one["cost"] >= one["fluid_cost"] > 0
        assert 0 <= one["violation"] <= 1
    assert found[0]["length_s"] == pytest.approx(130)
    assert "gaps of 10 s cut out" in found[0]["load"]
    assert found[0]["max_workers"] == 6
    # 120 s of the 130 count, 128 s or more of which at six workers: the first look declares them.
    assert found[0]["cost"] == pytest.approx(6 * 120 / 3600, rel=0.01)
    assert found[1]["cost_over_clairvoyant"] == pytest.approx(1.0, abs=1e-6)
    assert found[1]["violation"] <= 0.01
    names = {file.name for file in report.iterdir()}
    assert names == {
        "t.csv-static_workers_6.png", "t.csv-clairvoyant.png", "step5-static_workers_6.png", "step5-clairvoyant.png",
        "frontier.png", "report.md", "runs.json",
    }  # fmt: skip
    assert "## Over all loads" in (report / "report.md").read_text(encoding="utf-8")


def test_a_table_for_people(scenario: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Runs, the load in words; without the search no comparison with it."""
    arguments = ["simulate", "--pattern", "constant", "--length", "60", "--policy", "static:workers=3"]
    assert run([*arguments, "--scenario", scenario, "--no-clairvoyant", "--seed", "3"]) == 0
    out = capsys.readouterr().out
    assert "static:workers=3" in out
    assert "seed 3" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no load was named"),
        (["--pattern", "constant"], "no policy was named"),
        (["--pattern", "nothing", "--policy", "keda"], "load 'nothing' is not known"),
        (["--pattern", "step5", "--policy", "keda", "--start", "60"], "--pattern step5 is made up"),
        (["--pattern", "step5", "--policy", "keda", "--compression", "8"], "--pattern step5 is made up"),
        (["--pattern", "step5", "--policy", "keda", "--smooth", "60"], "--pattern step5 is made up"),
        (["--pattern", "nasa", "--policy", "keda"], "--traces DIR"),
        (["--suite", "all", "--policy", "keda"], "--suite all is not known"),
        (["--pattern", "constant", "--policy", "kedda"], "--policy kedda"),
        (["--pattern", "constant", "--policy", "keda:threshold=3"], "--policy keda:threshold=3"),
        (["--pattern", "constant", "--policy", "static:workers"], "'workers' has no value"),
        (["--pattern", "constant", "--policy", "static"], "workers"),
        (["--pattern", "constant", "--policy", "keda", "--length", "-5"], "length=-5"),
        (["--pattern", "constant", "--policy", "keda", "--compression", "0"], "compression=0"),
        (["--pattern", "constant", "--policy", "keda", "--seed", "-1"], "seed=-1"),
        (["--pattern", "constant", "--policy", "clairvoyant", "--no-clairvoyant"], "not searched"),
        (["--pattern", "constant", "--policy", "penstock", "--reserve", "-1"], "reserve=-1"),
        (["--trace", "none.csv", "--policy", "keda"], "--trace none.csv"),
        (
            ["--pattern", "constant", "--policy", "static:workers=2", "--length", "100"],
            "100 s are over before the warm-up",
        ),
        (["--pattern", "azure_conv", "--policy", "keda", "--start", "600"], "--pattern azure_conv is a window"),
        (["--suite", "reference", "--policy", "keda", "--length", "600"], "--pattern azure_conv is a window"),
        (["--pattern", "constant", "--policy", "keda", "--smooth", "inf"], "--smooth"),
        (["--pattern", "constant", "--policy", "keda", "--scenario", "none.toml"], "none.toml"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_runs(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2, cause and cure, nothing written."""
    monkeypatch.delenv("PENSTOCK_TRACES", raising=False)
    report = tmp_path / "report"
    assert run(["simulate", *arguments, "--report", str(report)]) == 2
    told = capsys.readouterr()
    assert said in told.err
    assert not told.out
    assert not report.exists()


def test_a_reserve_is_paid_and_is_only_penstocks(scenario: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Two workers more, all the time; a rival has no reserve."""
    found: dict[str, list[float]] = {}
    for reserve in ("0", "2"):
        options = ["--pattern", "constant", "--length", "200", "--policy", "penstock", "--policy", "static:workers=3"]
        assert (
            run(["simulate", *options, "--scenario", scenario, "--no-clairvoyant", "--json", "--reserve", reserve]) == 0
        )
        runs = json.loads(capsys.readouterr().out)
        found[reserve] = [run["mean_workers"] for run in runs]
    assert found["2"][0] >= found["0"][0] + 1.5
    assert found["2"][1] == found["0"][1]


def test_names_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """Patterns, windows, suites and policies."""
    assert run(["simulate", "--list"]) == 0
    out = capsys.readouterr().out
    for name in ("sawtooth6", "azure_conv", "reference", "keda", "clairvoyant"):
        assert name in out


def test_bounds_are_remembered_by_content(own_cache: Path) -> None:
    """The second time they are read; another scenario is searched anew; a broken file too."""
    scenario = parse_scenario(SMALL, "small")
    load = window("constant", Scenario(partitions=12, mean_rate=20.0, mean_workers=None))
    told: list[float] = []
    first = bounds(load, scenario, told.append)
    searched = len(told)
    assert searched > 0
    assert bounds(load, scenario, told.append) == first
    assert len(told) == searched
    (kept,) = (own_cache / "simulate").iterdir()
    kept.write_text("{", encoding="utf-8")
    assert bounds(load, scenario, told.append) == first
    assert len(told) == 2 * searched


def test_the_frontier_is_what_no_other_beats_in_both() -> None:
    """By hand."""
    points = [("a", 0.0, 2.0), ("b", 1.0, 1.5), ("c", 1.5, 1.6), ("d", 5.0, 1.0), ("e", 1.0, 1.7)]
    assert [name for name, _, _ in frontier(points)] == ["a", "b", "d"]


def test_the_summary_is_a_geometric_mean_and_a_count() -> None:
    """Cost 1 and 4 times, late 0 and 3 %: 2 times, 1.5 %, one of two within."""
    rows = [
        {"policy": "p", "trace": "x", "cost_over_clairvoyant": 1.0, "violation": 0.0, "objective_share": 0.99},
        {"policy": "p", "trace": "y", "cost_over_clairvoyant": 4.0, "violation": 0.03, "objective_share": 0.99},
    ]
    (found,) = summary(rows)
    assert found["cost_over_clairvoyant"] == pytest.approx(2.0)
    assert (found["violation_mean"], found["violation_worst"]) == (pytest.approx(0.015), 0.03)
    assert (found["within"], found["loads"]) == (1, 2)
    assert cells(rows[1])[:6] == ["y", "p", "-", "-", "4.00", "3.00"]
    assert "| p | 2 | 2.000 | 1.50 | 3.00 | 1/2 |" in markdown(rows, ["words"])


def test_what_no_boot_had_in_time_is_said_with_its_price(scenario: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A step of five times: the share that came before a boot, and the workers or the boot that would have kept it."""
    arguments = ["simulate", "--pattern", "step5", "--length", "900", "--policy", "penstock", "--policy", "keda"]
    assert run([*arguments, "--scenario", scenario, "--no-clairvoyant", "--json"]) == 0
    ours, keda = json.loads(capsys.readouterr().out)
    assert keda["head_room"] is None
    assert unmet(keda) == ""
    room = ours["head_room"]
    # Modelled on the last hour, old load at less weight: near the share that was late, not below it.
    assert room["unavoidable_share"] == pytest.approx(ours["violation"], rel=0.3)
    assert room["unavoidable_share"] > room["allowed_share"]
    said = unmet(ours)
    assert said.startswith(f"step5, penstock: {room['unavoidable_share']:.2%} of the load")
    assert f"{room['workers']} more workers at all times ({room['price_per_hour']:g} an hour)" in said
    page = markdown([ours, keda], ["words"])
    assert "## What came before a boot had passed" in page
    assert said in page
    assert "What came before" not in markdown([keda], ["words"])


def test_parameters_of_a_policy() -> None:
    """Read as the type of the default."""
    policy = policies.build("static:workers=4,tick_s=5", Scenario().objective)
    assert (policy.name, policy.tick_s) == ("static", 5.0)
    with pytest.raises(BadInput, match="workers"):
        policies.build("static:workers=many", Scenario().objective)


def test_a_trace_that_ends_before_the_warm_up_is_refused(
    tmp_path: Path, scenario: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing of it would count: a cost of 0 would be no cost."""
    path = tmp_path / "t.csv"
    path.write_text("t_seconds,requests\n" + "".join(f"{i},30\n" for i in range(10)), encoding="utf-8")
    arguments = ["simulate", "--trace", str(path), "--policy", "static:workers=2", "--no-clairvoyant", "--json"]
    assert run([*arguments, "--scenario", scenario]) == 2
    told = capsys.readouterr()
    assert not told.out
    assert "t.csv: 10 s are over before the warm-up of 10 s ends" in told.err


def test_a_run_in_which_no_request_counts_has_no_ratio(tmp_path: Path, scenario: str) -> None:
    """Null, not infinity; the picture says so too."""
    path = tmp_path / "t.csv"
    rows = "".join(f"{i},{600 if i < 5 else 0}\n" for i in range(40))
    path.write_text("t_seconds,requests\n" + rows, encoding="utf-8")
    report = tmp_path / "report"
    arguments = ["simulate", "--trace", str(path), "--policy", "static:workers=2", "--no-clairvoyant"]
    assert run([*arguments, "--scenario", scenario, "--report", str(report)]) == 0
    (found,) = json.loads((report / "runs.json").read_text(encoding="utf-8"))
    assert found["cost"] > 0
    assert found["cost_over_fluid"] is None
