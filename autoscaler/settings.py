"""Every number that the policy is steered by, once, with unit and reason."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from autoscaler.forecasting.settings import ForecastSettings


@dataclass(frozen=True, slots=True)
class PolicySettings:
    """How the autoscaler looks, forecasts and decides."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    #: Seconds between two decisions. A step must be seen within 2-3 s, and one look costs a few milliseconds.
    tick_s: float = 1.0
    #: Seconds of arrivals kept for the forecast: ten minutes hold 60 buckets of 10 s, enough for ten lags.
    history_s: float = 600.0
    #: Longest distance of two samples, in seconds, between which the arrivals count as known. Beyond it a burst may
    #: hide.
    sample_gap_s: float = 5.0
    #: Age in seconds after which the newest sample says nothing about now: a few missed ticks, not one late one.
    sample_fresh_s: float = 5.0
    #: Age in seconds after which a worker's report (about one a second) is dropped.
    report_fresh_s: float = 5.0
    #: Seconds for which a partition's committed offset may stand still, with records waiting and the group at work,
    #: before the partition counts as stuck: longer than a batch, a commit interval and a dead worker's session.
    stuck_after_s: float = 20.0
    #: Seconds of reports behind the shown 99th percentile: 10 s hold enough results at tens a second.
    latency_window_s: float = 10.0
    #: Quantile of the highest rate within the horizon that is sized for. On measured traces 0.9 costs 1.5-1.7 times a
    #: clairvoyant schedule, 0.99 costs 1.9 times for a quarter fewer late records.
    forecast_quantile: float = 0.9
    #: Seconds of arrivals that the reactive forecast judges (constant, ramp or step): long enough for 20 counts, short
    #: enough to follow a ramp.
    reactive_window_s: float = 20.0
    #: Chance of seeing a change of the rate where there is none, for one look: 3600 looks an hour must stay quiet.
    change_significance: float = 1e-6
    #: Seconds of history before AutoReg is trusted: six times the ten lags at one-second buckets.
    autoreg_min_history_s: float = 60.0
    #: Number of lags of AutoReg.
    autoreg_lags: int = 10
    #: Seconds between two fits of AutoReg: the coefficients drift slowly, the newest counts enter at every tick.
    autoreg_refit_s: float = 10.0
    #: Simulated paths behind the forecast's quantile: 200 give the 0.9 quantile to about 2 % of the spread.
    autoreg_paths: int = 200
    #: Highest utilisation (0-1) of the busiest worker. 0.9 leaves room for a rebalance to be caught up with in about 20
    #: s; 0.8 costs 20 % more, and noise alone would allow 0.97.
    target_utilisation: float = 0.9
    #: Seconds after the new workers are ready within which a backlog must be small enough for the objective to hold
    #: again. Shorter buys workers for a few seconds of use, longer leaves requests late.
    drain_s: float = 5.0
    #: Seconds that a moved partition is not read while the group rebalances (heartbeat 250 ms, drain, commit, first
    #: poll).
    rebalance_pause_s: float = 1.0
    #: Seconds after a change of the fleet in which the backlog of that pause is not read as load.
    settle_s: float = 5.0
    #: Seconds for which the smaller fleet must have been enough before the fleet shrinks. Measured on seven traces: 300
    #: s keeps six within 1 % late, 120 s five for 12 % less cost.
    scale_in_patience_s: float = 300.0
    #: Part (0 = none) by which the load is raised when a smaller fleet is judged, so that noise at a threshold does not
    #: flap.
    scale_in_margin: float = 0.1
    #: Seconds of arrivals seen before paths, courses and hindsight decide; before that a reactive rule does. Three
    #: minutes show whether a load is smooth, and nothing of it is needed for a step.
    foresight_s: float = 180.0
    #: Seconds of arrivals before hindsight begins to count: the first fleet is a guess and blames every course alike.
    learning_s: float = 120.0
    #: Seconds after which experience counts half: an hour holds enough bursts, and a day's load changes within it.
    experience_s: float = 3600.0
    #: Part (0-1) of the objective's allowance of late requests that is planned to be used up; the rest is for what the
    #: model leaves out.
    budget_used: float = 0.6
    #: Workers that a late share beyond that is weighed with, for each worker's worth of load: 1 % late is worth all of
    #: what the load needs.
    late_price: float = 100.0
    #: Seconds for which courses that hold keep, after a surprise, the fleet that it would have needed: bursts come in
    #: series, and one that is missed costs as much of the allowance as ten minutes of the fleet cost money.
    surprise_keep_s: float = 600.0
    #: Workers kept at all times beyond the need, for what nobody foresees: a step is late for a boot unless they are
    #: there. Each costs the first type's `price_per_hour`: 2 at a price of 1 cost 2 an hour, 1,460 in a month of 730
    #: hours. Each decision shows its price, and how many would have been enough lately.
    reserve: int = 0
    #: Worker-seconds that a second of late work of one worker is worth where a backlog is drained: at 12 a step of five
    #: times the load has a third less late than at 4, for 2 % more cost.
    drain_price: float = 12.0
    #: Seconds for which the workers that drain a backlog are kept, so that the drain is not cut short.
    drain_keep_s: float = 30.0
    #: Seconds for which a larger fleet that answered no more requests a second is not tried again, the first time; then
    #: twice as long each time.
    unhelpful_hold_s: float = 600.0
    #: Seconds of use, behind its boot, over which a worker of a slow type must pay where there are several types.
    stay_s: float = 300.0
    #: Seconds of a fast worker that a second of one worker's worth of late load is weighed with where a worker of a
    #: slow type joins or leaves and partitions move.
    change_price: float = 30.0
    #: Multiple of the actuation delay after which a worker that was started and never became ready is no longer waited
    #: for.
    start_patience: float = 3.0
    #: Of the sample paths.
    forecast: ForecastSettings = field(default_factory=ForecastSettings)

    def __post_init__(self) -> None:
        """Refuse what makes no sense.

        Raises:
            ValueError: a value is out of its range; the message names field, value and range.
        """
        for name, (low, high, hint) in _RANGES.items():
            value = getattr(self, name)
            if not low < value < high:
                raise ValueError(f"{name}={value}: must be above {low:g} and below {high:g}; {hint}")
        if not 0 <= self.reserve <= _MOST_RESERVE:
            raise ValueError(f"reserve={self.reserve}: must be 0 (none) to {_MOST_RESERVE} workers")
        for name in ("scale_in_patience_s", "scale_in_margin", "rebalance_pause_s", "settle_s"):
            value = getattr(self, name)
            if value < 0:
                raise ValueError(f"{name}={value}: must be at least 0; 0 switches it off")
        needed_s = max(60.0, self.reactive_window_s, self.autoreg_min_history_s)
        if self.history_s < needed_s:
            raise ValueError(
                f"history_s={self.history_s}: must be at least {needed_s:g}, the longest window read from it; raise it"
            )
        for name in ("sample_gap_s", "sample_fresh_s"):
            value = getattr(self, name)
            if value < self.tick_s:
                raise ValueError(
                    f"{name}={value}: must be at least tick_s={self.tick_s}, or each sample is outdated before the next"
                )


_DEFAULT = "leave it out for the default"
_ANY = float("inf")
#: More than any fleet has; a longer number is a slip of the hand.
_MOST_RESERVE = 100_000

#: Field -> exclusive bounds and the cure.
_RANGES: dict[str, tuple[float, float, str]] = {
    "tick_s": (0, _ANY, _DEFAULT),
    "history_s": (0, _ANY, _DEFAULT),
    "sample_gap_s": (0, _ANY, _DEFAULT),
    "sample_fresh_s": (0, _ANY, _DEFAULT),
    "report_fresh_s": (0, _ANY, _DEFAULT),
    "stuck_after_s": (0, _ANY, "inf never calls one stuck"),
    "latency_window_s": (0, _ANY, _DEFAULT),
    "forecast_quantile": (0, 1, "0.9 is usual"),
    # Fewer counts tell no change from noise.
    "reactive_window_s": (4.99, _ANY, _DEFAULT),
    "change_significance": (0, 1, _DEFAULT),
    "autoreg_min_history_s": (0, _ANY, _DEFAULT),
    "autoreg_lags": (0, 100, _DEFAULT),
    "autoreg_refit_s": (0, _ANY, _DEFAULT),
    "autoreg_paths": (9, 100_000, _DEFAULT),
    "target_utilisation": (0, 1.001, "at 1 the queue of the busiest worker never empties"),
    "drain_s": (0, _ANY, _DEFAULT),
    "start_patience": (0, _ANY, _DEFAULT),
    "foresight_s": (0, _ANY, "inf keeps the reactive rule"),
    "learning_s": (0, _ANY, _DEFAULT),
    "experience_s": (0, _ANY, _DEFAULT),
    "budget_used": (0, 1.001, "0.6 is usual"),
    "late_price": (0, _ANY, _DEFAULT),
    "surprise_keep_s": (0, _ANY, _DEFAULT),
    "drain_price": (0, _ANY, _DEFAULT),
    "drain_keep_s": (0, _ANY, _DEFAULT),
    "unhelpful_hold_s": (0, _ANY, _DEFAULT),
    "stay_s": (0, _ANY, _DEFAULT),
    "change_price": (0, _ANY, _DEFAULT),
}
