"""Where a load goes that rises, told from counts of seconds."""

from __future__ import annotations

import numpy as np
import pytest

from autoscaler.planning.rising import WINDOW_S, ahead


def ramp(slope: float, start: float = 1000.0) -> np.ndarray:
    """Counts of a minute of a rate that rises by `slope` a second."""
    return start + slope * np.arange(60.0)


def test_a_ramp_is_carried_on() -> None:
    """The last second's middle is half a second ago: in 20 s the rate is 20.5 slopes above its count."""
    counts = ramp(30.0)
    assert ahead(counts, 20.0, sure=0.0) == pytest.approx(counts[-1] + 20.5 * 30.0)


def test_what_chance_gives_a_slope_is_taken_off() -> None:
    """A standard error is sqrt(mean / sum t^2), and counts over the distance from the window's middle."""
    counts = ramp(30.0)
    error = np.sqrt(counts[-WINDOW_S:].mean() / 42.0)
    without, less = (ahead(counts, 20.0, sure=sure) for sure in (0.0, 2.0))
    assert without - less == pytest.approx(2.0 * error * (WINDOW_S / 2 + 20.0))


@pytest.mark.parametrize("slope", [0.0, -5.0])
def test_a_load_that_does_not_rise_goes_nowhere(slope: float) -> None:
    """0 is said, whatever the rate."""
    assert ahead(ramp(slope), 20.0, sure=0.0) == 0.0


def test_a_few_seconds_say_nothing() -> None:
    """One second less than the window."""
    assert ahead(ramp(30.0)[: WINDOW_S - 1], 20.0, sure=0.0) == 0.0
    assert ahead(ramp(30.0)[:WINDOW_S], 20.0, sure=0.0) > 0.0


def test_chance_is_no_rise() -> None:
    """5 standard errors: 3 of 10 million looks at a normal slope. Of 20,000 at 80/s none; 1 is passed by 16 %."""
    counts = np.random.default_rng(1).poisson(80.0, 20_000 + WINDOW_S).astype(float)
    looks = [counts[at : at + WINDOW_S] for at in range(20_000)]
    assert not any(ahead(look, 10.0, sure=5.0) for look in looks)
    # 0.159 of a normal law; looks overlap, so that about 20,000 / 8 are independent: a standard error of 0.007.
    assert np.mean([ahead(look, 10.0, sure=1.0) > 0 for look in looks]) == pytest.approx(0.159, abs=0.03)
