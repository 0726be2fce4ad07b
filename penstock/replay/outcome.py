"""What a replay came to: the same decisions or where they part, and what either fleet would have cost. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from penstock.explaining import fleet_words, moment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from autoscaler.model import WorkerType
    from penstock.replay.course import Compared, Course, Rules, Term

#: Differences that are listed one by one; beyond it only counted.
_LISTED = 1000
_HOUR_S = 3600.0


@dataclass(slots=True)
class Stretch:
    """Decisions in a row that differ in the same way."""

    from_s: float
    until_s: float
    decisions: int
    live: dict[str, int]
    replayed: dict[str, int]
    #: What each said at the first of them.
    live_reason: str
    replayed_reason: str
    live_bound: str
    replayed_bound: str


@dataclass(frozen=True, slots=True)
class Point:
    """One decision, for the picture."""

    at_s: float
    live: int
    replayed: int
    per_s: float | None


@dataclass(slots=True)
class Fleets:
    """What a course of fleets came to."""

    #: By type.
    worker_s: dict[str, float] = field(default_factory=dict)

    def add(self, fleet: Mapping[str, int], seconds: float) -> None:
        """So many seconds of a fleet."""
        for kind, count in fleet.items():
            self.worker_s[kind] = self.worker_s.get(kind, 0.0) + count * seconds

    def cost(self, prices: Mapping[str, float]) -> float | None:
        """Worker-seconds times price; `None` = there was a type without a price."""
        if any(seconds and kind not in prices for kind, seconds in self.worker_s.items()):
            return None
        return sum(seconds * prices[kind] / _HOUR_S for kind, seconds in self.worker_s.items() if seconds)


class Outcome:
    """Counts what is compared, decision by decision.

    Args:
        pipeline: Its name.
        rules: Of the replay.
        since_s: Decisions before it count in nothing; Unix seconds.
        until_s: Nor do those after it.
        epoch: Nor do those under older claims.
    """

    def __init__(
        self,
        pipeline: str,
        rules: Rules,
        *,
        since_s: float | None = None,
        until_s: float | None = None,
        epoch: int = -1,
    ) -> None:
        self._epoch = epoch
        self._pipeline = pipeline
        self._rules = rules
        self._since_s = float("-inf") if since_s is None else since_s
        self._until_s = float("inf") if until_s is None else until_s
        self._terms: dict[int, Term] = {}
        self._last: Compared | None = None
        self._live, self._replayed = Fleets(), Fleets()
        self._stretches: list[Stretch] = []
        self._in_stretch = False
        self._first_s: float | None = None
        self.decisions = 0
        #: Decisions that differ in anything, and in the fleet.
        self.differing = 0
        self.fleets_differing = 0
        self.points: list[Point] = []

    def add(self, found: Iterable[Compared]) -> None:
        """Take what was compared, in the order of the tape."""
        for one in found:
            if self._since_s <= one.at_s <= self._until_s and one.term.epoch >= self._epoch:
                self._take(one)

    def _take(self, one: Compared) -> None:
        last = self._last
        if last is not None and one.at_s > last.at_s:
            # A fleet stays until the next decision, also while nobody decides.
            self._live.add(last.live.fleet, one.at_s - last.at_s)
            self._replayed.add(last.replayed.fleet, one.at_s - last.at_s)
        self._last = one
        self._first_s = one.at_s if self._first_s is None else self._first_s
        self._terms[one.term.epoch] = one.term
        self.decisions += 1
        self.points.append(Point(one.at_s, sum(one.live.fleet.values()), sum(one.replayed.fleet.values()), one.per_s))
        self.fleets_differing += one.fleet_differs
        differs = one.differs if self._same_policy(one.term) else one.fleet_differs
        self.differing += differs
        self._stretch(one, differs=differs)

    def _stretch(self, one: Compared, *, differs: bool) -> None:
        live, made = dict(one.live.fleet), dict(one.replayed.fleet)
        newest = self._stretches[-1] if self._stretches and self._in_stretch else None
        self._in_stretch = differs
        if not differs:
            return
        if newest is not None and (newest.live, newest.replayed) == (live, made):
            newest.until_s, newest.decisions = one.at_s, newest.decisions + 1
        else:
            self._stretches.append(
                Stretch(
                    one.at_s, one.at_s, 1, live, made, one.live.reason, one.replayed.reason, one.live.bound,
                    one.replayed.bound,
                )
            )  # fmt: skip

    def _same_policy(self, term: Term) -> bool:
        return term.claim is None or term.claim.policy in {None, self._rules.rule}

    @property
    def same_policy(self) -> bool:
        """Whether every decision was made by the policy of the replay, as far as is known."""
        return all(map(self._same_policy, self._terms.values()))

    def notes(self, lost: int) -> list[str]:
        """What a difference may come from besides the policy, and what the figures assume; a sentence each."""
        terms = list(self._terms.values())
        said = []
        if not self.same_policy:
            live = sorted({term.claim.policy for term in terms if term.claim and term.claim.policy})
            said.append(
                f"{self._rules.rule} is shown the fleet that {', '.join(live)} had, at each decision anew: what it "
                "would have come to with its own fleet, `penstock simulate` tells"
            )
        elif any(term.same_rules is False for term in terms):
            said.append(
                "the settings are not those that were decided by (policy, worker types, objective or version): "
                "differences may come from that"
            )
        if any(term.claim is None for term in terms):
            said.append(
                "the tape begins after the claim of the autoscaler that decided: what it had in mind is not known, and "
                "the first decisions may differ for that"
            )
        elif not all(term.whole for term in terms):
            said.append(
                "the tape begins less than policy.history_s before a claim: an autoscaler knew more at its start, and "
                "its first decisions may differ for that"
            )
        points = sum(term.from_redis for term in terms)
        if points:
            said.append(
                f"{points} things (points of the history, or what a policy remembered) were known from Redis at a "
                "start and are not on the tape: the decisions after it may differ for that"
            )
        if lost:
            said.append(f"{lost} decisions could not be made again: their samples are not on the tape")
        return said

    def as_json(self, course: Course) -> dict[str, Any]:
        """All of it, for programs."""
        prices = _prices(self._rules.worker_types)
        terms = [
            {
                "epoch": term.epoch,
                "owner": term.claim and term.claim.owner,
                "from_s": term.claim and term.claim.at_s,
                "policy": term.claim and term.claim.policy,
                "same_settings": term.same_rules,
                "begins_whole": term.whole,
                "from_redis": term.from_redis,
            }
            for term in self._terms.values()
        ]
        return {
            "pipeline": self._pipeline,
            "policy": self._rules.rule,
            "same_policy": self.same_policy,
            "same": self.differing == 0,
            "decisions": self.decisions,
            "differing": self.differing,
            "fleets_differing": self.fleets_differing,
            "lost": course.lost,
            "from_s": self._first_s,
            "until_s": self._last and self._last.at_s,
            "worker_s": {"live": _rounded(self._live.worker_s), "replayed": _rounded(self._replayed.worker_s)},
            "cost": {"live": _short(self._live.cost(prices)), "replayed": _short(self._replayed.cost(prices))},
            "terms": terms,
            "notes": self.notes(course.lost),
            "differences": [_told(one) for one in self._stretches[:_LISTED]],
            "more_differences": max(0, len(self._stretches) - _LISTED),
        }


def words(told: Mapping[str, Any]) -> list[str]:
    """The outcome in sentences: the verdict first."""
    live = sorted({term["policy"] for term in told["terms"] if term["policy"]}) or ["the policy in charge"]
    count, differing = told["decisions"], told["differing"]
    span = f"{count} decisions from {moment(told['from_s'])} to {moment(told['until_s'])}"
    if told["same_policy"]:
        verdict = "the same decisions, word for word" if told["same"] else f"{differing} of them came out otherwise"
    else:
        same = f"the same fleet as {', '.join(live)} each time"
        verdict = same if told["same"] else f"another fleet than {', '.join(live)} in {differing} of them"
    lines = [f"{span}, by {told['policy']}: {verdict}."]
    lines.append(f"Cost: {_cost(told, 'live')} as it was, {_cost(told, 'replayed')} replayed.")
    return lines


def difference_words(one: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """A stretch as cells: when, live, replayed, why."""
    many = one["decisions"] > 1
    when = moment(one["from_s"]).removesuffix(" UTC") + (f" ({one['decisions']} decisions)" if many else "")
    return (
        when, fleet_words(one["live"]), fleet_words(one["replayed"]),
        f"live: {one['live_reason']}; replayed: {one['replayed_reason']}",
    )  # fmt: skip


def _cost(told: Mapping[str, Any], which: str) -> str:
    cost, hours = told["cost"][which], sum(told["worker_s"][which].values()) / _HOUR_S
    priced = "no price for some of it" if cost is None else f"{cost:.4g}"
    return f"{priced} ({hours:.4g} worker-hours)"


def _told(one: Stretch) -> dict[str, Any]:
    return {
        "from_s": one.from_s,
        "until_s": one.until_s,
        "decisions": one.decisions,
        "live": one.live,
        "replayed": one.replayed,
        "live_bound": one.live_bound,
        "replayed_bound": one.replayed_bound,
        "live_reason": one.live_reason,
        "replayed_reason": one.replayed_reason,
    }


def _prices(kinds: Iterable[WorkerType]) -> dict[str, float]:
    return {kind.name: kind.price_per_hour for kind in kinds}


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(value, 3) for name, value in values.items()}


def _short(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
