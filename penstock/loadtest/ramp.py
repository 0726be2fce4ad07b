"""A ramp of rates as send times, and what the answers' times say of it: pure.

Open loop: requests are due at their own Poisson moments, whatever becomes of those before, and each waits from when it
was due. A generator that waits for answers would send less just when the system is slow, and would not see it.

The knee is where the backlog begins to grow: of what was sent and has no answer yet, so that a generator that cannot
keep up is no fault of the pipeline's. In the first step that is overloaded the pipeline answers as fast as it can, so
the knee is the rate of its answers there; its interval comes from a bootstrap over seconds. From a step whose load was
not really sent no knee is read: what the pipeline would have done with it is not known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from autoscaler.model import ServiceCurve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

#: Part of a step that is left out at its beginning: the step before still echoes.
SETTLE = 0.25
#: Growth of the backlog, as a share of the step's rate, above which the step is overloaded: Poisson noise of a step of
#: ten seconds at a hundred a second stays below 3 %.
GROWING = 0.05
#: Points of the backlog that its slope is fitted to.
POINTS = 40
#: Draws of the bootstrap.
DRAWS = 2000
#: Seconds of load in arrears after which the ramp ends: the answer is known, and the pipeline has work to do.
ARREARS_S = 5.0


@dataclass(frozen=True, slots=True)
class Step:
    """One rate of the ramp."""

    #: Asked for, due, and answered, requests a second; answers are those that came in the step.
    rate_per_s: float
    offered_per_s: float
    answered_per_s: float
    #: By how much the backlog of what was sent grew, requests a second.
    growth_per_s: float
    #: By how much the generator fell behind what was due, requests a second, and whether it gave up in this step.
    generator_growth_per_s: float
    gave_up: bool
    #: From when each was due to its readable answer, in seconds; infinite = more than that share never had one.
    p50_s: float
    p99_s: float
    #: Share answered within the objective.
    attainment: float

    @property
    def overloaded(self) -> bool:
        """Whether the pipeline fell behind."""
        return self.growth_per_s > GROWING * self.rate_per_s

    @property
    def offered(self) -> bool:
        """Whether the load was really sent: the generator kept up with what was due."""
        return not self.gave_up and self.generator_growth_per_s <= GROWING * self.rate_per_s


@dataclass(frozen=True, slots=True)
class Knee:
    """Where the pipeline begins to fall behind, with a 95 % interval."""

    per_s: float
    low: float
    high: float


def rates_of(first: float, last: float, steps: int) -> tuple[float, ...]:
    """Rates from the first to the last, each a fixed factor above the one before."""
    return tuple(float(rate) for rate in np.geomspace(first, last, steps))


def due_times(rates: Sequence[float], step_s: float, seed: int) -> Floats:
    """Poisson moments of all steps, in seconds after the start, ascending."""
    rng = np.random.default_rng(seed)
    parts = [
        np.sort(rng.uniform(number * step_s, (number + 1) * step_s, rng.poisson(rate * step_s)))
        for number, rate in enumerate(rates)
    ]
    return np.concatenate(parts)


def per_request(curve: ServiceCurve, rows: int) -> ServiceCurve:
    """The curve of a worker whose requests have `rows` rows each: in requests instead of rows.

    A request that is larger than a batch is computed in pieces.
    """
    pieces = math.ceil(rows / curve.max_batch)
    return ServiceCurve(curve.a_s * pieces, curve.b_s * rows, max(1, curve.max_batch // rows))


def read_steps(
    due_s: Floats, seen_s: Floats, rates: Sequence[float], step_s: float, within_s: float, *,
    late_s: Floats | None = None, gave_up: bool = False,
) -> tuple[Step, ...]:  # fmt: skip
    """What became of each step that was sent.

    Args:
        due_s: when each request was due, ascending, (n,); only those that were sent.
        seen_s: when its answer could be read, (n,); NaN = never.
        rates: of the steps.
        step_s: length of a step.
        within_s: the objective's time.
        late_s: how late each was handed to the Kafka client, (n,); `None` = none was. What waits inside the client
            counts as the pipeline's backlog.
        gave_up: whether the generator ended the ramp because it was too late itself.
    """
    sent_s = due_s if late_s is None else due_s + late_s
    seen = np.sort(seen_s[~np.isnan(seen_s)])
    found = []
    for number, rate in enumerate(rates):
        begin_s, end_s = (number + SETTLE) * step_s, (number + 1) * step_s
        mine = (due_s >= begin_s) & (due_s < end_s)
        # In the step in which the ramp was cut, what came after tells nothing: the generator catches up.
        until_s = min(end_s, float(due_s[-1]))
        if not mine.any() or until_s <= begin_s:
            break
        at = np.linspace(begin_s, until_s, POINTS)
        due, sent = np.searchsorted(due_s, at), np.searchsorted(sent_s, at)
        backlog = sent - np.searchsorted(seen, at)
        waits = np.where(np.isnan(seen_s[mine]), np.inf, seen_s[mine] - due_s[mine])
        p50, p99 = np.quantile(waits, [0.5, 0.99], method="higher")
        answered = np.searchsorted(seen, end_s) - np.searchsorted(seen, begin_s)
        found.append(
            Step(
                rate_per_s=rate,
                offered_per_s=float(mine.sum() / (until_s - begin_s)),
                answered_per_s=float(answered / (end_s - begin_s)),
                growth_per_s=float(np.polyfit(at, backlog, 1)[0]),
                generator_growth_per_s=float(np.polyfit(at, due - sent, 1)[0]),
                gave_up=gave_up and float(due_s[-1]) < end_s,
                p50_s=float(p50),
                p99_s=float(p99),
                attainment=float(np.mean(waits <= within_s)),
            )
        )
    return tuple(found)


def knee(steps: Sequence[Step], seen_s: Floats, step_s: float, *, seed: int = 0) -> Knee | None:
    """The rate of answers in the first step that is overloaded, and stays so; `None` = the ramp never reached it.

    Only steps up to the first whose load was not really sent are looked at.
    """
    judged = really_offered(steps)
    first = next((number for number in range(len(judged)) if all(step.overloaded for step in judged[number:])), None)
    if first is None:
        return None
    begin_s, end_s = (first + SETTLE) * step_s, (first + 1) * step_s
    bins = max(4, round(end_s - begin_s))
    counts, edges = np.histogram(seen_s[~np.isnan(seen_s)], bins=bins, range=(begin_s, end_s))
    rng = np.random.default_rng(seed)
    width_s = float(edges[1] - edges[0])
    drawn = counts[rng.integers(0, bins, (DRAWS, bins))].mean(axis=1) / width_s
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Knee(float(counts.mean() / width_s), float(low), float(high))


def really_offered(steps: Sequence[Step]) -> Sequence[Step]:
    """The steps before the first whose load the generator did not send."""
    short = next((number for number, step in enumerate(steps) if not step.offered), len(steps))
    return steps[:short]


def highest_in_time(steps: Sequence[Step], share: float) -> float | None:
    """The rate of the last step before the first one that misses the objective; `None` = the first one does."""
    best = None
    for step in steps:
        if step.attainment < share or step.overloaded or not step.offered:
            break
        best = step.rate_per_s
    return best


@dataclass(frozen=True, slots=True)
class Member:
    """A worker as it serves now."""

    name: str
    curve: ServiceCurve
    #: Partitions of the requests topic that it owns.
    partitions: int


def foretold(members: Sequence[Member], partitions: int) -> float | None:
    """The knee by the plan's formula: the first worker to be full decides, min of mu P / partitions owned.

    `None` = partitions without an owner: their backlog grows at any rate.
    """
    if sum(member.partitions for member in members) < partitions:
        return None
    return min(member.curve.capacity_per_s * partitions / member.partitions for member in members if member.partitions)
