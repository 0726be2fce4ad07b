"""When to run a batch and how large: one pure decision, taken each time the device is free.

A batch is what waits when the device is free. Under light load that is best for everybody: nobody waits for company.
Two things can make another choice better, and both show in the fitted curve. A batch is padded to an allowed size, so
a few rows above one pay for the next; and a deadline may hold for a small batch and not for a large one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from inference_workers.batching import padded_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autoscaler.model import ServiceCurve

#: Share of the time that the device must have been busy before throughput goes before latency.
PRESSED = 0.85
#: Longest wait for company, as a share of the objective: what is left is for the batch, its delivery and the queue.
MOST_WAIT = 0.1


@dataclass(frozen=True, slots=True)
class Waiting:
    """One request that could go into the batch."""

    rows: int
    #: Unix seconds by which its answer is wanted, by its own deadline; `None` = it has none.
    deadline_s: float | None
    #: Unix seconds when it was sent, by its record; `None` = not known.
    sent_s: float | None


@dataclass(frozen=True, slots=True)
class Situation:
    """What the decision rests on."""

    #: In order; at least one.
    waiting: Sequence[Waiting]
    #: Unix seconds.
    now_s: float
    #: Sizes that batches are padded to, ascending; empty = a batch costs what its rows cost.
    sizes: Sequence[int]
    #: Most rows of a batch.
    most_rows: int
    #: As fitted; `None` = not known yet.
    curve: ServiceCurve | None
    #: Rows a second that come in.
    rate: float
    #: Share of the last second or so that the device was busy, 0 to 1.
    busy: float
    #: Seconds within which requests want their results.
    objective_s: float


@dataclass(frozen=True, slots=True)
class Choice:
    """How many of the waiting requests to run now; 0 = wait `wait_s` for more, then decide again."""

    count: int
    wait_s: float = 0.0


def choose(situation: Situation) -> Choice:
    """Decide.

    - Not more than lets the tightest deadline hold (and, unless the device is pressed, the objective): with
      S(n) = a + b*pad(n), the longest prefix with now + S <= the least due time in it. What cannot hold even alone does
      not count.
    - Pressed, and n rows wait where the next size is m > n: wait for the rest, w = (m - n) / rate, where that
      serves more rows a second, m / (w + S(m)) > n / S(n); but not beyond `MOST_WAIT` of the objective, nor a due time.
    - Pressed, and not worth waiting: only the l rows that fill the size below, where l / S(l) > n / S(n).

    Returns:
        at least one request, or a wait.

    """
    count = _within_due(situation)
    curve = situation.curve
    if curve is None or not situation.sizes or situation.busy < PRESSED:
        return Choice(count)
    chosen = situation.waiting[:count]
    rows = sum(one.rows for one in chosen)
    if rows >= situation.most_rows:
        return Choice(count)
    size = _padded(rows, situation)
    if size == rows:
        return Choice(count)
    wait_s = (size - rows) / situation.rate if situation.rate > 0 else float("inf")
    served = curve.seconds(size)
    if count == len(situation.waiting) and size / (wait_s + served) > rows / served:
        slack_s = min(situation.objective_s * MOST_WAIT, _slack(chosen, situation, served))
        if wait_s <= slack_s:
            return Choice(0, wait_s)
    smaller = _filling(chosen, situation, rows / served)
    return Choice(count if smaller is None else smaller)


def _within_due(situation: Situation) -> int:
    """How many requests, at least one, can be run together so that each due time that can hold does."""
    curve = situation.curve
    if curve is None:
        return len(situation.waiting)
    pressed = situation.busy >= PRESSED
    rows, least_s, count = 0, float("inf"), 0
    for one in situation.waiting:
        due_s = _due(one, situation, pressed=pressed)
        if situation.now_s + curve.seconds(_padded(one.rows, situation)) <= due_s:
            least_s = min(least_s, due_s)
        if count and situation.now_s + curve.seconds(_padded(rows + one.rows, situation)) > least_s:
            break
        rows, count = rows + one.rows, count + 1
    return count


def _due(one: Waiting, situation: Situation, *, pressed: bool) -> float:
    due_s = float("inf") if one.deadline_s is None else one.deadline_s
    # Under pressure smaller batches would only make the queue longer, and everybody later.
    if not pressed and one.sent_s is not None:
        due_s = min(due_s, one.sent_s + situation.objective_s)
    return due_s


def _slack(chosen: Sequence[Waiting], situation: Situation, served_s: float) -> float:
    """Seconds that the batch may still wait before the first of its due times would be missed."""
    due_s = min(_due(one, situation, pressed=False) for one in chosen)
    return due_s - situation.now_s - served_s


def _filling(chosen: Sequence[Waiting], situation: Situation, rate: float) -> int | None:
    """How many requests fill the largest allowed size they can, if that serves more than `rate` rows a second."""
    assert situation.curve is not None  # noqa: S101 - asked only where there is one
    best, rows = None, 0
    sizes = set(situation.sizes)
    for count, one in enumerate(chosen, start=1):
        rows += one.rows
        if rows in sizes and rows / situation.curve.seconds(rows) > rate:
            best = count
    return best


def _padded(rows: int, situation: Situation) -> int:
    if not situation.sizes or rows >= situation.sizes[-1]:
        return rows
    return padded_size(rows, situation.sizes)
