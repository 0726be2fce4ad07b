"""What text books say of one pooled queue, applied to a consumer group: `square-root` and `pooled-erlang`.

Both take a group for one M/M/c queue whose servers work at the rate of full batches. Neither looks ahead, knows of a
start, or of partitions: that is what they are here to show.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from autoscaler.policies.rival import arrival_rate, declare, group, keep
from autoscaler.queueing import erlang

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autoscaler.model import Decision, Objective, Observation, WorkerType

#: Seconds behind the mean rate and the maximum.
_WINDOW_S = 60.0
#: Seconds that one rate of the maximum is averaged over.
_SMOOTHED_S = 10


@dataclass(frozen=True, slots=True)
class SquareRootPolicy:
    """R + beta sqrt R workers for R = rate / capacity, with the rate of the last 60 s (Halfin and Whitt, 1981).

    Args:
        objective: Not looked at.
        beta: Safety; 1 lets about a fifth of the arrivals of a pooled queue wait.
        tick_s: Seconds between two decisions.
        name: As in the registry.

    Raises:
        ValueError: beta is below 0.
    """

    objective: Objective
    beta: float = 1.0
    tick_s: float = 10.0
    name: str = "square-root"

    def __post_init__(self) -> None:
        if self.beta < 0:
            raise ValueError(f"square-root: beta={self.beta}: must be at least 0")

    def initial(self) -> None:
        """Nothing is remembered."""

    def decide(
        self, observation: Observation, worker_types: Sequence[WorkerType], state: None
    ) -> tuple[Decision, None]:
        """One decision.

        Raises:
            NoWorkerTypes: `worker_types` is empty.
        """
        kind = group(observation, worker_types).kind
        per_s = arrival_rate(observation, _WINDOW_S)
        if per_s is None:
            return keep(observation, worker_types, "no arrivals known"), state
        load = per_s / kind.curve.capacity_per_s
        count = math.ceil(load + self.beta * math.sqrt(load) - 1e-9)
        reason = (
            f"{per_s:.1f}/s are R = {load:.2f}; R + {self.beta:g} sqrt R = {load + self.beta * math.sqrt(load):.2f}"
        )
        return declare(observation, worker_types, count, reason), state


@dataclass(frozen=True, slots=True)
class PooledErlangPolicy:
    """The fewest servers of one M/M/c queue that meet the objective, for the highest 10-s rate of the last 60 s.

    The wait may be what the objective leaves after one full batch.

    Args:
        objective: Share of requests and their time.
        tick_s: Seconds between two decisions.
        name: As in the registry.
    """

    objective: Objective
    tick_s: float = 10.0
    name: str = "pooled-erlang"

    def initial(self) -> None:
        """Nothing is remembered."""

    def decide(
        self, observation: Observation, worker_types: Sequence[WorkerType], state: None
    ) -> tuple[Decision, None]:
        """One decision.

        Raises:
            NoWorkerTypes: `worker_types` is empty.
        """
        kind = group(observation, worker_types).kind
        per_s = highest_rate(observation)
        if per_s is None:
            return keep(observation, worker_types, "no arrivals known"), state
        capacity_per_s = kind.curve.capacity_per_s
        wait_s = self.objective.within_s - kind.curve.seconds(kind.curve.max_batch)
        count = None
        if wait_s >= 0:
            most = 2 * math.floor(per_s / capacity_per_s) + 12
            count = erlang.servers_for_wait(per_s, capacity_per_s, wait_s, self.objective.share, most)
        if count is None:
            why = f"no pooled queue answers {self.objective.share:.4g} within {self.objective.within_s:g} s"
            return declare(observation, worker_types, kind.max_workers, why), state
        reason = (
            f"one pooled queue of {count} at {capacity_per_s:.1f}/s lets {self.objective.share:.4g} of {per_s:.1f}/s "
            f"wait at most {wait_s:.2f} s"
        )
        return declare(observation, worker_types, count, reason), state


def highest_rate(observation: Observation) -> float | None:
    """Highest mean of ten seconds in a row within the last 60 s, records a second; `None` = nothing known."""
    history = observation.history
    if history is None:
        return None
    counts = history.counts[-int(_WINDOW_S) :][history.known[-int(_WINDOW_S) :]]
    if not counts.size:
        return None
    width = min(_SMOOTHED_S, counts.size)
    return float(np.convolve(counts, np.full(width, 1 / width), mode="valid").max())
