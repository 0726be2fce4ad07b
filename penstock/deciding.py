"""From the tape to decisions: the same steps live and in a replay, so that a restart takes the same course."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autoscaler import remembering
from autoscaler.model import ArrivalSample, Claim, Decision, Observation, TelemetryRecord, WorkerReport, WorkerType
from autoscaler.pipeline_state import PipelineState
from penstock.policy_runner import OWN, PolicyRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from autoscaler.model import Objective
    from autoscaler.redis_fields import RatePoint
    from autoscaler.settings import PolicySettings

log = logging.getLogger(__name__)

#: Seconds beyond the policy's patience that a replay decides again: the forecast's fit and the fleet's last growth.
_MEMORY_S = 60.0
#: Times in Redis are rounded to microseconds: closer than this, in seconds, is the same sample.
_ROUNDING_S = 1e-3
#: Letters of a fingerprint: two settings by chance the same once in 2**48.
_FINGERPRINT = 12


@dataclass(frozen=True, slots=True)
class Look:
    """All that one decision is made from."""

    sample: ArrivalSample
    observation: Observation
    worker_types: tuple[WorkerType, ...]
    #: Offset of the sample, and of the last record that was known; -1 = not from the topic.
    offset: int = -1
    through: int = -1


@dataclass(frozen=True, slots=True, eq=False)
class Remembered:
    """What a policy remembered after one decision."""

    #: Offset of the sample that it was made on.
    offset: int
    #: Fingerprint of the settings.
    rules: str
    memory: Any

    def written(self) -> str:
        """As text.

        Raises:
            ValueError: something of it cannot be written.
        """
        return f"{self.offset} {self.rules} {remembering.written(self.memory)}"

    @classmethod
    def read(cls, text: str) -> Remembered:
        """What `written` made text of.

        Raises:
            ValueError: it is none, or of another version.
        """
        offset, rules, memory = text.split(" ", 2)
        return cls(int(offset), rules, remembering.read(memory))


class Deciding:
    """What is known of a pipeline, and what the policy remembers of its decisions.

    `fold` and `look` belong to one thread, `conclude` may run in another, one call at a time.

    Args:
        pipeline: Its name.
        policy: How to look, and how Penstock's own policy decides.
        worker_types: What is assumed of workers.
        objective: What must hold.
        rule: Which policy decides: `NAME` or `NAME:parameter=value,...`, see `autoscaler.policies.registry`.

    Raises:
        UnknownPolicy: there is no such rule.
    """

    def __init__(
        self,
        pipeline: str,
        policy: PolicySettings,
        worker_types: Sequence[WorkerType],
        objective: Objective,
        rule: str = OWN,
    ) -> None:
        self._pipeline = pipeline
        self._policy = policy
        self._state = PipelineState(pipeline, policy, worker_types)
        self._runner = PolicyRunner(rule, objective, policy)
        #: Points of the history in Redis that were folded though the tape did not have them; a memory counts as one.
        self.from_redis = 0
        self._fingerprint = fingerprint(policy, worker_types, objective, rule)

    def fold(self, record: TelemetryRecord, offset: int | None) -> None:
        """Take one record of the tape; what was seen before changes nothing."""
        self._state.apply(record, offset)

    def look(self, sample: ArrivalSample, offset: int = -1) -> Look:
        """What is known at the time of a sample that was folded.

        Args:
            sample: It.
            offset: Its offset; -1 = not from the topic.
        """
        state = self._state
        return Look(sample, state.observe(sample.at_s), state.worker_types(), offset, state.through)

    def conclude(self, look: Look) -> Decision:
        """Decide, and remember it; between two decisions of a policy with a slower pace the last one holds."""
        return self._runner.decide(look.observation, look.worker_types)

    def remembered(self, look: Look) -> Remembered:
        """What the policy remembers after that decision, to be kept for the next owner."""
        return Remembered(look.offset, self._fingerprint, self._runner.memory)

    def forget(self) -> None:
        """Decide from now on as if nothing had been decided before; what is known of the pipeline stays."""
        self._runner.forget()

    def reports(self, at_s: float) -> tuple[WorkerReport, ...]:
        """Workers heard of lately."""
        return tuple(self._state.reports(at_s).values())

    def replay(
        self,
        tape: Sequence[tuple[int, TelemetryRecord]],
        history: Iterable[RatePoint],
        claim: Claim,
        epoch: int,
        remembered: Remembered | None = None,
    ) -> bool:
        """Learn what an owner before us had known and had in mind; nothing is acted on.

        With the memory that it left, only what came after that is decided again, and the course is the same as its.
        Without, the newest minutes are decided again, and what they do not show is learnt anew.

        Args:
            tape: Records before our claim with their offsets, in order.
            history: Older end offsets, from Redis.
            claim: Ours.
            epoch: Its offset.
            remembered: What an owner before us left, if it is known.

        Returns:
            Whether that memory was taken: it is of the same settings, and not of later than our claim.
        """
        samples = [record for _, record in tape if isinstance(record, ArrivalSample)]
        first_s = samples[0].at_s if samples else claim.at_s
        for point in history:
            if claim.at_s - self._policy.history_s < point.at_s < first_s - _ROUNDING_S:
                self.fold(ArrivalSample(self._pipeline, point.at_s, point.end_offsets, {}), None)
                self.from_redis += 1
        remembered_s = self._policy.scale_in_patience_s + _MEMORY_S
        # What others remember is theirs to know, and they are quick: all of it.
        since_s = (samples[-1].at_s if samples else claim.at_s) - remembered_s if self._runner.own else first_s
        taken = remembered is not None and self._usable(remembered, epoch)
        if remembered is not None and taken:
            self._runner.memory = remembered.memory
            self.from_redis += 1
        for offset, record in tape:
            self.fold(record, offset)
            if not isinstance(record, ArrivalSample):
                continue
            recent = record.at_s >= since_s
            due = offset > remembered.offset if remembered is not None and taken else recent
            if due or recent:
                # To look notes who serves, whether or not there is anything to decide.
                look = self.look(record, offset)
                if due:
                    self.conclude(look)
        self.fold(claim, epoch)
        return taken

    def _usable(self, remembered: Remembered, epoch: int) -> bool:
        """What others remember is learnt from the tape, with the pace that goes with it."""
        return self._runner.own and remembered.rules == self._fingerprint and 0 <= remembered.offset < epoch


def replayed(
    new: Callable[[], Deciding],
    tape: Sequence[tuple[int, TelemetryRecord]],
    history: Sequence[RatePoint],
    claim: Claim,
    *,
    epoch: int,
    remembered: Remembered | None,
) -> tuple[Deciding, bool]:
    """`Deciding.replay`, with as much of what there is as can be decided on.

    A memory of another version, or a tape on which a decision fails, must not keep a new owner from deciding at all.

    Args:
        new: Makes one that knows nothing.
        tape: See `Deciding.replay`.
        history: Likewise.
        claim: Likewise.
        epoch: Likewise.
        remembered: Likewise.

    Returns:
        What has learnt, and whether from the memory.
    """
    for memory, points, records in ((remembered, history, tape), (None, history, tape)):
        deciding = new()
        try:
            return deciding, deciding.replay(records, points, claim, epoch, memory)
        except Exception:
            log.exception("autoscaler.replay_failed", extra={"memory": memory is not None})
    deciding = new()
    deciding.fold(claim, epoch)
    return deciding, False


def fingerprint(
    policy: PolicySettings, worker_types: Sequence[WorkerType], objective: Objective, rule: str = OWN
) -> str:
    """The same for the same arguments of `Deciding` in every process; another one where any number differs."""
    said = repr((policy, tuple(worker_types), objective, rule))
    return hashlib.sha256(said.encode()).hexdigest()[:_FINGERPRINT]
