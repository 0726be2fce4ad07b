"""Every number of the forecast, once, with unit and reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class ForecastSettings:
    """How far the forecast looks back and ahead, and how fast it learns."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    #: Seconds of a bucket: the grid on which rates are learnt. A boot of 20 s is four of them, and their Poisson noise
    #: is small from 50 records a second on.
    bucket_s: int = 5
    #: Longest path that can be asked for, in seconds: the boot of a GPU worker.
    longest_s: float = 90.0
    #: Seconds ahead over whose highest rate the methods compete: the actuation delay of a common worker.
    judged_s: float = 30.0
    #: Seconds of buckets kept: seasons up to 2 h are found in them.
    memory_s: float = 21600.0
    #: Seconds of past forecasts kept, whose errors are drawn again.
    errors_s: float = 5400.0
    #: Seconds after which an error counts half: what drifts is forgotten, what is rare is not yet.
    half_life_s: float = 1800.0
    #: Seconds after which a loss counts half when the methods are weighted.
    loss_half_life_s: float = 900.0
    #: Sharpness of the weights: with 10 % less loss than another a method has 1.9 times its weight. 4 to 12 do about as
    #: well; where losses have heavy tails less is better.
    sharpness: float = 6.0
    #: Lags of the autoregression in buckets: 50 s.
    autoreg_lags: int = 10
    #: Seconds between two fits of the autoregression: 5 ms each, so a hundredth of the ticks in a simulation.
    autoreg_refit_s: float = 120.0
    #: Seconds between two fits of exponential smoothing: a tenth of a second each.
    smoothing_refit_s: float = 1800.0
    #: Seconds between two searches for a season by autocorrelation.
    season_search_s: float = 300.0
    #: Seconds from the request of a fit to its use: time for it to be done beside the ticks, the same in a replay.
    fit_delay_s: float = 5.0
    #: Lengths in seconds of the seasons of the calendar: a day and a week. A trace that is compressed has shorter ones.
    seasons_s: tuple[float, ...] = (86400.0, 604800.0)
    #: Step of the conformal calibration of the spread.
    calibration_step: float = 0.02

    def __post_init__(self) -> None:
        """Refuse what makes no sense.

        Raises:
            ValueError: a value is out of its range; the message names field, value and range.
        """
        if not 1 <= self.bucket_s <= 60:  # noqa: PLR2004 - a minute hides a boot
            raise ValueError(f"bucket_s={self.bucket_s}: must be 1 to 60 seconds; 5 is usual")
        for name in ("longest_s", "judged_s"):
            value = getattr(self, name)
            if not self.bucket_s <= value <= 600:  # noqa: PLR2004 - each step costs memory for every past forecast
                raise ValueError(f"{name}={value}: must be from bucket_s={self.bucket_s} to 600 seconds")
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)}: must be above 0; leave it out for the default")
        if not 1 <= self.autoreg_lags <= 60:  # noqa: PLR2004 - as many buckets as are looked at
            raise ValueError(f"autoreg_lags={self.autoreg_lags}: must be 1 to 60 buckets")
        if self.fit_delay_s < 0:
            raise ValueError(f"fit_delay_s={self.fit_delay_s}: must be at least 0")
        if any(season <= 2 * self.longest_s for season in self.seasons_s):
            raise ValueError(f"seasons_s={self.seasons_s}: each must be above twice longest_s={self.longest_s}")

        self._check_spans()

    def _check_spans(self) -> None:
        if self.judged_s > self.longest_s:
            raise ValueError(f"judged_s={self.judged_s}: must be at most longest_s={self.longest_s}")
        if self.errors_s < 10 * self.longest_s:
            raise ValueError(f"errors_s={self.errors_s}: must be at least 10 times longest_s={self.longest_s}")
        if self.memory_s < self.errors_s:
            raise ValueError(f"memory_s={self.memory_s}: must be at least errors_s={self.errors_s}")

    @property
    def steps(self) -> int:
        """Buckets in the longest path."""
        return max(1, round(self.longest_s / self.bucket_s))

    @property
    def judged_steps(self) -> int:
        """Buckets in the judged horizon."""
        return max(1, round(self.judged_s / self.bucket_s))


_POSITIVE = (
    "half_life_s",
    "loss_half_life_s",
    "sharpness",
    "autoreg_refit_s",
    "smoothing_refit_s",
    "season_search_s",
    "calibration_step",
)
