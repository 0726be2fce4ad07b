"""The tape decided on again: the same records known at each decision as were known live, so that it comes out the same.

Pure, and in one pass: what is held in memory is what a decider holds. Each sample on the tape says what had been
decided since the one before (`autoscaler.model.Decided`); that decision is made again here and put beside it.

A policy that was not in charge is shown the fleet that was there, as everybody was: what it would have done with its
own fleet is for `penstock simulate` to say.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autoscaler.model import ArrivalSample, Claim
from penstock.deciding import Deciding, fingerprint
from penstock.policy_runner import OWN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autoscaler.model import Decided, Decision, Objective, TelemetryRecord, WorkerType
    from autoscaler.settings import PolicySettings

#: Claims remembered: several autoscalers may claim within seconds, one of them decides.
_CLAIMS = 4


@dataclass(frozen=True, slots=True)
class Taped:
    """One record of the tape."""

    offset: int
    #: When it was written, in milliseconds of Unix time: by this a restart finds where to read from.
    timestamp_ms: int
    record: TelemetryRecord


@dataclass(frozen=True, slots=True)
class Rules:
    """All that a decision depends on besides the tape."""

    policy: PolicySettings
    worker_types: tuple[WorkerType, ...]
    objective: Objective
    #: Which policy decides, as in the settings.
    rule: str = OWN


@dataclass(frozen=True, slots=True)
class Term:
    """The time of one decider, from its claim on."""

    epoch: int
    #: `None` = its claim is not on this tape.
    claim: Claim | None
    #: Whether all is on the tape that it began with.
    whole: bool
    #: Whether it decided by the rules of this replay; `None` = not known.
    same_rules: bool | None
    #: Points of the history in Redis that it began with besides.
    from_redis: int = 0


@dataclass(frozen=True, slots=True)
class Compared:
    """One decision, as it was and as it came out again."""

    at_s: float
    term: Term
    live: Decided
    replayed: Decision
    #: Records a second over the last 10 s; `None` = not known then.
    per_s: float | None

    @property
    def fleet_differs(self) -> bool:
        """Whether another fleet came out."""
        return _some(self.live.fleet) != _some(self.replayed.fleet)

    @property
    def differs(self) -> bool:
        """Whether anything of it came out otherwise: fleet, action, bound or reason."""
        live, made = self.live, self.replayed
        return self.fleet_differs or (live.action, live.bound, live.reason) != (made.action, made.bound, made.reason)


class Course:
    """Decides again what a tape says was decided.

    Args:
        pipeline: Its name; records of others are passed over.
        rules: By which to decide.
        whole_from_s: The tape holds all that was written since this time (Unix seconds).
    """

    def __init__(self, pipeline: str, rules: Rules, whole_from_s: float) -> None:
        self._pipeline = pipeline
        self._rules = rules
        self._whole_from_s = whole_from_s
        self._fingerprint = fingerprint(rules.policy, rules.worker_types, rules.objective, rules.rule)
        #: As much as a restart reads, and once more for clocks that differ.
        self._recent: deque[Taped] = deque()
        self._terms: OrderedDict[int, _Term] = OrderedDict()
        #: Youngest claim under which something was decided.
        self._deciding = -1
        #: Decisions on the tape that could not be made again: what they were made from lies before its beginning.
        self.lost = 0

    def feed(self, entry: Taped) -> list[Compared]:
        """Take one record, in the order of the tape; the decisions that it tells of, made again."""
        record = entry.record
        if record.pipeline != self._pipeline:
            return []
        for epoch, term in self._terms.items():
            # One whose successor decides has read its last.
            if epoch >= self._deciding:
                term.waiting.append(entry)
        if isinstance(record, Claim):
            self._claimed(entry, record)
        self._recent.append(entry)
        oldest_ms = entry.timestamp_ms - 2000 * self._rules.policy.history_s
        while self._recent[0].timestamp_ms < oldest_ms:
            self._recent.popleft()
        if not isinstance(record, ArrivalSample):
            return []
        found = [self._again(decided) for decided in record.decided]
        return [one for one in found if one is not None]

    def _claimed(self, entry: Taped, claim: Claim) -> None:
        since_s = claim.at_s - self._rules.policy.history_s
        before = list(self._recent)
        # As Kafka finds a time: the first record that is not older, and all after it.
        start = next((at for at, one in enumerate(before) if one.timestamp_ms >= int(since_s * 1000)), len(before))
        same = None if claim.settings is None else claim.settings == self._fingerprint
        term = Term(entry.offset, claim, since_s >= self._whole_from_s, same)
        self._terms[entry.offset] = _Term(term, before[start:])
        while len(self._terms) > _CLAIMS:
            self._terms.popitem(last=False)

    def _again(self, decided: Decided) -> Compared | None:
        term = self._terms.get(decided.epoch)
        if term is None and decided.epoch < self._deciding:
            self.lost += 1
            return None
        self._deciding = max(self._deciding, decided.epoch)
        if term is None:
            # Its claim was made before the tape begins: what is there is what can be known.
            term = self._terms[decided.epoch] = _Term(Term(decided.epoch, None, whole=False, same_rules=None), [])
            term.waiting.extend(self._recent)
        if decided.sample <= term.newest:
            # A sample whose writing seemed to have failed has told of it before.
            return None
        found = term.again(decided, self._pipeline, self._rules)
        if found is None:
            self.lost += 1
        return found


class _Term:
    """One decider, brought to life again when its first decision is seen."""

    def __init__(self, term: Term, before: Sequence[Taped]) -> None:
        self.waiting: deque[Taped] = deque()
        #: Offset of the newest sample that was decided on.
        self.newest = -1
        self._term = term
        self._before = before
        self._deciding: Deciding | None = None
        self._samples: dict[int, ArrivalSample] = {}

    def again(self, decided: Decided, pipeline: str, rules: Rules) -> Compared | None:
        """The decision made again; `None` = its sample is not on the tape."""
        deciding = self._deciding or self._begun(decided, pipeline, rules)
        while self.waiting and self.waiting[0].offset <= decided.through:
            entry = self.waiting.popleft()
            deciding.fold(entry.record, entry.offset)
            if isinstance(entry.record, ArrivalSample):
                self._samples[entry.offset] = entry.record
        sample = self._samples.get(decided.sample)
        self.newest = decided.sample
        self._samples = {offset: one for offset, one in self._samples.items() if offset > decided.sample}
        if sample is None:
            return None
        look = deciding.look(sample, decided.sample)
        rates = look.observation.rates
        return Compared(
            sample.at_s, self._term, decided, deciding.conclude(look), None if rates is None else rates.last_10s
        )

    def _begun(self, decided: Decided, pipeline: str, rules: Rules) -> Deciding:
        term = self._term
        self._deciding = Deciding(pipeline, rules.policy, rules.worker_types, rules.objective, rules.rule)
        self._term = Term(term.epoch, term.claim, term.whole, term.same_rules, decided.from_redis)
        if term.claim is not None:
            tape = [(entry.offset, entry.record) for entry in self._before]
            self._deciding.replay(tape, (), term.claim, term.epoch)
        self._before = ()
        return self._deciding


def _some(fleet: object) -> dict[str, int]:
    """A fleet without the types that it has none of."""
    return {kind: count for kind, count in dict(fleet).items() if count}  # type: ignore[call-overload]
