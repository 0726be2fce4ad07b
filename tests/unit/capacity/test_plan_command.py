"""`penstock plan`: it holds in the simulator, foretells it, and refuses nonsense in one line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest

from penstock.cli.main import run

if TYPE_CHECKING:
    from pathlib import Path

#: 20 ms + 5 ms a row, at most 16 rows: 160 a second at full batches.
SMALL = "small=20:5:16,price=0.1,boot=5"


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """20 minutes with a busy half, and a gap's worth of nothing else: 60/s, then 240/s."""
    rates = np.r_[np.full(600, 60.0), np.full(600, 240.0)]
    counts = np.random.default_rng(3).poisson(rates)
    path = tmp_path / "load.csv"
    path.write_text("t_seconds,requests\n" + "".join(f"{i},{n}\n" for i, n in enumerate(counts)), encoding="utf-8")
    return path


def test_a_plan_holds_in_the_simulator_and_foretells_it(
    tmp_path: Path, trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Predicted 99th percentile and cost within 15 % of each simulated draw; each meets the objective."""
    out, report = tmp_path / "plan.json", tmp_path / "report"
    assert run(["plan", str(trace), "--type", SMALL, "--out", str(out), "--report", str(report)]) == 0
    plan = json.loads(out.read_text(encoding="utf-8"))
    assert plan["best"] == "autoscaled, small"
    assert plan["proven"] is True
    first, *_, last = [period["workers"]["small"] for period in plan["schedule"]]
    assert first == 1
    # 240/s on workers of 160/s at most.
    assert 2 <= last <= 3
    assert plan["partitions"] >= 2 * last
    for simulated in plan["simulated"]:
        assert simulated["attainment"] >= 0.99
        assert simulated["p99_s"] == pytest.approx(plan["predicted"]["p99_s"], rel=0.15)
        assert simulated["cost"] == pytest.approx(plan["predicted"]["cost"], rel=0.15)
    costs = {option["name"]: option["cost_per_month"] for option in plan["options"]}
    assert costs["autoscaled, small"] < costs["fixed peak fleet, small"]
    assert costs["fixed peak fleet, small"] == pytest.approx(last * 0.1 * 730)
    rows = {row["name"]: row for row in plan["sensitivities"]}
    assert rows["load -30%"]["autoscaled_per_month"] <= plan["options"][1]["cost_per_month"]
    assert rows["load +30%"]["autoscaled_per_month"] >= plan["options"][1]["cost_per_month"]
    page = (report / "plan.html").read_text(encoding="utf-8")
    assert page.index("a month") < page.index("<svg")
    assert page.count("<svg") == 3
    assert "q = floor(" in page
    assert "workers" in capsys.readouterr().out


def test_the_cheaper_mix_is_found(tmp_path: Path, trace: Path) -> None:
    """A dear fast worker is worth it at no time here; then the plan has none of it, alone or mixed."""
    out = tmp_path / "plan.json"
    assert run(["plan", str(trace), "--type", SMALL, "--type", "big=10:1:64,price=9,boot=40", "--out", str(out)]) == 0
    plan = json.loads(out.read_text(encoding="utf-8"))
    costs = {option["name"]: option["cost_per_month"] for option in plan["options"]}
    assert costs["autoscaled, mixed"] == pytest.approx(costs["autoscaled, small"])
    assert all(period["workers"]["big"] == 0 for period in plan["schedule"])


def test_a_live_policy_stands_beside_the_plan(tmp_path: Path, trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It does not know what comes: enough workers all the time cost more, one is late; both are told."""
    out, report = tmp_path / "plan.json", tmp_path / "report"
    arguments = ["--type", SMALL, "--policy", "static:workers=4", "--policy", "static:workers=1"]
    assert run(["plan", str(trace), *arguments, "--out", str(out), "--report", str(report)]) == 0
    plan = json.loads(out.read_text(encoding="utf-8"))
    many, one = plan["policies"]
    # 120 s of 20 minutes count in nothing.
    assert many["cost"] == pytest.approx(4 * 0.1 * 1080 / 3600, rel=0.02)
    assert many["times"] == pytest.approx(many["cost"] / many["planned_cost"])
    assert many["times"] > 1.5
    assert many["attainment"] >= 0.99
    assert one["times"] < 1
    assert one["attainment"] < 0.6
    assert "policy static:workers=4" in capsys.readouterr().out
    assert "A live policy" in (report / "plan.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--type", "small=20:5:16,price=-1"],
        ["--type", "small=20:5:16"],
        ["--type", "small=20:5:16,price=1,colour=3"],
        ["--type", "small=none.json,price=1"],
        ["--type", "small=20:5:0,price=1"],
        ["--type", SMALL, "--objective-ms", "40"],
        ["--type", SMALL, "--scale", "-2"],
        ["--type", SMALL, "--scale", "nan"],
        ["--type", SMALL, "--type", SMALL],
        ["--type", SMALL + ",max=1", "--scale", "9"],
        ["--type", SMALL, "--policy", "oracle"],
        ["--type", SMALL, "--policy", "static:wings=2"],
        [],
    ],
)
def test_nonsense_is_one_line_and_code_2(
    tmp_path: Path, trace: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    """A negative price, an objective below the service time, no types: one line, code 2, nothing written."""
    out = tmp_path / "plan.json"
    assert run(["plan", str(trace), *arguments, "--out", str(out), "--report", str(tmp_path / "report")]) == 2
    assert capsys.readouterr().err.strip().count("\n") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["load.csv"]


def test_an_empty_trace_or_an_unknown_column_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty trace, or an unknown column, is one line and code 2."""
    for text in ("", "t_seconds,hits\n0,1\n1,1\n", "t_seconds,requests\n0,0\n1,0\n"):
        path = tmp_path / "bad.csv"
        path.write_text(text, encoding="utf-8")
        assert run(["plan", str(path), "--type", SMALL, "--out", str(tmp_path / "plan.json")]) == 2
        assert capsys.readouterr().err.strip().count("\n") == 0
    assert not (tmp_path / "plan.json").exists()
