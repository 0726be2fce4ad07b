"""The service curve, stated and fitted; the emulated device; the slot."""

from __future__ import annotations

import contextlib
import math
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from autoscaler.model import ServiceCurve
from inference_workers import slot
from inference_workers.counters import Counters
from inference_workers.curve import CurveFit
from inference_workers.device import Device, parse_device
from inference_workers.errors import InvalidDevice, SlotTaken
from inference_workers.settings import WorkerSettings

if TYPE_CHECKING:
    from pathlib import Path

CURVE = ServiceCurve(0.02, 0.01, 8)


def test_the_fit_finds_the_line_through_noise_and_outliers() -> None:
    """A and b come back within 5 % although one batch in ten stalls for a second (medians do not see it)."""
    fit, random = CurveFit(64), np.random.default_rng(1)
    for index in range(600):
        rows = int(random.choice([1, 2, 4, 8, 16, 32, 64]))
        stall = 1.0 if index % 10 == 0 else 0.0
        fit.add(rows, 0.005 + 0.001 * rows + stall + random.normal(0, 1e-5))
    curve = fit.curve()
    assert curve is not None
    assert math.isclose(curve.a_s, 0.005, rel_tol=0.05)
    assert math.isclose(curve.b_s, 0.001, rel_tol=0.05)


def test_a_size_that_is_added_while_the_curve_is_fitted_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches are added by one thread and the curve is asked for by another; the next fit has the new size."""
    fit = CurveFit(8)
    fit.add(1, 0.03)
    fit.add(2, 0.04)
    median, late = np.median, [4, 8]

    def slowly(times: Any) -> Any:
        if late:
            rows = late.pop()
            fit.add(rows, 0.02 + 0.01 * rows)
        return median(times)

    monkeypatch.setattr(np, "median", slowly)
    curve = fit.curve()
    assert curve is not None
    assert math.isclose(curve.b_s, 0.01, rel_tol=1e-6)


def test_one_size_tells_no_line() -> None:
    """Not known is not a guess."""
    fit = CurveFit(8)
    fit.add(4, 0.1)
    assert fit.curve() is None


def test_an_emulated_device_holds_the_worker_for_the_rest_of_the_stated_time() -> None:
    """The answer is the model's own; the time is the stated curve's, less what the computation took."""
    model: Any = SimpleNamespace(run=lambda inputs: {"y": inputs["x"] + 1})
    clock = iter([100.0, 100.015, 100.05])
    held: list[float] = []
    outputs, seconds, rows = Device(emulated=CURVE).compute(
        model, {"x": np.zeros((4, 1))}, 3, clock=lambda: next(clock), hold=held.append
    )
    assert held == [pytest.approx(0.02 + 0.03 - 0.015)]
    assert seconds == pytest.approx(0.05)
    assert rows == 3, "an emulated device does not pay for padding"
    assert np.all(outputs["y"] == 1)


def test_an_emulated_device_says_so() -> None:
    """Its name stands beside each of its numbers."""
    assert parse_device("emulated", CURVE).label == "emulated(20 ms + 10 ms/row, batch 8)"
    assert parse_device("gpu:1", CURVE).label == "gpu:1"
    with pytest.raises(InvalidDevice, match="'tpu': must be cpu, gpu:N"):
        parse_device("tpu", CURVE)


def test_a_slot_belongs_to_one_holder(tmp_path: Path) -> None:
    """A second holder is told who has it; after the first is done it is free."""
    with (
        slot.held(tmp_path, "w0"),
        pytest.raises(SlotTaken, match="another --slot"),
        slot.held(tmp_path, "w0", ending_s=0),
    ):
        pass
    with slot.held(tmp_path, "w0"):
        pass


def test_a_replacement_waits_for_a_holder_that_is_ending(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed process keeps its files for a moment after it counts as ended."""
    first = contextlib.ExitStack()
    first.enter_context(slot.held(tmp_path, "w0"))
    looks: list[float] = []

    def look(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            first.close()

    monkeypatch.setattr(slot, "time", SimpleNamespace(monotonic=lambda: 0.0, sleep=look))
    with slot.held(tmp_path, "w0"):
        assert len(looks) == 3


def test_latencies_fall_into_their_buckets_and_are_reported_once() -> None:
    """Counters run on, latency counts start anew with each snapshot."""
    counters = Counters()
    counters.delivered([], np.array([0.0005, 1000.0]))
    counts = counters.snapshot().latency_counts
    assert (counts[0], counts[-1], sum(counts)) == (1, 1, 2)
    assert sum(counters.snapshot().latency_counts) == 0


def test_an_emulated_start_may_take_each_type_its_own_time() -> None:
    """One time for all, or by type; who is not named starts as quickly as it comes."""
    assert WorkerSettings(emulated_boot_s=3.0).boot_s("gpu") == 3.0
    by_type = WorkerSettings(emulated_boot_s={"gpu": 90.0})
    assert (by_type.boot_s("gpu"), by_type.boot_s("cpu")) == (90.0, 0.0)


@pytest.mark.parametrize(
    ("field", "value"),
    [("delivery", "twice"), ("max_batch", 0), ("drain_s", 0), ("session_timeout_ms", 100), ("revoke_drain_s", 60)],
)
def test_a_setting_out_of_range_is_named_with_its_value(field: str, value: object) -> None:
    """Field, value and what is allowed."""
    with pytest.raises(ValueError, match=f"worker.{field}={value!r}: "):
        WorkerSettings(**{field: value})
