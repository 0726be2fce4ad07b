"""The small parts of the policy: settings, bounds and patience."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.model import Control, ServiceCurve, WorkerType
from autoscaler.policies.bounds import bounds
from autoscaler.policies.hysteresis import NeedWindow
from autoscaler.settings import PolicySettings

CPU = WorkerType("cpu", "cpu", 0.1, 1, 8, ServiceCurve(0.02, 0.02, 8), 3.0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tick_s", 0.0),
        ("forecast_quantile", 1.0),
        ("forecast_quantile", 0.0),
        ("change_significance", 0.0),
        ("target_utilisation", 1.5),
        ("scale_in_patience_s", -1.0),
        ("scale_in_margin", -0.1),
        ("reactive_window_s", 2.0),
        ("history_s", 30.0),
        ("sample_gap_s", 0.5),
        ("sample_fresh_s", 0.5),
        ("autoreg_lags", 0),
        ("drain_s", float("nan")),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(field: str, value: float) -> None:
    """The message names the field and the value."""
    with pytest.raises(ValueError, match=f"{field}={value}".replace(".", r"\.")):
        PolicySettings(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("partitions", "control", "expected"),
    [
        (12, None, (1, "min", 8, "max")),
        (4, None, (1, "min", 4, "partitions")),
        (0, None, (1, "min", 8, "max")),
        (12, Control(min_workers=3, max_workers=5), (3, "control", 5, "control")),
        # A person narrows what the settings allow and does not widen it.
        (12, Control(min_workers=0, max_workers=99), (1, "min", 8, "max")),
        # Contradictions: the lower count wins.
        (12, Control(min_workers=7, max_workers=2), (2, "control", 2, "control")),
        (2, Control(min_workers=5), (2, "partitions", 2, "partitions")),
        (12, Control(max_workers=0), (0, "control", 0, "control")),
    ],
)
def test_the_tightest_bound_holds_and_is_named(
    partitions: int, control: Control | None, expected: tuple[int, str, int, str]
) -> None:
    """Type, partitions and person, in every combination that differs."""
    found = bounds(CPU, partitions, control)
    assert (found.low, found.low_by, found.high, found.high_by) == expected


def test_clamping_names_the_bound_only_when_it_changed_something() -> None:
    """A count in range is nobody's doing."""
    found = bounds(CPU, 12, Control(min_workers=2))
    assert found.clamp(5) == (5, None)
    assert found.clamp(1) == (2, "control")
    assert found.clamp(9) == (8, "max")


@given(needs=st.lists(st.integers(0, 9), min_size=1, max_size=60), window=st.integers(1, 30))
@settings(deadline=None)
def test_the_need_window_is_the_plain_maximum(needs: list[int], window: int) -> None:
    """At any moment the highest of the last `window` seconds, once so many were watched."""
    seen = NeedWindow()
    for t, need in enumerate(needs):
        seen = seen.add(float(t), need, float(window))
        expected = max(needs[max(0, t - window + 1) : t + 1]) if t >= window else None
        assert seen.highest(float(t), float(window)) == expected
        assert len(seen.needs) <= 10


def test_a_clock_set_back_does_not_freeze_the_window() -> None:
    """A need noted an hour ahead of the new clock counts from now and then leaves."""
    seen = NeedWindow().add(3600.0, 9, 60.0)
    for t in range(70):
        seen = seen.add(float(t), 2, 60.0)
    assert seen.highest(69.0, 60.0) == 2


def test_remaining_patience_is_counted_from_the_last_higher_need() -> None:
    """With a need of 5 at 10 s and 60 s of patience, 40 s remain at 30 s."""
    seen = NeedWindow().add(0.0, 3, 60.0).add(10.0, 5, 60.0).add(30.0, 2, 60.0)
    assert seen.remaining_s(30.0, 60.0, 4) == 40.0
