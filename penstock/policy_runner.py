"""A policy with what it remembers: decides when it is due, and keeps to its last decision until then."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from autoscaler.forecasting import Forecaster
from autoscaler.model import Action
from autoscaler.policies import registry
from autoscaler.policies.penstock_policy import PenstockPolicy
from penstock.background_fits import BackgroundFitter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autoscaler.model import Decision, Objective, Observation, WorkerType
    from autoscaler.policies.base import Policy
    from autoscaler.settings import PolicySettings

#: Penstock's own policy in the registry.
OWN = "penstock"


class PolicyRunner:
    """One policy in charge, in a replay, or as a shadow. Used by one thread at a time.

    Args:
        rule: Which: `NAME` or `NAME:parameter=value,...`, see `autoscaler.policies.registry`.
        objective: What must hold.
        settings: How Penstock's own policy decides, and how often is looked.

    Raises:
        UnknownPolicy: there is no such rule.
        ValueError: a parameter is out of its range.
    """

    def __init__(self, rule: str, objective: Objective, settings: PolicySettings) -> None:
        self._policy = _policy(rule, objective, settings)
        self._look_s = settings.tick_s
        #: What the policy remembers; a value.
        self.memory: Any = self._policy.initial()
        self._last: Decision | None = None

    @property
    def own(self) -> bool:
        """Whether it is Penstock's own policy."""
        return self._policy.name == OWN

    def decide(self, observation: Observation, worker_types: Sequence[WorkerType]) -> Decision:
        """Decide, and remember it; between two decisions of a policy with a slower pace the last one holds."""
        at_s, last = observation.at_s, self._last
        # Samples come at about their time: half of one early is on time. A clock set back is no reason to wait.
        if last is not None and 0 <= at_s - last.at_s < self._policy.tick_s - self._look_s / 2:
            wait_s = self._policy.tick_s - (at_s - last.at_s)
            return replace(
                last,
                at_s=at_s,
                action=Action.HOLD,
                reason=f"{self._policy.name} decides again in {wait_s:.0f} s; last: {last.reason}",
                bound="pace",
            )
        self._last, self.memory = self._policy.decide(observation, worker_types, self.memory)
        return self._last

    def forget(self) -> None:
        """Begin anew, as after the first start."""
        self.memory = self._policy.initial()


def _policy(text: str, objective: Objective, settings: PolicySettings) -> Policy:
    if text != OWN:
        return registry.named(text, objective, settings)
    # A fit takes up to a tenth of a second: it is done beside the decisions, with the same result.
    return PenstockPolicy(objective, settings, forecaster=Forecaster(settings.forecast, BackgroundFitter()))
