"""`penstock backtest`: what it prints, what it refuses, and that its scores mean what they say."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from autoscaler.forecasting.backtest import backtest
from autoscaler.forecasting.baselines import Naive, PlainArima, SeasonalNaive
from autoscaler.forecasting.settings import ForecastSettings
from penstock.cli.main import run

if TYPE_CHECKING:
    from pathlib import Path


def test_scores_are_those_of_the_quantiles_against_what_came() -> None:
    """Computed again from the run: losses, coverage and the ratio to the naive method."""
    rng = np.random.default_rng(1)
    counts = rng.poisson(300 + 100 * np.sin(np.arange(700) / 60)).astype(np.float64)
    found = backtest(counts, ForecastSettings(), season_s=None, clock=time.process_time)
    rates = counts.reshape(-1, 5).mean(axis=1)
    first = round(float(found.at_s[0]) / 5)
    assert found.actual[0] == pytest.approx(rates[first : first + 6].max())
    scores = {score.name: score for score in found.scores}
    error = found.actual - found.quantiles["combination"][:, 1]
    loss = np.maximum(0.9 * error, -0.1 * error).mean() / counts.mean() * 100
    assert scores["combination"].loss[0.9] == pytest.approx(loss, abs=1e-3)
    assert scores["combination"].coverage[0.9] == pytest.approx(float((error <= 0).mean()), abs=1e-4)
    assert scores["naive"].over_naive == 1.0
    assert sum(score.weight or 0.0 for score in found.scores) == pytest.approx(1.0, abs=1e-3)


def test_simple_methods_are_right_where_the_answer_is_known() -> None:
    """A season that comes again exactly, a constant, and a random walk with its known spread."""
    wave = np.tile(np.arange(20.0), 12)
    seasonal, naive, arima = SeasonalNaive(20), Naive(5), PlainArima()
    walk = 1000 + np.cumsum(np.random.default_rng(2).normal(size=200))
    for until in range(60, 201):
        from_season = seasonal.ahead(wave[:until], 6)
        from_level = naive.ahead(np.full(until, 7.0), 6)
        from_walk = arima.ahead(walk[:until], 6)
    assert from_season == pytest.approx([float(wave[200:206].max())] * 3)
    assert from_level == pytest.approx([7.0] * 3)
    # The highest of six steps of a walk of step 1: median 1.5 to 2 above the start, 0.99 about 2.58 * sqrt(6) above.
    assert from_walk is not None
    assert 0.8 < from_walk[0] - walk[199] < 3.2
    assert 4.0 < from_walk[2] - walk[199] < 9.0


def test_json_is_clean_and_the_report_has_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Progress goes to standard error."""
    arguments = ["backtest", "--pattern", "ramp", "--length", "480", "--rate", "200", "--season", "200", "--json"]
    assert run([*arguments, "--report", str(tmp_path)]) == 0
    told = json.loads(capsys.readouterr().out)
    names = [score["name"] for score in told["scores"]]
    assert {"combination", "paths", "level", "naive", "seasonal-naive", "arima"} <= set(names)
    assert told["judged"] == 66
    assert (tmp_path / "backtest-ramp.png").stat().st_size > 10_000
    assert json.loads((tmp_path / "backtest-ramp.json").read_text()) == told


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ([], "one load"),
        (["--pattern", "nothing"], "nothing"),
        (["--pattern", "ramp", "--horizon", "500"], "--horizon 500"),
        (["--pattern", "ramp", "--length", "60"], "60 s of counts"),
        (["--pattern", "ramp", "--rate", "-1"], "--rate -1"),
        (["--trace", "/nowhere/at-all.csv"], "at-all.csv"),
        (["--pattern", "azure_conv", "--start", "600"], "--pattern azure_conv is a window"),
        (["--pattern", "azure_conv", "--length", "600"], "--pattern azure_conv is a window"),
        (["--pattern", "ramp", "--rate", "nan"], "--rate"),
        (["--pattern", "ramp", "--start", "60"], "--pattern ramp is made up"),
        (["--pattern", "ramp", "--compression", "8"], "--pattern ramp is made up"),
    ],
)
def test_wrong_input_is_one_error_and_nothing_written(
    arguments: list[str], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2."""
    assert run(["backtest", *arguments, "--report", str(tmp_path / "report")]) == 2
    assert named in capsys.readouterr().err
    assert not (tmp_path / "report").exists()
