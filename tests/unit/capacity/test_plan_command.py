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
        ["--type", SMALL, "--share", "nan"],
        ["--type", SMALL, "--period", "nan"],
        ["--type", SMALL, "--request-bytes", "nan"],
        ["--type", SMALL, "--objective-ms", "inf"],
        ["--type", SMALL + ",max=inf"],
        ["--type", SMALL + ",min=inf"],
        ["--type", SMALL + ",max=2.5"],
        ["--type", "small=20:5:16,price=0.1,boot=nan"],
        ["--type", "small=nan:5:16,price=0.1"],
        ["--type", SMALL, "--scale", "1e-9"],
        ["--type", SMALL, "--seed", "-1"],
        ["--type", SMALL, "--copies", "3", "--brokers", "1"],
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


def test_a_worker_type_without_a_price_is_refused(
    tmp_path: Path, trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the settings too: what costs nothing has no cheapest fleet."""
    config = tmp_path / "penstock.toml"
    config.write_text(
        '[pipeline]\nname = "p"\nmodel = "m"\n[[worker_types]]\nname = "cpu"\nprice_per_hour = 0.0\n', encoding="utf-8"
    )
    assert run(["plan", str(trace), "--config", str(config), "--out", str(tmp_path / "plan.json")]) == 2
    said = "Error: worker type cpu: price_per_hour=0; give a price an hour above 0\n"
    assert capsys.readouterr().err == said


def test_a_file_of_records_is_planned_and_its_bytes_are_measured(tmp_path: Path) -> None:
    """`t_seconds,partition,bytes`, as the help promises."""
    path, out = tmp_path / "records.csv", tmp_path / "plan.json"
    rows = "".join(f"{i / 20:.3f},{i % 4},{500 + i % 3}\n" for i in range(12_000))
    path.write_text("t_seconds,partition,bytes\n" + rows, encoding="utf-8")
    assert run(["plan", str(path), "--type", SMALL, "--result-bytes", "100", "--out", str(out)]) == 0
    plan = json.loads(out.read_text(encoding="utf-8"))
    assert plan["topics"]["bytes_measured"] is True
    assert plan["topics"]["written_per_s"] == pytest.approx(20 * (501 + 70 + 100 + 70), rel=0.01)
    assert plan["predicted"]["requests"] == 12_000


def test_zero_bins_that_were_left_out_change_nothing_but_a_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The load is the same; where most bins are left out there is a plan too."""
    counts = np.random.default_rng(5).poisson(0.3, 1200)
    counts[-1] = 1
    plans = []
    for name, wanted in (("full.csv", counts >= 0), ("few.csv", counts > 0)):
        path, out = tmp_path / name, tmp_path / "plan.json"
        rows = "".join(f"{i},{n}\n" for i, n in enumerate(counts) if wanted[i])
        path.write_text("t_seconds,requests\n" + rows, encoding="utf-8")
        assert run(["plan", str(path), "--type", SMALL, "--out", str(out)]) == 0
        plans.append(json.loads(out.read_text(encoding="utf-8")))
    full, few = plans
    assert few["predicted"]["requests"] == full["predicted"]["requests"] == counts.sum()
    assert [of["rate_per_s"] for of in few["schedule"]] == pytest.approx(
        [of["rate_per_s"] for of in full["schedule"]], rel=0.15
    )
    assert full["notes"] == []
    assert "wider than 1 s" in few["notes"][0]
    assert "wider than 1 s" in capsys.readouterr().out


def test_a_record_with_more_gaps_than_load_is_refused(
    tmp_path: Path, trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where less than half of every period was recorded there is no rate to size for."""
    trace.with_name("load.gaps.csv").write_text("gap_start_s,gap_len_s\n50,1100\n", encoding="utf-8")
    assert run(["plan", str(trace), "--type", SMALL, "--out", str(tmp_path / "plan.json")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "of each period of 300 s less than half was recorded" in said


def test_a_type_that_must_have_workers_is_in_every_fleet(tmp_path: Path, trace: Path) -> None:
    """A dearer one too: a fleet without it is no candidate."""
    out = tmp_path / "plan.json"
    assert run(["plan", str(trace), "--type", SMALL, "--type", "big=5:1:64,price=2,min=1", "--out", str(out)]) == 0
    plan = json.loads(out.read_text(encoding="utf-8"))
    assert all(period["workers"]["big"] >= 1 for period in plan["schedule"])
    assert all(option["peak_workers"]["big"] >= 1 for option in plan["options"])


@pytest.mark.parametrize(("width_s", "period_s", "found_s"), [(200, None, 400), (120, 60, 120), (300, None, 300)])
def test_periods_are_whole_bins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], width_s: int, period_s: int | None, found_s: int
) -> None:
    """Rounded up, which is told."""
    path, out = tmp_path / "load.csv", tmp_path / "plan.json"
    path.write_text(
        "t_seconds,requests\n" + "".join(f"{i * width_s},{10 * width_s}\n" for i in range(6)), encoding="utf-8"
    )
    given = [] if period_s is None else ["--period", str(period_s)]
    assert run(["plan", str(path), "--type", SMALL, *given, "--out", str(out)]) == 0
    plan = json.loads(out.read_text(encoding="utf-8"))
    assert plan["period_s"] == found_s
    assert [of["from_s"] for of in plan["schedule"]] == list(range(0, 6 * width_s, found_s))
    words = f"periods of {found_s} s instead of {period_s or 300} s"
    assert any(words in note for note in plan["notes"]) == (found_s != (period_s or 300))
    assert (words in capsys.readouterr().out) == (found_s != (period_s or 300))


def test_bins_that_hide_the_peak_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A day's count says nothing of the busiest minute."""
    path = tmp_path / "daily.csv"
    path.write_text("t_seconds,requests\n0,900000\n86400,800000\n", encoding="utf-8")
    assert run(["plan", str(path), "--type", SMALL, "--out", str(tmp_path / "plan.json")]) == 2
    assert capsys.readouterr().err == f"Error: {path}: bins of 86400 s hide the peak; count in 3600 s or less\n"
