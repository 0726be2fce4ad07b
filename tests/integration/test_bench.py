"""The benchmark for real, shortly: that it measures and checks, not how fast anything is."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from penstock.bench import children, warm_up
from penstock.bench.candidates import select
from penstock.bench.figure import write_figure
from penstock.bench.run import LOW_RATE, Options, run

if TYPE_CHECKING:
    from pathlib import Path

# Several processes with TensorFlow, one after the other: half a minute on two free cores, minutes on busy ones.
pytestmark = [pytest.mark.services, pytest.mark.tensorflow, pytest.mark.timeout(600)]


def test_rows_are_measured_checked_and_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our worker at saturation, the client's limit also in open loop, and a peer whose libraries are not there."""
    monkeypatch.setattr(children, "PEERS_PYTHON", tmp_path / "none/bin/python")
    # One way alone, ours: it would be three more starts of TensorFlow.
    monkeypatch.setattr(warm_up, "WAYS", warm_up.WAYS[1:2])
    said = io.StringIO()
    chosen = select(["penstock:exactly-once:binary:1:kafka-python", "kafka-client-limit", "quix:binary"])
    options = Options(
        # Without the latency of our own, which would be one more start of TensorFlow.
        tuple(dataclasses.replace(one, timed=one.timed and not one.computes) for one in chosen),
        # Processor time is told in hundredths of a second: as many as take a tenth.
        records=6000,
        seconds=0.3,
        open_loop_s=1.5,
        repeat=1,
        directory=tmp_path,
        warm_s=0.2,
        shares=False,
    )
    outcome = run(options, Console(file=said, width=200))
    assert outcome.problems == (), said.getvalue()
    first = said.getvalue().splitlines()[0]
    assert re.match(r"warming the broker +penstock \(exactly-once, binary\) +[1-9][\d,]* answers in 0.2 s", first)
    limit, ours, missing = outcome.rows
    assert (limit.name, ours.name, missing.name) == ("kafka-client-limit", "penstock", "quix")
    for row in (limit, ours):
        assert row.note is None
        assert row.records_per_s == row.rows_per_s
        assert (row.records_per_s or 0) > 0
        assert (row.cpu_us_per_record or 0) > 0
        assert row.more["records_per_transaction"] >= 1
        assert row.versions["kafka-python"]
    assert limit.rate == LOW_RATE
    assert limit.p50_ms is not None
    assert limit.p99_ms is not None
    assert 0 < limit.p50_ms <= limit.p99_ms
    assert limit.more["open_loop_unanswered"] == 0
    assert limit.more["open_loop_requests"] == pytest.approx(LOW_RATE * 1.5, rel=0.3)
    assert ours.p50_ms is ours.rate is None
    assert missing.note == "not installed: run make bench"
    told = json.loads(json.dumps(missing.as_json()))
    assert told["records_per_s"] is told["cpu_us_per_record"] is told["p50_ms"] is None
    write_figure(outcome.rows, tmp_path / "figure.png", "a note")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
