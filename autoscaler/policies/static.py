"""A fixed fleet: what most people run who do not trust any autoscaler."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from autoscaler.policies.rival import declare

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autoscaler.model import Decision, Objective, Observation, WorkerType


@dataclass(frozen=True, slots=True)
class StaticPolicy:
    """So many workers of the first type, whatever comes.

    Args:
        objective: Not looked at.
        workers: Size of the fleet.
        tick_s: Seconds between two decisions.

    Raises:
        ValueError: no size was given, or one below 0.
    """

    objective: Objective
    workers: int = -1
    tick_s: float = 60.0
    name: str = "static"

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise ValueError(f"static: workers={self.workers}: give the size of the fleet, e.g. workers=8")

    def initial(self) -> None:
        """Nothing is remembered."""

    def decide(
        self, observation: Observation, worker_types: Sequence[WorkerType], state: None
    ) -> tuple[Decision, None]:
        """The same fleet.

        Raises:
            NoWorkerTypes: `worker_types` is empty.
        """
        return declare(observation, worker_types, self.workers, f"fixed at {self.workers}"), state
