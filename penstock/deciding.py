"""From the tape to decisions: the same steps live and in a replay, so that a restart takes the same course."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from autoscaler.forecasting import Forecaster
from autoscaler.model import ArrivalSample, Claim, Decision, Observation, TelemetryRecord, WorkerReport, WorkerType
from autoscaler.pipeline_state import PipelineState
from autoscaler.policies.penstock import PolicyState, decide
from penstock.background_fits import BackgroundFitter

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from autoscaler.model import Objective
    from autoscaler.redis_fields import RatePoint
    from autoscaler.settings import PolicySettings

#: Seconds beyond the policy's patience that a replay decides again: the forecast's fit and the fleet's last growth.
_MEMORY_S = 60.0


@dataclass(frozen=True, slots=True)
class Look:
    """All that one decision is made from."""

    sample: ArrivalSample
    observation: Observation
    worker_types: tuple[WorkerType, ...]


class Deciding:
    """What is known of a pipeline, and what the policy remembers of its decisions.

    `fold` and `look` belong to one thread, `conclude` may run in another, one call at a time.

    Args:
        pipeline: Its name.
        policy: How to look and to decide.
        worker_types: What is assumed of workers.
        objective: What must hold.
    """

    def __init__(
        self, pipeline: str, policy: PolicySettings, worker_types: Sequence[WorkerType], objective: Objective
    ) -> None:
        self._pipeline = pipeline
        self._policy = policy
        self._objective = objective
        self._state = PipelineState(pipeline, policy, worker_types)
        self._memory = PolicyState()
        # A fit takes up to a tenth of a second: it is done beside the decisions, with the same result.
        self._forecaster = Forecaster(policy.forecast, BackgroundFitter())

    def fold(self, record: TelemetryRecord, offset: int | None) -> None:
        """Take one record of the tape; what was seen before changes nothing."""
        self._state.apply(record, offset)

    def look(self, sample: ArrivalSample) -> Look:
        """What is known at the time of a sample that was folded."""
        return Look(sample, self._state.observe(sample.at_s), self._state.worker_types())

    def conclude(self, look: Look) -> Decision:
        """Decide, and remember it."""
        decision, self._memory = decide(
            look.observation,
            self._policy,
            look.worker_types,
            self._objective,
            self._memory,
            forecaster=self._forecaster,
        )
        return decision

    def reports(self, at_s: float) -> tuple[WorkerReport, ...]:
        """Workers heard of lately."""
        return tuple(self._state.observe(at_s).reports.values())

    def replay(
        self, tape: Sequence[tuple[int, TelemetryRecord]], history: Iterable[RatePoint], claim: Claim, epoch: int
    ) -> None:
        """Learn what an owner before us had known and had in mind; nothing is acted on.

        Args:
            tape: Records before our claim with their offsets, in order.
            history: Older end offsets, from Redis.
            claim: Ours.
            epoch: Its offset.
        """
        samples = [record for _, record in tape if isinstance(record, ArrivalSample)]
        first_s = samples[0].at_s if samples else claim.at_s
        for point in history:
            if claim.at_s - self._policy.history_s < point.at_s < first_s:
                self.fold(ArrivalSample(self._pipeline, point.at_s, point.end_offsets, {}), None)
        remembered_s = self._policy.scale_in_patience_s + _MEMORY_S
        since_s = (samples[-1].at_s if samples else claim.at_s) - remembered_s
        for offset, record in tape:
            self.fold(record, offset)
            if isinstance(record, ArrivalSample) and record.at_s >= since_s:
                self.conclude(self.look(record))
        self.fold(claim, epoch)
