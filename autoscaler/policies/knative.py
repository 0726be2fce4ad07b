"""Knative's pod autoscaler (KPA) by concurrency, written anew from its published behaviour.

Every 2 s: pods = ceil(concurrency / target) for the mean concurrency of the last 60 s, and the same for the last 6 s.
When the short window asks for at least twice the pods that are ready, the autoscaler panics: until that has not been so
for 60 s it takes the larger of both and never shrinks. One look may multiply the ready pods by 1000 and halve them.

Mapping: concurrency = records in the system (`rival.in_flight`: committed lag without its floor), as a proxy that holds
requests back would count them; ready pods = ready workers; one count a look stands for the proxy's mean over a second.
`container_concurrency` is what one replica takes at once. Knative's own default (100, of which 70 %) is kept; a worker
that batches holds far fewer records below saturation, so the rule reads a busy group as an idle one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from autoscaler.policies.hysteresis import NeedWindow
from autoscaler.policies.rival import declare, group, in_flight, keep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autoscaler.model import Decision, Objective, Observation, WorkerType


@dataclass(frozen=True, slots=True)
class KnativeState:
    """What the autoscaler remembers."""

    #: (time, concurrency) of the stable window, oldest first.
    seen: tuple[tuple[float, float], ...] = ()
    #: When the short window last asked for panic; `None` = not in panic.
    panic_at_s: float | None = None
    #: Most pods asked for in this panic.
    panic_pods: int = 0
    #: Counts of the last `scale_down_delay_s`.
    delayed: NeedWindow = field(default_factory=NeedWindow)
    #: Whether a first look was made.
    begun: bool = False


@dataclass(frozen=True, slots=True)
class KnativePolicy:
    """KPA with Knative's defaults.

    Args:
        objective: Not looked at.
        container_concurrency: Requests that one replica takes at once (Knative's total target without a limit: 100).
        target_utilization: Part of it that is aimed at.
        stable_window_s: Long window.
        panic_window_s: Short window, 10 % of the long one.
        panic_threshold: Multiple of the ready pods at which the short window starts a panic.
        max_scale_up_rate: Most pods after one look, as a multiple of the ready ones.
        max_scale_down_rate: Fewest likewise, as a divisor.
        scale_down_delay_s: A smaller count must have been enough for so long.
        commit_interval_s: Of the workers; the lag's floor is taken off.
        tick_s: Seconds between two looks.
        name: As in the registry.

    Raises:
        ValueError: a value is out of its range.
    """

    objective: Objective
    container_concurrency: float = 100.0
    target_utilization: float = 0.7
    stable_window_s: float = 60.0
    panic_window_s: float = 6.0
    panic_threshold: float = 2.0
    max_scale_up_rate: float = 1000.0
    max_scale_down_rate: float = 2.0
    scale_down_delay_s: float = 0.0
    commit_interval_s: float = 1.0
    tick_s: float = 2.0
    name: str = "knative"

    def __post_init__(self) -> None:
        if self.container_concurrency <= 0 or not 0 < self.target_utilization <= 1:
            raise ValueError(
                f"knative: container_concurrency={self.container_concurrency}, target_utilization="
                f"{self.target_utilization}: must be above 0, and the second at most 1"
            )
        if (
            not 0 < self.panic_window_s <= self.stable_window_s
            or min(self.max_scale_up_rate, self.max_scale_down_rate) <= 1
        ):
            raise ValueError(
                f"knative: panic_window_s={self.panic_window_s} must be above 0 and at most stable_window_s="
                f"{self.stable_window_s}; max_scale_up_rate and max_scale_down_rate above 1"
            )

    def initial(self) -> KnativeState:
        """Nothing seen."""
        return KnativeState()

    def decide(
        self, observation: Observation, worker_types: Sequence[WorkerType], state: KnativeState
    ) -> tuple[Decision, KnativeState]:
        """One look.

        Raises:
            NoWorkerTypes: `worker_types` is empty.
        """
        now = group(observation, worker_types)
        concurrency = in_flight(observation, self.commit_interval_s)
        if concurrency is None:
            return keep(observation, worker_types, "no concurrency known"), state
        at_s = observation.at_s
        kept = tuple(one for one in state.seen if at_s - self.stable_window_s < one[0] < at_s)
        state = replace(state, seen=(*kept, (at_s, concurrency)))
        stable = _mean(state.seen, at_s - self.stable_window_s)
        panic = _mean(state.seen, at_s - self.panic_window_s)
        pods, state = self.scale(at_s, now.ready, stable, panic, state)
        target = self.target
        reason = f"concurrency {stable:.1f} over {self.stable_window_s:g} s, {panic:.1f} over {self.panic_window_s:g} s"
        reason = f"{reason}, target {target:g} a worker" + ("" if state.panic_at_s is None else "; in panic")
        return declare(observation, worker_types, pods, reason, "plan" if state.panic_at_s is None else "panic"), state

    @property
    def target(self) -> float:
        """Concurrency of one replica that is aimed at."""
        return max(0.01, self.container_concurrency * self.target_utilization)

    def scale(
        self, at_s: float, ready: int, stable: float, panic: float, state: KnativeState
    ) -> tuple[int, KnativeState]:
        """Pods for the mean concurrencies of both windows.

        Args:
            at_s: Now.
            ready: Ready pods.
            stable: Mean concurrency over the long window.
            panic: The same over the short one.
            state: As remembered.
        """
        if not state.begun:
            # A start with several pods ready may be one in the middle of a burst: no shrinking for now.
            state = replace(state, begun=True, panic_pods=ready, panic_at_s=at_s if ready > 1 else None)
        pods = max(1, ready)
        most = math.ceil(self.max_scale_up_rate * pods - 1e-9)
        least = math.floor(pods / self.max_scale_down_rate + 1e-9)
        wanted_panic = math.ceil(panic / self.target - 1e-9)
        by_stable = min(max(math.ceil(stable / self.target - 1e-9), least), most)
        by_panic = min(max(wanted_panic, least), most)
        over = wanted_panic / pods >= self.panic_threshold
        if over:
            fresh = state.panic_at_s is None
            state = replace(state, panic_at_s=at_s, panic_pods=0 if fresh else state.panic_pods)
        elif state.panic_at_s is not None and state.panic_at_s + self.stable_window_s < at_s:
            state = replace(state, panic_at_s=None, panic_pods=0)
        count = by_stable
        if state.panic_at_s is not None:
            count = max(by_stable, by_panic, state.panic_pods)
            state = replace(state, panic_pods=count)
        if self.scale_down_delay_s > 0:
            state = replace(state, delayed=state.delayed.add(at_s, count, self.scale_down_delay_s))
            count = state.delayed.needs[0][1]
        return count, state


def _mean(seen: tuple[tuple[float, float], ...], since_s: float) -> float:
    values = [value for then_s, value in seen if then_s > since_s]
    return sum(values) / len(values) if values else 0.0
