"""Ray Serve's request-based autoscaling, written anew from its published behaviour.

replicas = ongoing requests (waiting and running, mean over 30 s) / `target_ongoing_requests`. A larger count must have
been asked for through 30 s without a break, a smaller one through 600 s; then the count of that last moment is taken,
not the highest or the lowest of the time.

Mapping: ongoing requests = records in the system (`rival.in_flight`: committed lag without its floor); running replicas
= ready workers; target = declared workers. Ray looks ten times a second at metrics that come every ten; one look a
second changes nothing, since delays are measured in time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from autoscaler.policies.rival import declare, group, in_flight, keep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autoscaler.model import Decision, Objective, Observation, WorkerType


@dataclass(frozen=True, slots=True)
class RayServeState:
    """What the controller remembers."""

    #: (time, ongoing requests), oldest first; the first may be older than the look-back, as the value that held then.
    seen: tuple[tuple[float, float], ...] = ()
    #: 1 = more is asked for, -1 = less, 0 = neither.
    direction: int = 0
    #: Since when.
    since_s: float = 0.0


@dataclass(frozen=True, slots=True)
class RayServePolicy:
    """Ray Serve with its defaults.

    Args:
        objective: Not looked at.
        target_ongoing_requests: A replica.
        look_back_s: Ongoing requests are averaged over so long.
        upscale_delay_s: A larger count must hold so long.
        downscale_delay_s: A smaller one.
        upscaling_factor: Part of the way up that is gone.
        downscaling_factor: Part of the way down.
        commit_interval_s: Of the workers; the lag's floor is taken off.
        tick_s: Seconds between two looks.
        name: As in the registry.

    Raises:
        ValueError: a value is out of its range.
    """

    objective: Objective
    target_ongoing_requests: float = 2.0
    look_back_s: float = 30.0
    upscale_delay_s: float = 30.0
    downscale_delay_s: float = 600.0
    upscaling_factor: float = 1.0
    downscaling_factor: float = 1.0
    commit_interval_s: float = 1.0
    tick_s: float = 1.0
    name: str = "ray-serve"

    def __post_init__(self) -> None:
        for field in ("target_ongoing_requests", "look_back_s", "upscaling_factor", "downscaling_factor"):
            if getattr(self, field) <= 0:
                raise ValueError(f"ray-serve: {field}={getattr(self, field)}: must be above 0")

    def initial(self) -> RayServeState:
        """Nothing seen."""
        return RayServeState()

    def decide(
        self, observation: Observation, worker_types: Sequence[WorkerType], state: RayServeState
    ) -> tuple[Decision, RayServeState]:
        """One look.

        Raises:
            NoWorkerTypes: `worker_types` is empty.
        """
        now = group(observation, worker_types)
        ongoing = in_flight(observation, self.commit_interval_s)
        if ongoing is None:
            return keep(observation, worker_types, "no ongoing requests known"), state
        at_s = observation.at_s
        earlier = [one for one in state.seen if one[0] < at_s]
        while len(earlier) > 1 and earlier[1][0] <= at_s - self.look_back_s:
            earlier.pop(0)
        state = replace(state, seen=(*earlier, (at_s, ongoing)))
        mean = time_weighted_mean(state.seen, at_s - self.look_back_s, at_s)
        wanted = self.wanted(mean, now.ready, now.declared)
        wanted = min(max(wanted, now.kind.min_workers), now.kind.max_workers)
        count, state = self.delayed(at_s, wanted, now.declared, now.ready, state)
        reason = f"{mean:.1f} ongoing, {self.target_ongoing_requests:g} a worker: {wanted}"
        if count == wanted:
            return declare(observation, worker_types, count, reason), state
        reason = f"{reason}; asked for through {at_s - state.since_s:.0f} s"
        return declare(observation, worker_types, count, reason, "hysteresis"), state

    def wanted(self, ongoing: float, running: int, target: int) -> int:
        """Replicas before bounds and delays.

        Args:
            ongoing: Requests.
            running: Replicas that serve; with none, one is asked for as soon as there is a request.
            target: As last declared.
        """
        if running == 0:
            return max(math.ceil(self.upscaling_factor), target) if ongoing > 0 else target
        ideal = ongoing / self.target_ongoing_requests
        factor = self.upscaling_factor if ideal > running else self.downscaling_factor
        count = math.ceil(running + factor * (ideal - running) - 1e-9)
        if math.ceil(ideal - 1e-9) < running and count == running:
            # A small factor would never let the last one go.
            count -= 1
        return count

    def delayed(
        self, at_s: float, wanted: int, target: int, running: int, state: RayServeState
    ) -> tuple[int, RayServeState]:
        """The count that is acted on; `target` until `wanted` has been on the same side of it for the delay."""
        if running == 0:
            return wanted, replace(state, direction=0)
        direction = (wanted > target) - (wanted < target)
        if direction == 0:
            return target, replace(state, direction=0)
        if direction != state.direction or state.since_s > at_s:
            state = replace(state, direction=direction, since_s=at_s)
        delay_s = self.upscale_delay_s if direction > 0 else self.downscale_delay_s
        if at_s - state.since_s < delay_s:
            return target, state
        # Zero is reached from one only.
        count = wanted if direction > 0 or target == 1 else max(1, wanted)
        return count, replace(state, direction=0)


def time_weighted_mean(seen: tuple[tuple[float, float], ...], from_s: float, until_s: float) -> float:
    """Mean of a step function whose values hold until the next one; before the first nothing is known and counted.

    Raises:
        IndexError: `seen` is empty.
    """
    start_s = max(from_s, seen[0][0])
    if until_s <= start_s:
        return seen[-1][1]
    total = 0.0
    for place, (then_s, value) in enumerate(seen):
        end_s = seen[place + 1][0] if place + 1 < len(seen) else until_s
        total += value * max(0.0, min(end_s, until_s) - max(then_s, start_s))
    return total / (until_s - start_s)
