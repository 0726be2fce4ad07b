"""What the rival policies share: the fleet of the first worker type as one look sees it, and decisions about it.

Rivals know one kind of worker. In a mixed fleet they scale the first type; declared workers of others stay as they are.
A person's `control` and the type's own min and max hold for them too, as they would in the settings of the original.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from autoscaler.errors import NoWorkerTypes
from autoscaler.model import Action, Decision
from autoscaler.policies.bounds import bounds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autoscaler.model import Observation, WorkerType


@dataclass(frozen=True, slots=True)
class Group:
    """The workers of the first type."""

    kind: WorkerType
    #: As last declared; without a word of the actuator, those that serve.
    declared: int
    #: Alive, ready or not: what Kubernetes calls the replicas.
    running: int
    #: Serving.
    ready: int


def group(observation: Observation, worker_types: Sequence[WorkerType]) -> Group:
    """The first type's workers.

    Raises:
        NoWorkerTypes: `worker_types` is empty.
    """
    if not worker_types:
        raise NoWorkerTypes("worker_types is empty: name at least one worker type in the settings")
    kind = worker_types[0]
    status = observation.workers.get(kind.name)
    ready = status.ready if status is not None else 0
    if observation.fleet is None:
        alive = ready + (len(status.asked_at_s) if status is not None else 0)
        return Group(kind, alive or kind.min_workers, alive, ready)
    declared = observation.fleet.declared.get(kind.name, 0)
    return Group(kind, declared, observation.fleet.running.get(kind.name, 0), ready)


def declare(
    observation: Observation, worker_types: Sequence[WorkerType], workers: int, reason: str, bound: str = "plan"
) -> Decision:
    """The decision for so many workers of the first type, within what the type and a person allow.

    Args:
        observation: What was looked at.
        worker_types: At least one.
        workers: Wanted, before bounds. Whether partitions bound it is the rival's own business.
        reason: In words and numbers.
        bound: What decided; replaced where a bound changes the count.

    Raises:
        NoWorkerTypes: `worker_types` is empty.
    """
    now = group(observation, worker_types)
    control = observation.control
    limits = bounds(now.kind, 0, control)
    count, by = limits.clamp(workers)
    if by is not None:
        reason, bound = f"{reason}; {by} allows {limits.low} to {limits.high}", by
    if control is not None and control.paused:
        count, bound, reason = now.declared, "paused", f"paused by a person: {reason}"
    fleet = {kind.name: kind.min_workers for kind in worker_types}
    if observation.fleet is not None:
        fleet.update(observation.fleet.declared)
    before = fleet[now.kind.name] if observation.fleet is not None else now.declared
    fleet[now.kind.name] = count
    action = Action.HOLD
    if count != before:
        action = Action.SCALE_UP if count > before else Action.SCALE_DOWN
        reason = f"{now.kind.name} {before} -> {count}: {reason}"
    prices = {kind.name: kind.price_per_hour for kind in worker_types}
    return Decision(
        pipeline=observation.pipeline,
        at_s=observation.at_s,
        action=action if bound != "no-data" else Action.NO_DATA,
        fleet=fleet,
        reason=reason,
        bound=bound,
        plan=None,
        forecast=None,
        runner_up=None,
        runner_up_price_per_hour=None,
        price_per_hour=round(sum(n * prices.get(name, 0.0) for name, n in fleet.items()), 6),
        advisory=control is not None and bool(control.advisory),
    )


def keep(observation: Observation, worker_types: Sequence[WorkerType], why: str) -> Decision:
    """The fleet stays as it is, since what the rule needs is not known.

    Raises:
        NoWorkerTypes: `worker_types` is empty.
    """
    kept = group(observation, worker_types).declared
    return declare(observation, worker_types, kept, f"{why}: {kept} kept", bound="no-data")


def total_backlog(observation: Observation) -> int | None:
    """Committed lag in sum over partitions; `None` = not known."""
    return None if observation.backlog is None else sum(observation.backlog.values())


def in_flight(observation: Observation, commit_interval_s: float) -> float | None:
    """Records in the system (waiting or in a batch) as far as the committed lag tells; `None` = not known.

    A record that has been answered still counts as lag until its offset is committed, on average half a commit interval
    later. Policies made for request counts would read that as work, which would be unfair to them; so rate *
    commit_interval / 2 is taken off.
    """
    lag = total_backlog(observation)
    if lag is None:
        return None
    per_s = arrival_rate(observation, 10.0) or 0.0
    return max(0.0, lag - per_s * commit_interval_s / 2)


def arrival_rate(observation: Observation, window_s: float) -> float | None:
    """Arrivals a second over the known part of the last `window_s` seconds; `None` = nothing of it is known."""
    history = observation.history
    if history is None:
        return None
    seconds = max(1, int(window_s))
    known = history.known[-seconds:]
    if not known.any():
        return None
    return float(history.counts[-seconds:].sum()) / float(known.sum())
