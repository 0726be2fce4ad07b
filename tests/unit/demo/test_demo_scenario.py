"""The demo's scenario, its settings file, its view and its traffic plan."""

from __future__ import annotations

import io
import tomllib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from rich.console import Console

from penstock import settings
from penstock.demo.scenario import scenario, settings_toml
from penstock.demo.surroundings import environment
from penstock.demo.traffic import Progress, TrafficLog, TrafficPlan, request_id, request_number
from penstock.demo.view import LINE_S, Moment, View, line, panel

if TYPE_CHECKING:
    from pathlib import Path

NOW = Moment(12.0, 60.0, "running", rate_per_s=40.0, declared=3, ready=2, backlog=7, p99_ms=2500.0, sent=9, received=8)


@pytest.mark.parametrize("device", ["emulated", "cpu", "gpu:0"])
def test_settings_file_is_what_the_product_reads(tmp_path: Path, device: str) -> None:
    """The written file loads through the product's own settings, awkward paths included."""
    made = scenario(seconds=20, device=device, objective_ms=1500, seed=1)
    text = settings_toml(made, model=tmp_path / 'a "b"', bootstrap="127.0.0.1:9", redis_url_file=tmp_path / "url")
    (tmp_path / "penstock.toml").write_text(text, encoding="utf-8")
    read = settings.load(tmp_path / "penstock.toml", environ={})
    assert read.pipeline.objective == made.objective
    assert read.worker_types == (made.worker_type,)
    assert read.pipeline.model == tmp_path / 'a "b"'
    assert tomllib.loads(text)["redis"] == {"url_file": str(tmp_path / "url")}


def test_scaling_is_expected_of_the_generated_pattern_on_emulated_workers_alone(tmp_path: Path) -> None:
    """A flat trace or a fast core may keep the fleet as it is."""
    trace = tmp_path / "t.csv"
    trace.write_text("t_seconds,requests\n" + "".join(f"{i},5\n" for i in range(100)), encoding="utf-8")
    assert scenario(seconds=20, device="emulated", objective_ms=1, seed=1).expects_scaling
    assert not scenario(seconds=20, device="cpu", objective_ms=1, seed=1).expects_scaling
    assert not scenario(seconds=20, device="emulated", objective_ms=1, seed=1, trace=trace).expects_scaling


def test_traffic_plan_and_log_survive_their_files(tmp_path: Path) -> None:
    """What one process writes the other reads; lateness counts only what was sent."""
    plan = TrafficPlan("b:1", "digits", 3.0, np.array([0.0, 1.0]), np.zeros((2, 8, 8, 1), dtype=np.float32))
    plan.save(tmp_path)
    again = TrafficPlan.load(tmp_path)
    assert (again.bootstrap, again.quiet_s, again.times_s.tolist()) == ("b:1", 3.0, [0.0, 1.0])
    log = TrafficLog(10.0, np.array([10.002, np.nan]), np.array([True, False]), np.array([10.1, np.nan]))
    log.save(tmp_path)
    assert TrafficLog.load(tmp_path).lateness_p99_ms(plan.times_s) == pytest.approx(2.0)


def test_a_plan_may_say_where_each_request_goes(tmp_path: Path) -> None:
    """Who compares with the simulator sends to the partitions that were drawn for both."""
    rows = np.arange(8, dtype=np.float32).reshape(2, 4)
    TrafficPlan("b:1", "p", 3.0, np.array([0.0, 1.0]), rows, "x", np.array([7, 3], dtype=np.int32)).save(tmp_path)
    plan = TrafficPlan.load(tmp_path)
    assert plan.partitions is not None
    assert (plan.input_name, plan.partitions.tolist(), plan.images.tolist()) == ("x", [7, 3], rows.tolist())


def test_request_ids_are_read_back_and_strangers_are_not() -> None:
    """Only ids of the demo's own form have a number."""
    assert request_number(request_id(17)) == 17
    assert [request_number(name) for name in (None, "demo-", "demo-x", "demo--1", "x-1", "demo-²")] == [None] * 6


def test_progress_lines_are_read_back_and_noise_is_not() -> None:
    """A library's warning on stdout is no progress."""
    said = Progress("running", 1.0, 0.5, 3, 2, 4.0)
    assert Progress.parse(said.line()) == said
    assert [Progress.parse(text) for text in ("", "warning", "[]", '{"phase": 1, "more": 2}')] == [None] * 4


def test_line_and_panel_name_the_emulated_device_and_unknowns() -> None:
    """Numbers of emulated workers are named so, and what is not known is a dash, never a zero."""
    text = line(NOW, 2000, "emulated")
    assert "emulated workers 2 ready of 3" in text
    assert "forecast -..-/s" in text
    console = Console(file=io.StringIO(), width=120)
    console.print(panel([NOW], 2000, "emulated", "Demo"))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert shown.count("(emulated)") == 2
    assert "last change    none yet" in shown


def test_plain_lines_come_every_few_seconds_and_at_each_change() -> None:
    """Without a terminal a line is due by time or by a change of the fleet, not at every moment."""
    clock = iter([0.0, 1.0, 2.0, 3.0, LINE_S + 2.5]).__next__
    console = Console(file=io.StringIO(), width=200)
    change = replace(NOW, action="scale-up", reason="more")
    with View(console, objective_ms=2000, device="emulated", title="Demo", clock=clock) as view:
        for moment in (NOW, NOW, change, change, NOW):
            view.show(moment)
    shown = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert ["scale-up" in text for text in shown] == [False, True, False]


def test_children_are_not_steered_by_the_users_variables() -> None:
    """Variables that would change the demo's settings are left out; the cache's place and the rest stay."""
    found = environment({"PENSTOCK_PIPELINE__NAME": "x", "PENSTOCK_CACHE": "c", "HOME": "h"})
    assert "PENSTOCK_PIPELINE__NAME" not in found
    assert (found["PENSTOCK_CACHE"], found["HOME"]) == ("c", "h")
    assert found["PYTHONPATH"]
