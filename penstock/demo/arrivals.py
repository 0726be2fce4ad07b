"""When the demo's requests are sent: a generated pattern, as a rate curve turned into Poisson arrivals."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

#: Where each phase of the generated pattern ends, as a share of its length. The step keeps a quarter of the time, so
#: that a fleet which is late by a few seconds shows it; the decay is long enough for scale-downs to be seen.
PHASES: tuple[tuple[str, float], ...] = (("quiet", 0.20), ("ramp", 0.40), ("step", 0.64), ("decay", 1.0))

#: The step's rate over the rate just before it.
STEP = 4.0

#: The ramp's end over its start.
RAMP = 2.0

#: Resolution at which the rate curve is integrated, in seconds: finer than any feature of the curve.
GRID_S = 0.01


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Intended send times of a run."""

    #: Seconds since the start of the load, sorted, each in [0, duration_s).
    times_s: NDArray[np.float64]
    duration_s: float
    #: `generated` or `trace`.
    kind: str
    #: How the times came about, in one sentence.
    description: str
    #: The same in figures, for `summary.json`.
    facts: Mapping[str, object] = field(default_factory=dict)
    #: Named stretches for the picture: (name, start_s, end_s).
    phases: tuple[tuple[str, float, float], ...] = ()

    @property
    def mean_per_s(self) -> float:
        """Mean rate over the whole run, requests a second."""
        return len(self.times_s) / self.duration_s

    def per_bin(self, width_s: float) -> NDArray[np.int64]:
        """Arrivals counted in bins of `width_s` seconds; the last bin may be cut short by the end of the run."""
        bins = int(np.ceil(self.duration_s / width_s - 1e-9))
        counts, _ = np.histogram(self.times_s, bins=bins, range=(0.0, bins * width_s))
        return counts.astype(np.int64)


def phase_bounds(duration_s: float) -> tuple[tuple[str, float, float], ...]:
    """The generated pattern's phases as (name, start_s, end_s)."""
    ends = [share * duration_s for _, share in PHASES]
    starts = [0.0, *ends[:-1]]
    return tuple((name, start, end) for (name, _), start, end in zip(PHASES, starts, ends, strict=True))


def rate_per_s(at_s: NDArray[np.float64], duration_s: float, peak_per_s: float) -> NDArray[np.float64]:
    """Rate of the generated pattern at the moments `at_s`, requests a second.

    Quiet at `peak / (STEP * RAMP)`, a straight ramp to `RAMP` times that, a jump by `STEP` to the peak, then an
    exponential decay that reaches the quiet rate at the end.
    """
    quiet = peak_per_s / (STEP * RAMP)
    (_, _, quiet_end), (_, _, ramp_end), (_, _, step_end), (_, _, end) = phase_bounds(duration_s)
    along_ramp = (at_s - quiet_end) / (ramp_end - quiet_end)
    along_decay = np.clip((at_s - step_end) / (end - step_end), 0.0, 1.0)
    return np.select(
        [at_s < quiet_end, at_s < ramp_end, at_s < step_end],
        [np.full_like(at_s, quiet), quiet * (1 + (RAMP - 1) * along_ramp), np.full_like(at_s, peak_per_s)],
        default=peak_per_s * (quiet / peak_per_s) ** along_decay,
    )


def generated(duration_s: float, *, peak_per_s: float, seed: int) -> Arrivals:
    """Poisson arrivals of the generated pattern.

    The number is drawn from a Poisson law with the curve's integral as its mean; given the number, the times are
    independent with the curve as their density (Cinlar 1975): the integral's inverse at sorted uniform numbers.

    Args:
        duration_s: Length of the load, in seconds.
        peak_per_s: Rate of the step, requests a second.
        seed: The same seed gives the same times.

    Raises:
        ValueError: The length or the rate is not above 0.
    """
    if not duration_s > 0 or not peak_per_s > 0:
        raise ValueError(f"duration_s={duration_s}, peak_per_s={peak_per_s}: give seconds and a rate above 0")
    grid = np.linspace(0.0, duration_s, max(2, int(np.ceil(duration_s / GRID_S)) + 1))
    rates = rate_per_s(grid, duration_s, peak_per_s)
    integral = np.concatenate(([0.0], np.cumsum((rates[1:] + rates[:-1]) / 2 * np.diff(grid))))
    rng = np.random.default_rng(seed)
    count = rng.poisson(integral[-1])
    times = np.interp(np.sort(rng.uniform(0.0, integral[-1], count)), integral, grid)
    # An arrival at the very end belongs to no bin of the run.
    times = np.minimum(times, np.nextafter(duration_s, 0.0))
    quiet = peak_per_s / (STEP * RAMP)
    return Arrivals(
        times_s=times,
        duration_s=duration_s,
        kind="generated",
        description=(
            f"generated: Poisson arrivals (seed {seed}) of a made-up pattern: quiet {quiet:g}/s, ramp to "
            f"{quiet * RAMP:g}/s, {STEP:g}x step to {peak_per_s:g}/s, exponential decay back to {quiet:g}/s"
        ),
        facts={"seed": seed, "quiet_per_s": quiet, "peak_per_s": peak_per_s, "step": STEP},
        phases=phase_bounds(duration_s),
    )
