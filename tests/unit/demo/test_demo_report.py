"""The report and the summary of a finished run."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from penstock.demo import history as past
from penstock.demo.outcome import summary
from penstock.demo.report import render, write_report

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from penstock.demo.outcome import Outcome

#: What the summary promises to hold at least.
PROMISED = (
    "sent",
    "ok",
    "failed",
    "expired",
    "lost",
    "duplicated",
    "accuracy",
    "p50_ms",
    "p99_ms",
    "objective_ms",
    "attainment",
    "workers_min",
    "workers_max",
    "scale_ups",
    "scale_downs",
    "worker_seconds",
    "fixed_fleet_worker_seconds",
    "device",
    "arrivals",
)


def test_summary_has_every_promised_field(forge: Callable[..., Outcome]) -> None:
    """Each promised field is there and known, and the whole is JSON."""
    found: dict[str, Any] = json.loads(json.dumps(summary(forge(30)), allow_nan=False))
    assert {name: found[name] for name in PROMISED if found.get(name) is None} == {}
    assert (found["lost"], found["duplicated"], found["verdict"]) == (0, 0, "green")
    assert (found["device"], found["arrivals"]) == ("emulated", "generated")
    assert (found["scale_ups"], found["scale_downs"], found["workers_min"], found["workers_max"]) == (2, 2, 2, 6)


def test_lost_request_is_red_in_summary_and_page(forge: Callable[..., Outcome]) -> None:
    """A red run says so in both files and names the lost id."""
    run = forge(12, lose=1)
    page = render(run, "")
    assert summary(run)["verdict"] == "red"
    assert '<span class="badge red">red</span>' in page
    assert run.audit.lost[0] in page


def test_page_stands_alone_and_escapes(forge: Callable[..., Outcome], tmp_path: Path) -> None:
    """The page fetches nothing, escapes what decisions say, names the emulated device, and has a picture beside it."""
    page = write_report(forge(12), tmp_path).read_text(encoding="utf-8")
    assert not re.search(r'(src|href)="(?!#|data:)', page)
    assert "<svg" in page
    assert "needed for &lt;" in page
    assert "emulated device: real answers" in page
    assert json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))["verdict"] == "green"
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")


def test_without_decisions_the_changes_come_from_the_tape(forge: Callable[..., Outcome]) -> None:
    """Redis lost: the fleet's changes are read from the telemetry, their reasons said to be unknown."""
    run = forge(30, with_decisions=False)
    assert [change.after for change in run.history.changes] == [3, 6, 4, 2]
    assert "Redis kept no decisions" in render(run, "")


def test_worker_seconds_are_the_integral_of_the_steps() -> None:
    """Two workers for 4 s, then five for 6 s, are 38 worker-seconds; outside the window nothing counts."""
    series = past._series([(-3, 2), (4, 5), (12, 9)])
    assert past.seconds_above(series, 0, 10) == pytest.approx(2 * 4 + 5 * 6)
    assert past.extremes(series, 0, 10) == (2, 5)
    assert past.extremes(past._series([]), 0, 10) is None


def test_unreadable_decisions_are_left_out() -> None:
    """Entries without readable JSON do not spoil the rest, which come out in order."""
    good = [{"json": json.dumps({"at_s": at, "fleet": {"cpu": 1}})} for at in (2, 1)]
    found = past.parse_decisions([{}, {"json": "{"}, {"json": "[]"}, *good])
    assert [decision["at_s"] for decision in found] == [1, 2]
