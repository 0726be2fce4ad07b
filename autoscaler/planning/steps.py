"""Whether a larger fleet helped: what the group answered a second, by the number of workers that served.

A group can be bound by something that all its workers share: a broker, a database behind the model, the cores of one
machine. Then more workers answer no more, or even less, and the backlog that is left asks for yet more of them. So it
is remembered what each count of workers answered. While the group was *saturated* (records waited in most of its
partitions all the time) that is what the count can do; otherwise it can do at least that.

With x(n) records a second answered by n workers, a saturated fleet of N did what

    c = _ROOM n x(N) / x(n)

workers would have done, n the largest fleet known that is smaller by `_JUDGED` or more: one of c workers between the
two does at least x(n) / n each. Where c is smaller than N by `_JUDGED`, it is a ceiling for a while, at least n, and
twice as long each time that one is found anew. It goes at once when the smaller fleet, saturated, answers clearly
less than the larger did (so it was the workers after all), or clearly more (so what all share is faster again). Below
capacity nothing is judged: what a fleet answers then is its load.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from autoscaler.model import ArrivalHistory, Observation

#: Least ratio of two counts that are compared: below it what is measured is noise.
_JUDGED = 1.3
#: Room of a ceiling above what is enough in proportion.
_ROOM = 1.1
#: Part by which the rate under a ceiling must be below, or above, that of the larger fleet to lift it.
_FALLEN, _RISEN = 0.15, 0.2
#: Seconds over which a rate is measured, and seconds after a change of the workers that are passed over: a rebalance.
_WINDOW_S, _SETTLE_S = 30.0, 10.0
#: Seconds for which what a count of workers answered is remembered.
_KEPT_S = 900.0
#: Seconds of a partition's arrivals that wait in it when it is saturated; a commit every 5 s alone is no backlog.
_SATURATED_S = 6.0
#: Part of the arrivals that must come to saturated partitions: where one hot partition is all that waits, other workers
#: have nothing to do, and the rate of the whole group says little of their number.
_BROAD = 0.75
#: Longest hold, in times of the first.
_LONGEST = 8
#: A rate above so many times what the workers can do by their curve was no answering: offsets were set by hand.
_ABSURD = 2.0
#: Seconds between two ticks after which measuring begins anew.
_GAP_S = 15.0


@dataclass(frozen=True, slots=True)
class Answered:
    """What a count of workers answered a second."""

    workers: int
    per_s: float
    at_s: float
    #: Whether it could do no more.
    saturated: bool


@dataclass(frozen=True, slots=True)
class Ceiling:
    """A larger fleet was tried in vain."""

    workers: int
    #: The larger fleet and what it answered a second.
    tried: int
    tried_per_s: float
    #: The smaller one that it is compared with, and what that had answered.
    known: int
    known_per_s: float
    until_s: float

    def words(self, at_s: float) -> str:
        """One clause."""
        return (
            f"{self.tried} workers answered {self.tried_per_s:.1f}/s where {self.known} had answered "
            f"{self.known_per_s:.1f}/s: something that all share is at its limit, no more than {self.workers} for "
            f"{max(0.0, self.until_s - at_s):.0f} s"
        )


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered from tick to tick; `Memory()` = nothing yet."""

    #: Time of the newest sample; `None` = none yet.
    at_s: float | None = None
    #: Workers that serve, and since when.
    workers: int = 0
    since_s: float = 0.0
    #: Records without a committed result at that time.
    waiting: float = 0.0
    #: (time, records answered since some moment, whether saturated) of the present count, newest last, one window.
    marks: tuple[tuple[float, float, bool], ...] = ()
    answered: tuple[Answered, ...] = ()
    ceiling: Ceiling | None = None
    #: How often in a row a ceiling was found, and until when the last one was to hold.
    found: int = 0
    held_until_s: float = -math.inf


def look(memory: Memory, observation: Observation, *, workers: int, capacity_per_s: float, hold_s: float) -> Memory:
    """One tick.

    Args:
        memory: As of the tick before.
        observation: What is known.
        workers: That serve.
        capacity_per_s: What one of them can do by its curve, records a second.
        hold_s: Seconds that a ceiling holds when it is found first.
    """
    history = observation.history
    if history is None or observation.backlog is None:
        return replace(memory, marks=(), at_s=None)
    at_s, waiting = history.until_s, float(sum(observation.backlog.values()))
    passed_s = None if memory.at_s is None else at_s - memory.at_s
    if passed_s == 0:
        return memory
    if passed_s is not None and passed_s < 0:
        # The clock was set back: what is remembered lies in its future.
        memory = Memory()
    arrived = _arrived(history, passed_s) if passed_s is not None and 0 < passed_s <= _GAP_S else None
    grown = waiting - memory.waiting
    memory = replace(_expired(memory, at_s), at_s=at_s, waiting=waiting)
    if arrived is None or passed_s is None or workers != memory.workers or workers < 1:
        return replace(memory, workers=workers, since_s=at_s, marks=())
    if at_s - memory.since_s >= _SETTLE_S:
        total = (memory.marks[-1][1] if memory.marks else 0.0) + arrived - grown
        mark = (at_s, total, _saturated(observation, history, memory))
        memory = replace(memory, marks=(*(one for one in memory.marks if one[0] > at_s - _WINDOW_S), mark))
        if at_s - memory.marks[0][0] >= _WINDOW_S - passed_s - 0.5:
            memory = _measured(memory, workers * capacity_per_s, hold_s)
    return memory


def _measured(memory: Memory, most_per_s: float, hold_s: float) -> Memory:
    """With what a whole window says."""
    per_s = _rate(memory.marks)
    if not 0 <= per_s <= _ABSURD * most_per_s:
        return replace(memory, marks=())
    now = Answered(memory.workers, per_s, memory.marks[-1][0], all(one[2] for one in memory.marks))
    memory = replace(memory, answered=_with(memory.answered, now))
    if not now.saturated:
        return memory
    return _judged(memory, now, hold_s) if memory.ceiling is None else _lifted(memory, now)


def _judged(memory: Memory, now: Answered, hold_s: float) -> Memory:
    """With a ceiling, if so many workers did no more than fewer would have."""
    smaller = [one for one in memory.answered if one.workers * _JUDGED <= now.workers and one.per_s > 0]
    if not smaller:
        return memory
    known = max(smaller, key=lambda one: one.workers)
    enough = max(known.workers, math.ceil(_ROOM * known.workers * now.per_s / known.per_s))
    if enough * _JUDGED > now.workers:
        return memory
    found = memory.found if now.at_s - memory.held_until_s <= _LONGEST * hold_s else 0
    until_s = now.at_s + hold_s * min(2**found, _LONGEST)
    ceiling = Ceiling(enough, now.workers, now.per_s, known.workers, known.per_s, until_s)
    return replace(memory, ceiling=ceiling, found=found + 1, held_until_s=until_s)


def _lifted(memory: Memory, now: Answered) -> Memory:
    """Without the ceiling, if what the smaller fleet does shows that it was none."""
    ceiling = memory.ceiling
    if ceiling is None or now.workers > ceiling.workers:
        return memory
    if now.per_s < (1 - _FALLEN) * ceiling.tried_per_s and now.workers == ceiling.workers:
        return replace(memory, ceiling=None, found=0)
    if now.per_s > (1 + _RISEN) * max(ceiling.tried_per_s, ceiling.known_per_s):
        return replace(memory, ceiling=None, found=0, answered=(now,))
    return memory


def _expired(memory: Memory, at_s: float) -> Memory:
    """Without what is too old."""
    answered = tuple(one for one in memory.answered if at_s - one.at_s <= _KEPT_S)
    if len(answered) < len(memory.answered):
        memory = replace(memory, answered=answered)
    ceiling = memory.ceiling
    return replace(memory, ceiling=None) if ceiling is not None and at_s >= ceiling.until_s else memory


def _with(answered: tuple[Answered, ...], now: Answered) -> tuple[Answered, ...]:
    """The new figure in the place of the old one of that count: what it can do, or the most that it was seen to do."""
    old = next((one for one in answered if one.workers == now.workers), None)
    if old is not None and not now.saturated and old.per_s >= now.per_s:
        return answered
    return (*(one for one in answered if one is not old), now)


def _rate(marks: tuple[tuple[float, float, bool], ...]) -> float:
    """Answers a second, from the first third of the marks to the last: single commits come in lumps."""
    third = max(1, len(marks) // 3)
    first, last = marks[:third], marks[-third:]
    seconds = sum(one[0] for one in last) / third - sum(one[0] for one in first) / third
    records = sum(one[1] for one in last) / third - sum(one[1] for one in first) / third
    return records / seconds if seconds > 0 else 0.0


def _arrived(history: ArrivalHistory, seconds: float) -> float | None:
    """Arrivals of the newest seconds; `None` = not all are known."""
    whole = int(seconds)
    rest = seconds - whole
    recent = history.recent
    if recent.size < whole + 1:
        return None
    return float(recent[recent.size - whole :].sum() + rest * recent[recent.size - whole - 1])


def _saturated(observation: Observation, history: ArrivalHistory, memory: Memory) -> bool:
    """Whether records wait in the partitions that most of the arrivals come to."""
    known = next((one.per_s for one in memory.answered if one.workers == memory.workers), 0.0)
    per_s = max(known, float(history.recent[-int(_WINDOW_S) :].mean()))
    left_out = {one.partition for one in observation.stuck}
    backlog = {p: count for p, count in (observation.backlog or {}).items() if p not in left_out}
    if per_s <= 0 or sum(backlog.values()) < _BROAD * _SATURATED_S * per_s:
        return False
    arrivals = sum(history.by_partition.get(p, 0.0) for p in backlog)
    if arrivals <= 0:
        return False
    waits_s = _SATURATED_S * per_s / arrivals
    full = sum(
        count for p, waiting in backlog.items() if waiting >= waits_s * (count := history.by_partition.get(p, 0.0))
    )
    return full >= _BROAD * arrivals
