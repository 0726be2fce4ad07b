"""Penstock's own policy as an object, with its settings and its objective."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from autoscaler.policies.penstock import PolicyState, decide
from autoscaler.settings import PolicySettings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autoscaler.forecasting import Forecaster
    from autoscaler.model import Decision, Objective, Observation, WorkerType


@dataclass(frozen=True, slots=True)
class PenstockPolicy:
    """`autoscaler.policies.penstock.decide`; the rules are there."""

    objective: Objective
    settings: PolicySettings = field(default_factory=PolicySettings)
    name: str = "penstock"
    #: Draws the paths; where left out, one that fits while a decision waits.
    forecaster: Forecaster | None = field(default=None, compare=False, repr=False)

    @property
    def tick_s(self) -> float:
        """Seconds between two decisions."""
        return self.settings.tick_s

    def initial(self) -> PolicyState:
        """No forecast, no needs seen."""
        return PolicyState()

    def decide(
        self, observation: Observation, worker_types: Sequence[WorkerType], state: PolicyState
    ) -> tuple[Decision, PolicyState]:
        """One decision.

        Raises:
            NoWorkerTypes: `worker_types` is empty.
        """
        return decide(observation, self.settings, worker_types, self.objective, state, forecaster=self.forecaster)
