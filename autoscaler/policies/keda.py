"""KEDA's Kafka trigger on Kubernetes' HPA, written anew from its published behaviour.

The metric is the committed lag in sum, capped so that no more than one replica a partition is asked for. The division
in that cap is one of integers, so a lag of up to (partitions + 1) * threshold - 1 passes, and the HPA asks for one
replica more than there are partitions. The tolerance of the HPA in turn keeps 59 to 63 replicas from ever becoming 64.

Mapping: replicas = declared workers; lag = `Observation.backlog`. KEDA sees *committed* lag, which has a floor of about
rate * (commit interval / 2 + time in the system); that floor is in `backlog` as well, as it must be for a fair
comparison. A partition without a committed offset counts from its start here, and as 1 in KEDA (`latest`).
`excludePersistentLag` is not offered: it needs committed offsets, which an observation does not carry.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from autoscaler.policies import hpa
from autoscaler.policies.rival import declare, group, keep

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from autoscaler.model import Decision, Objective, Observation, ServiceCurve, WorkerType

#: Utilisation at which the tuned threshold is met. With the reference worker and commits each second the rule below
#: then gives 76, the value that a search over all thresholds had found best.
_TUNED_UTILISATION = 0.8


@dataclass(frozen=True, slots=True)
class KedaState:
    """What KEDA and the HPA remember."""

    #: Of the last `downscale_window_s`.
    recommendations: hpa.Recommendations = field(default_factory=hpa.Recommendations)
    #: When the trigger was last active; `None` = not seen active.
    active_at_s: float | None = None
    #: When it was last asked whether it is active.
    polled_at_s: float | None = None


@dataclass(frozen=True, slots=True)
class KedaPolicy:
    """KEDA 2.x with the defaults of its `apache-kafka`/`kafka` trigger, of ScaledObject and of the HPA.

    Args:
        objective: Not looked at; the threshold is all that a user of KEDA can turn.
        lag_threshold: `lagThreshold`, records a replica; 0 = the rule of `steady_lag` for the worker as learnt.
        activation_lag_threshold: Lag above which the trigger is active (matters only where min_workers is 0).
        allow_idle_consumers: No cap by partitions.
        limit_to_partitions_with_lag: Cap by the partitions with lag.
        ensure_even_distribution: Only counts that divide the partitions.
        tolerance: Of the HPA.
        downscale_window_s: `behavior.scaleDown.stabilizationWindowSeconds`.
        behavior_given: Whether the manifest has a `behavior`, so that +4 or +100 % a sync hold instead of "double, or
            4". KEDA creates its HPA without one.
        polling_interval_s: How often 0 <-> 1 is looked at.
        cooldown_s: Seconds of inactivity before 0.
        commit_interval_s: Of the workers; only the rule of `steady_lag` looks at it.
        tick_s: Sync period of the HPA.
        name: `keda` or `keda-tuned`.

    Raises:
        ValueError: a value is out of its range, or options exclude each other.
    """

    objective: Objective
    lag_threshold: int = 10
    activation_lag_threshold: int = 0
    allow_idle_consumers: bool = False
    limit_to_partitions_with_lag: bool = False
    ensure_even_distribution: bool = False
    tolerance: float = 0.1
    downscale_window_s: float = 300.0
    behavior_given: bool = False
    polling_interval_s: float = 30.0
    cooldown_s: float = 300.0
    commit_interval_s: float = 1.0
    tick_s: float = 15.0
    name: str = "keda"

    def __post_init__(self) -> None:
        if self.lag_threshold < 0 or self.activation_lag_threshold < 0:
            raise ValueError(
                f"{self.name}: lag_threshold={self.lag_threshold}, activation_lag_threshold="
                f"{self.activation_lag_threshold}: give at least 0 records"
            )
        if self.limit_to_partitions_with_lag and (self.allow_idle_consumers or self.ensure_even_distribution):
            raise ValueError(
                f"{self.name}: limit_to_partitions_with_lag excludes allow_idle_consumers and "
                "ensure_even_distribution: choose one"
            )

    def initial(self) -> KedaState:
        """No recommendation, never active."""
        return KedaState()

    def decide(
        self, observation: Observation, worker_types: Sequence[WorkerType], state: KedaState
    ) -> tuple[Decision, KedaState]:
        """One sync of the HPA, and the poll for 0 <-> 1 where one is due.

        Raises:
            NoWorkerTypes: `worker_types` is empty.
        """
        now = group(observation, worker_types)
        if observation.backlog is None:
            return keep(observation, worker_types, "no lag known, as when a scaler fails"), state
        threshold = self.lag_threshold or steady_lag(now.kind.curve, self.commit_interval_s)
        lags = observation.backlog.values()
        metric = total_lag(
            lags,
            threshold,
            allow_idle_consumers=self.allow_idle_consumers,
            limit_to_partitions_with_lag=self.limit_to_partitions_with_lag,
            ensure_even_distribution=self.ensure_even_distribution,
        )
        state = self._polled(observation.at_s, sum(lags) > self.activation_lag_threshold, state)
        if now.kind.min_workers == 0:
            idle_s = math.inf if state.active_at_s is None else observation.at_s - state.active_at_s
            if idle_s > self.cooldown_s or (now.declared == 0 and idle_s >= self.polling_interval_s):
                return declare(observation, worker_types, 0, f"lag {sum(lags)}: inactive", "plan"), state
        replicas = max(1, now.declared)
        earlier = state.recommendations
        if not earlier.entries:
            # The HPA begins with the replicas it finds as its first recommendation.
            earlier = earlier.add(observation.at_s, replicas, self.downscale_window_s)
        desired = hpa.desired_replicas(metric, threshold, replicas, self.tolerance)
        seen = earlier.add(observation.at_s, desired, self.downscale_window_s)
        rules = (hpa.DEFAULT_UP, hpa.DEFAULT_DOWN) if self.behavior_given else (None, None)
        least = max(1, now.kind.min_workers)
        count = hpa.limited(seen.highest, replicas, least, now.kind.max_workers, rules)
        reason = f"lag {metric} at {threshold} a replica asks for {desired}"
        bound = "plan"
        if seen.highest != desired:
            reason, bound = f"{reason}; {seen.highest} within the last {self.downscale_window_s:.0f} s", "hysteresis"
        if count < min(seen.highest, now.kind.max_workers):
            reason, bound = f"{reason}; {count} is the most in one sync", "rate"
        return declare(observation, worker_types, count, reason, bound), replace(state, recommendations=seen)

    def _polled(self, at_s: float, active: bool, state: KedaState) -> KedaState:
        if state.polled_at_s is not None and at_s - state.polled_at_s < self.polling_interval_s:
            return state
        return replace(state, polled_at_s=at_s, active_at_s=at_s if active else state.active_at_s)


def total_lag(
    lags: Iterable[int],
    threshold: int,
    *,
    allow_idle_consumers: bool = False,
    limit_to_partitions_with_lag: bool = False,
    ensure_even_distribution: bool = False,
) -> int:
    """The metric that the HPA divides by the threshold.

    Args:
        lags: Committed lag of each partition.
        threshold: `lagThreshold`, >= 1.
        allow_idle_consumers: No cap.
        limit_to_partitions_with_lag: Cap by the partitions with lag.
        ensure_even_distribution: Raised to a count of replicas that divides the partitions.
    """
    each = list(lags)
    lag, partitions = sum(each), len(each)
    if allow_idle_consumers and not (limit_to_partitions_with_lag or ensure_even_distribution):
        return lag
    if ensure_even_distribution:
        lag = even_replicas(lag, partitions, threshold) * threshold
    most = sum(one > 0 for one in each) if limit_to_partitions_with_lag else partitions
    # Integers on purpose: that is how the original overshoots by one.
    return most * threshold if lag // threshold > most else lag


def even_replicas(lag: int, partitions: int, threshold: int) -> int:
    """Fewest replicas that divide the partitions and for which the lag a replica is within the threshold."""
    divisors = (n for n in range(1, partitions + 1) if partitions % n == 0)
    return next((n for n in divisors if n * threshold >= lag), partitions)


def steady_lag(curve: ServiceCurve, commit_interval_s: float) -> int:
    """Committed lag of one worker that is 80 % busy at full batches: the threshold that `keda-tuned` uses, records.

    r (commit_interval / 2 + 1.5 s(n)) with r = 0.8 * capacity and n = r a / (1 - r b), the batch that r gathers by
    itself: half a commit interval until an answer counts, half a batch of waiting and one of service. So the lag per
    worker stands for its rate, and the rule is a rate controller that happens to be spelled as lag. The textbook rule
    mu (W + commit_interval / 2) is unstable with workers that batch: below saturation they hold few records, and it
    scales in until the group is overloaded.
    """
    per_s = _TUNED_UTILISATION * curve.capacity_per_s
    rows = min(float(curve.max_batch), max(1.0, per_s * curve.a_s / max(1e-9, 1 - per_s * curve.b_s)))
    return max(1, int(per_s * (commit_interval_s / 2 + 1.5 * (curve.a_s + curve.b_s * rows))))
