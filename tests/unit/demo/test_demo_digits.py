"""The demo's model, and what is read back of its answers."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from autoscaler.model import ArrivalSample, FleetStatus
from penstock.demo.contents import answer_of
from penstock.demo.digits import Training
from penstock.demo.errors import TrainingFailed
from penstock.demo.ledger import ACCURACY
from penstock.demo.traffic import Progress
from penstock.demo.watch import moment_of
from streams.records import Encoding, encode_result

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Record:
    """A record of the results topic."""

    value: bytes | None
    headers: list[tuple[str, bytes]] = field(default_factory=list)
    topic: str = "digits.results"
    partition: int = 3
    offset: int = 9


@pytest.mark.tensorflow
def test_model_is_trained_once_apart_from_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exported model is right often enough; a second demo takes it from the cache, and TensorFlow stays outside."""
    # Tests that ran before may have imported it here.
    imported = "tensorflow" in sys.modules
    with Training(tmp_path) as training:
        first = training.result()
    assert first.trained_now
    assert (first.model / "1" / "saved_model.pb").is_file()
    assert first.accuracy >= ACCURACY
    assert (first.expected.argmax(axis=1) == first.labels).mean() == pytest.approx(first.accuracy)
    assert first.images.shape[1:] == (8, 8, 1)
    assert 0 <= first.images.min() <= first.images.max() <= 1
    assert ("tensorflow" in sys.modules) == imported
    monkeypatch.setattr("penstock.demo.digits.subprocess.Popen", None)
    again = Training(tmp_path).result()
    assert not again.trained_now
    assert np.array_equal(again.images, first.images)
    assert [path.name for path in tmp_path.iterdir()] == [first.model.parents[1].name]


def test_failed_training_says_why_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A training that ends with an error is one clear error, and its leavings are not taken for a model."""
    monkeypatch.setattr("penstock.demo.digits.sys.executable", "/bin/false")
    with Training(tmp_path) as training, pytest.raises(TrainingFailed, match="ended with code 1"):
        training.result()
    assert list(tmp_path.iterdir()) == []


def test_answers_are_read_and_unreadable_ones_are_failures() -> None:
    """A result gives its probabilities; a broken one counts as failed under its header's id."""
    outputs: dict[str, Any] = {"probabilities": np.arange(10, dtype=np.float32)[None]}
    value, headers = encode_result(
        outputs, request_id="demo-1", model_name="digits", model_version="1", encoding=Encoding.BINARY
    )
    named = ("request-id", b"demo-1")
    good = answer_of(Record(value, [*headers, named, ("status", b"ok")]))
    assert (good.request_id, good.status) == ("demo-1", "ok")
    assert good.probabilities is not None
    assert good.probabilities.tolist() == list(range(10))
    for broken in (Record(b"{", [named]), Record(None, [named]), Record(value[:-3], [*headers, named])):
        assert (answer_of(broken).request_id, answer_of(broken).status) == ("demo-1", "failed")
    assert answer_of(Record(b"{")).request_id == "digits.results-3-9"


def test_live_numbers_come_from_redis_and_else_from_telemetry() -> None:
    """Redis decides where it speaks; without it rate, fleet and backlog come from the tape, the forecast is unknown."""
    fleet = FleetStatus({"emulated": 3}, {"emulated": 2})
    samples = [ArrivalSample("digits", 10.0, {0: 5}, {0: 5}), ArrivalSample("digits", 12.0, {0: 25}, {0: 21}, fleet)]
    progress = Progress("running", 12.0, 2.0, 25, 21, 90.0)
    away = moment_of({}, samples, [], progress, now_s=12.0, duration_s=60.0)
    assert (away.rate_per_s, away.declared, away.running, away.backlog) == (10.0, 3, 2, 4)
    assert (away.upper_per_s, away.reason, away.at_s, away.ready) == (None, None, 10.0, 0)
    fields = {"rate_1s_per_s": "11.5", "backlog": "7", "workers_declared": "4", "forecast_upper_per_s": "20"}
    told = moment_of(fields, samples, [], progress, now_s=12.0, duration_s=60.0)
    assert (told.rate_per_s, told.declared, told.backlog, told.upper_per_s) == (11.5, 4, 7, 20.0)
    nothing = moment_of({}, [], [], None, now_s=12.0, duration_s=60.0)
    assert (nothing.rate_per_s, nothing.declared, nothing.backlog, nothing.phase) == (None, None, None, "waiting")
