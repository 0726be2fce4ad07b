"""Flink's autoscaler (DS2 and after) for a job that is one source vertex, written anew from its published behaviour.

Once a minute: the true rate of the job is what it consumes over the part of the time that it is busy. Workers = target
capacity / true rate * workers, where the target capacity is the arrivals at 70 % utilisation plus what works off lag
and restart within half an hour. Nothing is done while the true rate is between the capacities at 100 % and at 40 %
utilisation, nor until a restart is 20 minutes past (5 to settle, 15 of metrics); a smaller count waits for an hour and
is then the highest of that hour. Counts are fitted to the partitions.

Mapping: subtask = worker; lag = `Observation.backlog`; busy fraction = growth of `busy_s` in the workers' reports, the
busiest worker's, averaged over the window. Caveats of fairness: a worker that takes whatever waits is busy almost all
the time at half of its capacity, so busy time understates the true rate (76 % busy at 30 % load, 95 % at 50 %);
`fitted_capacity` uses the fitted service curve instead, which Flink does not have. A restart of a Flink job stops all
of it; here a change of the fleet is a rebalance, which flatters it. Not offered, as off by default there: detection of
ineffective scaling, observed scalability, quotas.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from autoscaler.policies.flink_rules import ALIGNMENTS, DelayedScaleIn, parallelism, target_capacity
from autoscaler.policies.rival import arrival_rate, declare, group, keep, total_backlog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autoscaler.model import Decision, Objective, Observation, WorkerType


@dataclass(frozen=True, slots=True)
class Minute:
    """What was measured between two looks."""

    at_s: float
    #: Lag at its end, records.
    lag: int
    #: Records a second that were consumed.
    consumed_per_s: float
    #: Records a second that came in.
    arrived_per_s: float
    #: Busy part of the busiest worker; `None` = no worker reported twice.
    busy: float | None


@dataclass(frozen=True, slots=True)
class FlinkState:
    """What the autoscaler remembers."""

    #: When the fleet last changed, which to Flink is a restart; `None` = nothing seen yet.
    restarted_at_s: float | None = None
    #: Of the metric window since then, oldest first.
    minutes: tuple[Minute, ...] = ()
    #: At the last look: time, lag, workers, and busy seconds by worker.
    before: tuple[float, int, int, tuple[tuple[str, float], ...]] | None = None
    delayed: DelayedScaleIn = field(default_factory=DelayedScaleIn)


@dataclass(frozen=True, slots=True)
class FlinkPolicy:
    """Flink's autoscaler with the defaults of the Kubernetes operator.

    Args:
        objective: Not looked at: utilisation is all that is aimed at.
        fitted_capacity: True rate = workers * capacity of the fitted service curve, instead of busy time.
        utilization_target: Part of the true rate that is aimed at.
        utilization_boundary: Nothing is done while the utilisation is this close to it.
        metrics_window_s: Seconds of metrics behind a decision.
        stabilization_s: Seconds after a restart that are not measured.
        scale_down_interval_s: A smaller count waits for so long.
        max_scale_down_factor: Most of the fleet that goes in one step; the rest of 1 is the lowest scale factor.
        max_scale_up_factor: Most of it that comes in one step.
        catch_up_s: Lag is to be worked off within so long.
        restart_s: A restart is taken to last so long.
        backlog_lag_s: Seconds of lag beyond which nothing shrinks.
        observed_lag_s: Seconds of lag from which the consumption itself is the true rate.
        observed_switch: Part by which busy time must claim more than that to be distrusted.
        alignment: `balanced`, `evenly-spread` or `off`.
        tick_s: Seconds between two looks.
        name: As in the registry.

    Raises:
        ValueError: a value is out of its range.
    """

    objective: Objective
    fitted_capacity: bool = False
    utilization_target: float = 0.7
    utilization_boundary: float = 0.3
    metrics_window_s: float = 900.0
    stabilization_s: float = 300.0
    scale_down_interval_s: float = 3600.0
    max_scale_down_factor: float = 0.6
    max_scale_up_factor: float = 100_000.0
    catch_up_s: float = 1800.0
    restart_s: float = 300.0
    backlog_lag_s: float = 300.0
    observed_lag_s: float = 30.0
    observed_switch: float = 0.15
    alignment: str = "balanced"
    tick_s: float = 60.0
    name: str = "flink"

    def __post_init__(self) -> None:
        if self.alignment not in ALIGNMENTS:
            raise ValueError(f"flink: alignment={self.alignment!r}: use one of {', '.join(ALIGNMENTS)}")
        if not 0 < self.utilization_target <= 1 or not 0 <= self.max_scale_down_factor <= 1:
            raise ValueError(
                f"flink: utilization_target={self.utilization_target}, max_scale_down_factor="
                f"{self.max_scale_down_factor}: must be between 0 and 1"
            )

    def initial(self) -> FlinkState:
        """Nothing seen."""
        return FlinkState()

    def decide(
        self, observation: Observation, worker_types: Sequence[WorkerType], state: FlinkState
    ) -> tuple[Decision, FlinkState]:
        """One look.

        Raises:
            NoWorkerTypes: `worker_types` is empty.
        """
        now, at_s = group(observation, worker_types), observation.at_s
        state, known = self._measured(observation, now.kind.name, now.declared, state)
        if not known:
            return keep(observation, worker_types, "no lag or arrivals known"), state
        ready_at_s = (state.restarted_at_s or 0.0) + self.stabilization_s + self.metrics_window_s
        if at_s < ready_at_s or not state.minutes:
            why = f"{now.declared} kept: metrics are complete in {max(0.0, ready_at_s - at_s):.0f} s"
            return declare(observation, worker_types, now.declared, why, "starting"), state
        current = max(1, now.declared)
        capacity = now.kind.curve.capacity_per_s * current if self.fitted_capacity else None
        evaluated = self.evaluate(state.minutes, capacity)
        if evaluated is None:
            return keep(observation, worker_types, "no busy time reported"), state
        wanted = parallelism(
            current,
            evaluated.factor,
            observation.partitions or current,
            least=min(current, now.kind.min_workers),
            most=max(current, now.kind.max_workers),
            alignment=self.alignment,
        )
        count, state = self._delayed(at_s, wanted, current, evaluated.outside, state)
        reason = f"{evaluated.words}: {wanted} of {current}"
        if count == wanted or wanted >= current:
            return declare(observation, worker_types, count, reason), state
        since_s = at_s - (state.delayed.first_at_s if state.delayed.first_at_s is not None else at_s)
        return declare(observation, worker_types, count, f"{reason}; fewer since {since_s:.0f} s", "hysteresis"), state

    def evaluate(self, minutes: Sequence[Minute], capacity_per_s: float | None) -> Evaluated | None:
        """Scale factor and bounds from the metrics of a window.

        Args:
            minutes: At least one.
            capacity_per_s: True rate of the job where it is known otherwise than by busy time.

        Returns:
            `None` where no true rate is known.
        """
        arrived = sum(one.arrived_per_s for one in minutes) / len(minutes)
        consumed = sum(one.consumed_per_s for one in minutes) / len(minutes)
        true_rate = capacity_per_s if capacity_per_s is not None else self.true_rate(minutes)
        if true_rate is None:
            return None
        lag = minutes[-1].lag
        backlog = consumed > 0 and lag / consumed > self.backlog_lag_s
        catch_up = lag / self.catch_up_s if self.catch_up_s > 0 else 0.0

        def capacity(utilisation: float, restart_s: float) -> float:
            return target_capacity(
                arrived, utilisation, catch_up_per_s=catch_up, restart_s=restart_s, catch_up_s=self.catch_up_s
            )

        low = capacity(1.0 if backlog else self.utilization_target + self.utilization_boundary, 0.0)
        high = capacity(0.0 if backlog else self.utilization_target - self.utilization_boundary, self.restart_s)
        wanted = capacity(self.utilization_target, self.restart_s)
        factor = wanted / true_rate if true_rate > 0 else math.inf
        factor = min(max(factor, 1 - self.max_scale_down_factor), 1 + self.max_scale_up_factor)
        words = f"true rate {true_rate:.0f}/s, wanted {wanted:.0f}/s, left alone from {low:.0f} to {high:.0f}/s"
        return Evaluated(factor, true_rate < low or true_rate > high, words)

    def true_rate(self, minutes: Sequence[Minute]) -> float | None:
        """Records a second that the job could do: consumption over busy part, or as observed while it catches up."""
        known = [one for one in minutes if one.busy is not None]
        observed = [one.consumed_per_s for one in minutes if one.lag >= self.observed_lag_s * one.consumed_per_s > 0]
        seen = sum(observed) / len(observed) if len(observed) > 1 else None
        if not known:
            return seen
        busy = sum(one.busy or 0.0 for one in known) / len(known)
        consumed = sum(one.consumed_per_s for one in known) / len(known)
        # Nothing consumed says nothing against infinite power, which is what the original assumes.
        by_busy = math.inf if consumed <= 0 or busy <= 0 else consumed / busy
        if seen is not None and by_busy > seen * (1 + self.observed_switch):
            return seen
        return by_busy

    def _measured(
        self, observation: Observation, kind: str, workers: int, state: FlinkState
    ) -> tuple[FlinkState, bool]:
        """The state with the minute since the last look, and whether lag and arrivals are known."""
        at_s, lag = observation.at_s, total_backlog(observation)
        if lag is None:
            return state, False
        busy = tuple(
            (name, report.busy_s) for name, report in observation.reports.items() if report.worker_type == kind
        )
        before, state = state.before, replace(state, before=(at_s, lag, workers, busy))
        if before is None or before[2] != workers or before[0] >= at_s or state.restarted_at_s is None:
            # Metrics of before a restart say nothing of after.
            return replace(state, restarted_at_s=at_s, minutes=(), delayed=DelayedScaleIn()), before is not None
        elapsed_s = at_s - before[0]
        arrived = arrival_rate(observation, elapsed_s)
        if arrived is None:
            return state, False
        # The first decision comes when the window holds nothing of the stabilisation any more.
        earlier = dict(before[3])
        parts = [(total_s - earlier[name]) / elapsed_s for name, total_s in busy if name in earlier]
        minute = Minute(
            at_s,
            lag,
            max(0.0, arrived - (lag - before[1]) / elapsed_s),
            arrived,
            min(1.0, max(0.0, *parts)) if parts else None,
        )
        kept = tuple(one for one in state.minutes if one.at_s > at_s - self.metrics_window_s)
        return replace(state, minutes=(*kept, minute)), True

    def _delayed(
        self,
        at_s: float,
        wanted: int,
        current: int,
        outside: bool,
        state: FlinkState,
    ) -> tuple[int, FlinkState]:
        """The count to be declared: up at once, down after the interval, neither while capacity is within bounds."""
        if wanted >= current:
            return wanted if outside else current, replace(state, delayed=DelayedScaleIn())
        delayed = state.delayed.add(at_s, wanted, outside)
        state = replace(state, delayed=delayed)
        since_s = at_s - self.scale_down_interval_s
        if delayed.first_at_s is None or since_s < delayed.first_at_s:
            return current, state
        highest = delayed.highest(since_s)
        return highest.workers if highest.outside else current, state


@dataclass(frozen=True, slots=True)
class Evaluated:
    """What a window of metrics comes to."""

    #: Wanted capacity over present capacity, capped.
    factor: float
    #: Whether the true rate is outside its bounds.
    outside: bool
    words: str
