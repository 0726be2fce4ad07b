"""How many workers a load needs: for ever (steady state) and to be rid of what has piled up (drain).

Symbols: lambda = rate sized for, sigma(c) = share of the load on the busiest of c workers (`queueing.split`), mu =
capacity of one worker, lambda* = highest rate at which one worker meets the objective (`queueing.batch`).

- Steady state: sigma(c) lambda <= lambda*.
- A partition with a share s of which s lambda > lambda* is more than any worker can do, and no count of workers helps
it: it has one for itself, and the rest is sized without it.
- Drain: when the c workers are ready, B records wait. After `drain_s` more seconds the busiest worker's queue must be
so short that a new
  request is in time: sigma(c) (B + lambda drain) <= mu drain + mu (within - 2 s(max batch)).

B is what waits now, plus what comes in and less what is worked off until the c workers serve (fluid approximation).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from autoscaler.model import Plan
from autoscaler.queueing import batch, erlang, split

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autoscaler.model import Objective, ServiceCurve
    from autoscaler.settings import PolicySettings


@dataclass(frozen=True, slots=True)
class Situation:
    """The load and the fleet that meets it."""

    #: Rate to be sized for, records a second.
    rate_per_s: float
    #: Most likely rate while a backlog is drained, records a second.
    mean_per_s: float
    #: Shares of the partitions, largest first.
    shares: Sequence[float]
    #: Index of dispersion of the arrivals in sum, at least 1.
    dispersion: float
    #: Records without a result that are not just the pause of a rebalance; `None` = not known.
    backlog: float | None
    #: Workers that serve now.
    ready: int
    #: Workers that were asked for.
    declared: int
    #: Seconds until the declared workers serve; 0 = they do.
    declared_in_s: float
    #: Seconds from a decision to a worker that serves.
    actuation_s: float


def size(situation: Situation, curve: ServiceCurve, objective: Objective, settings: PolicySettings) -> Plan:
    """The fewest workers that meet the objective in this situation, at most one a partition.

    Args:
        situation: Load and present fleet.
        curve: Service curve of each worker.
        objective: Share of requests and their time.
        settings: Utilisation limit and drain time.

    Returns:
        A plan; where even one worker a partition is too few, that many, and the reason says so.
    """
    most = len(situation.shares)
    hot = _hot(situation, curve, objective, settings)
    rest = situation if hot == most else _without(situation, hot)
    workers, drained_by = _workers(rest, curve, objective, settings)
    chosen = hot + workers if workers is not None and hot < most else most
    share = split.busiest_share(situation.shares, chosen)
    capacity_per_s = curve.capacity_per_s
    busiest_per_s = share * situation.rate_per_s
    reason = (
        f"{situation.rate_per_s:.1f}/s on {chosen} puts {share:.1%} or {busiest_per_s:.1f}/s on the busiest, "
        f"which can do {capacity_per_s:.1f}/s and meets {objective.share:.4g} within {objective.within_s:g} s up to "
        f"{_allowed(curve, objective, settings, situation.dispersion, share):.1f}/s"
    )
    if drained_by:
        reason += f"; {drained_by:.0f} records in arrears must be worked off within {settings.drain_s:g} s"
    if 0 < hot < most:
        reason = (
            f"{hot} of {most} partitions alone are more than a worker can do, and have one each; all else: {reason}"
        )
    if workers is None:
        reason = f"not even {most} workers, one a partition, meet the objective: " + reason
    return Plan(
        workers=chosen,
        pooled_workers=pooled(situation.rate_per_s, curve, objective),
        rate_per_s=situation.rate_per_s,
        capacity_per_s=capacity_per_s,
        busiest_utilisation=busiest_per_s / capacity_per_s,
        reason=reason,
    )


def pooled(rate_per_s: float, curve: ServiceCurve, objective: Objective) -> int | None:
    """What the text book says (M/M/c, Erlang C): workers on one queue at full batches; `None` = never fast enough.

    The wait may be what the objective leaves after one full batch.
    """
    wait_s = objective.within_s - curve.seconds(curve.max_batch)
    if wait_s < 0:
        return None
    least = math.floor(rate_per_s / curve.capacity_per_s) + 1
    return erlang.servers_for_wait(rate_per_s, curve.capacity_per_s, wait_s, objective.share, most=2 * least + 10)


def arrears_at_start(situation: Situation, workers: int, capacity_per_s: float) -> float:
    """Records that wait when `workers` workers serve: phases of the present, the declared and then the wanted fleet."""
    arrears = situation.backlog or 0.0
    if workers <= situation.ready:
        return arrears
    phases = [(situation.ready, min(situation.declared_in_s, situation.actuation_s))]
    if workers > situation.declared:
        phases.append((situation.declared, situation.actuation_s - phases[0][1]))
    for serving, seconds in phases:
        served_per_s = capacity_per_s / split.busiest_share(situation.shares, serving) if serving else 0.0
        arrears = max(0.0, arrears + (situation.mean_per_s - served_per_s) * max(0.0, seconds))
    return arrears


def _hot(situation: Situation, curve: ServiceCurve, objective: Objective, settings: PolicySettings) -> int:
    """Partitions that are each more than one worker can do in time: the largest ones."""

    def alone(share: float) -> bool:
        return share * situation.rate_per_s > _allowed(curve, objective, settings, situation.dispersion, share)

    return sum(1 for _ in itertools.takewhile(alone, situation.shares))


def _without(situation: Situation, hot: int) -> Situation:
    """The situation without its `hot` largest partitions and their workers.

    What waits is not told by partition here. Where some are hot it is taken to wait for them: sized for the rest, it
    would ask for more and more workers that cannot help.
    """
    if not hot:
        return situation
    part = sum(situation.shares[hot:])
    return replace(
        situation,
        rate_per_s=situation.rate_per_s * part,
        mean_per_s=situation.mean_per_s * part,
        shares=[share / part for share in situation.shares[hot:]] if part > 0 else situation.shares[hot:],
        backlog=None,
    )


def _workers(
    situation: Situation, curve: ServiceCurve, objective: Objective, settings: PolicySettings
) -> tuple[int | None, float]:
    """Fewest workers, or `None` = one a partition is too few; and the arrears that asked for more of them, or 0."""
    capacity_per_s = curve.capacity_per_s
    # A queue of up to this many records on a worker is answered in time.
    harmless = capacity_per_s * max(0.0, objective.within_s - 2 * curve.seconds(curve.max_batch))
    arrears = 0.0
    for workers in split.useful_counts(situation.shares):
        share = split.busiest_share(situation.shares, workers)
        if share * situation.rate_per_s > _allowed(curve, objective, settings, situation.dispersion, share):
            continue
        if situation.backlog is None:
            return workers, 0.0
        blamed = arrears
        arrears = arrears_at_start(situation, workers, capacity_per_s)
        queue = share * (arrears + situation.mean_per_s * settings.drain_s)
        if queue <= capacity_per_s * settings.drain_s + harmless:
            return workers, blamed
    return None, arrears


def _allowed(
    curve: ServiceCurve, objective: Objective, settings: PolicySettings, dispersion: float, share: float
) -> float:
    """Highest rate of the busiest worker; a thinned stream is less bursty: D' = 1 + share (D - 1)."""
    # Rounded up to tenths, so that few values are computed and remembered.
    thinned = math.ceil((1 + share * (dispersion - 1)) * 10 - 1e-9) / 10
    return batch.highest_rate(curve, objective, settings.target_utilisation, thinned)
