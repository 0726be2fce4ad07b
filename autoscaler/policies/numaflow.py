"""Numaflow's autoscaling of a source vertex, written anew from its published behaviour.

replicas = round(pending / processing rate / 20 s * ready replicas): so many that what is pending is done within 20 s at
the rate that one replica shows now. At most two more or two fewer in one step, one step in 90 s. The rule is at rest
only with 20 s of work pending; below that it shrinks.

Mapping: pending = committed lag in sum; processing rate = records committed a second over 120 s (arrivals less growth
of the lag); ready replicas = ready workers. A Kafka source is one partition to Numaflow, so sums are used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from autoscaler.policies.rival import arrival_rate, declare, group, keep, total_backlog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autoscaler.model import Decision, Objective, Observation, WorkerType


@dataclass(frozen=True, slots=True)
class NumaflowState:
    """What the scaler remembers."""

    #: (time, lag), oldest first, of the look-back.
    seen: tuple[tuple[float, int], ...] = ()
    #: When the fleet was last changed; `None` = never.
    scaled_at_s: float | None = None


@dataclass(frozen=True, slots=True)
class NumaflowPolicy:
    """Numaflow with the defaults of a source vertex.

    Args:
        objective: Not looked at.
        target_processing_seconds: What is pending is to be done within so long.
        lookback_s: Rate and pending are averaged over so long.
        replicas_per_scale: Most in one step.
        cooldown_s: Between two steps, up and down.
        tick_s: Seconds between two looks.
        name: As in the registry.

    Raises:
        ValueError: a value is out of its range.
    """

    objective: Objective
    target_processing_seconds: float = 20.0
    lookback_s: float = 120.0
    replicas_per_scale: int = 2
    cooldown_s: float = 90.0
    tick_s: float = 30.0
    name: str = "numaflow"

    def __post_init__(self) -> None:
        if self.target_processing_seconds <= 0 or self.replicas_per_scale < 1:
            raise ValueError(
                f"numaflow: target_processing_seconds={self.target_processing_seconds}, replicas_per_scale="
                f"{self.replicas_per_scale}: must be above 0 and at least 1"
            )

    def initial(self) -> NumaflowState:
        """Nothing seen."""
        return NumaflowState()

    def decide(
        self, observation: Observation, worker_types: Sequence[WorkerType], state: NumaflowState
    ) -> tuple[Decision, NumaflowState]:
        """One look.

        Raises:
            NoWorkerTypes: `worker_types` is empty.
        """
        now, at_s = group(observation, worker_types), observation.at_s
        lag = total_backlog(observation)
        if lag is None:
            return keep(observation, worker_types, "no pending records known"), state
        kept = tuple(one for one in state.seen if at_s - self.lookback_s <= one[0] < at_s)
        state = replace(state, seen=(*kept, (at_s, lag)))
        since_s, before = state.seen[0]
        arrivals = arrival_rate(observation, max(1.0, at_s - since_s))
        if arrivals is None or at_s <= since_s:
            return keep(observation, worker_types, "no processing rate known yet"), state
        rate = max(0.0, arrivals - (lag - before) / (at_s - since_s))
        pending = sum(one for _, one in state.seen) / len(state.seen)
        wanted = desired_replicas([rate], [pending], max(1, now.ready), self.target_processing_seconds)
        reason = (
            f"{pending:.0f} pending at {rate:.1f}/s on {now.ready} for {self.target_processing_seconds:g} s: {wanted}"
        )
        wanted = min(max(wanted, now.kind.min_workers), now.kind.max_workers)
        step = min(max(wanted - now.declared, -self.replicas_per_scale), self.replicas_per_scale)
        if step and state.scaled_at_s is not None and at_s - state.scaled_at_s < self.cooldown_s:
            left_s = self.cooldown_s - (at_s - state.scaled_at_s)
            return declare(
                observation, worker_types, now.declared, f"{reason}; {left_s:.0f} s to wait", "hysteresis"
            ), state
        if step:
            state = replace(state, scaled_at_s=at_s)
        bound = "plan" if now.declared + step == wanted else "rate"
        return declare(observation, worker_types, now.declared + step, reason, bound), state


def desired_replicas(rates: Sequence[float], pending: Sequence[float], replicas: int, target_s: float) -> int:
    """Replicas for a source: the most that any of its partitions asks for.

    Args:
        rates: Records processed a second, by partition.
        pending: Records that wait, by partition.
        replicas: That show those rates.
        target_s: What is pending is to be done within so long.

    Returns:
        0 where there is no rate and nothing pending at all; partitions that lack one of the two are passed over.
    """
    if not sum(pending) and not sum(rates):
        return 0
    most = 1
    for rate, waiting in zip(rates, pending, strict=True):
        if rate > 0 and waiting > 0:
            # Half goes up, as in Go.
            most = max(most, min(math.floor(waiting / rate / target_s * replicas + 0.5), math.ceil(waiting)))
    return most
