"""The rule of the first minutes, before there is anything to look ahead with: size for what arrives and where it heads.

It also says how the fleet of one type stands at a decision, which is wanted with foresight too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from autoscaler.forecasting import changes, forecast
from autoscaler.planning.sizing import Situation, size
from autoscaler.progress import sized_backlog
from autoscaler.queueing.split import smoothed_shares

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autoscaler.model import ArrivalHistory, Forecast, Objective, Observation, Plan, WorkerType
    from autoscaler.policies.penstock import PolicyState
    from autoscaler.settings import PolicySettings

#: Seconds of counts behind the index of dispersion used in sizing.
_DISPERSION_WINDOW_S = 120


@dataclass(frozen=True, slots=True)
class Fleet:
    """The fleet of one type as one decision sees it."""

    #: Declared; `None` = not known.
    declared: int | None
    ready: int
    #: Seconds until the declared are ready; 0 = they are, or are no longer waited for.
    starting_s: float

    @property
    def starting(self) -> bool:
        """Whether workers are still waited for."""
        return self.starting_s > 0


def fleet_of(observation: Observation, settings: PolicySettings, kind: WorkerType, state: PolicyState) -> Fleet:
    """The fleet as it is: workers that have not reported for long are taken to serve if they run."""
    known = observation.fleet
    declared = known.declared.get(kind.name) if known is not None else None
    if known is not None and declared is None:
        declared = 0
    # A sample taken before the last decision was declared does not know of it. One from long before it is of a clock
    # that was set back, and knows.
    sampled_at_s = observation.history.until_s if observation.history is not None else observation.at_s
    before_s = (state.decided_at_s or 0.0) - sampled_at_s
    if state.decided is not None and (declared is None or 0 <= before_s <= settings.sample_fresh_s):
        declared = state.decided
    status = observation.workers.get(kind.name)
    ready = status.ready if status is not None else 0
    if declared is None and ready:
        declared = ready
    if declared is None or ready >= declared:
        return Fleet(declared, ready, 0.0)
    since_s = observation.at_s - state.grown_at_s if state.grown_at_s is not None else None
    if since_s is not None and 0 <= since_s < settings.start_patience * kind.boot_s:
        # Late starters are expected at the next tick, until patience ends.
        if status is None:
            # Not one report: the workers of before are taken to serve still.
            ready = min(declared, state.grown_from)
        return Fleet(declared, ready, max(settings.tick_s, kind.boot_s - since_s))
    # Reports are missing, not workers: those that run are taken to serve.
    running = known.running.get(kind.name, 0) if known is not None else declared
    return Fleet(declared, min(declared, max(ready, running)), 0.0)


def reactive(
    observation: Observation,
    settings: PolicySettings,
    kind: WorkerType,
    objective: Objective,
    *,
    fleet: Fleet,
    state: PolicyState,
) -> tuple[Plan, Forecast, Sequence[float], PolicyState] | None:
    """The rule of the first minutes: size for what is arriving now and where it heads; `None` = too little is known."""
    if observation.history is None or observation.partitions == 0:
        return None
    outlook, memory = forecast(observation.history, kind.boot_s + settings.tick_s, settings, state.forecasting)
    state = replace(state, forecasting=memory)
    if outlook is None:
        return None
    situation = _situation(observation, observation.history, outlook=outlook, settings=settings, kind=kind, fleet=fleet)
    plan = with_reserve(size(situation, kind.curve, objective, settings), settings)
    # A smaller fleet must be enough for a little more than this load, or noise at the threshold brings the worker back.
    raised = 1 + settings.scale_in_margin
    need = plan.workers
    declared = fleet.declared if fleet.declared is not None else 0
    if plan.workers < declared:
        wide = replace(situation, rate_per_s=situation.rate_per_s * raised, mean_per_s=situation.mean_per_s * raised)
        need = min(declared, size(wide, kind.curve, objective, settings).workers + settings.reserve)
    needs = state.needs.add(observation.at_s, need, settings.scale_in_patience_s)
    return plan, outlook, situation.shares, replace(state, needs=needs)


def wanted_by(
    observation: Observation, settings: PolicySettings, plan: Plan, fleet: Fleet, state: PolicyState
) -> tuple[int, str, str]:
    """Count before bounds, the bound that speaks, and why."""
    declared = fleet.declared
    if declared is None or plan.workers > declared:
        return plan.workers, "plan", f"{plan.workers} needed, {'fleet not known' if declared is None else declared}"
    if fleet.starting:
        return declared, "starting", f"{fleet.ready} of {declared} ready, {plan.workers} needed"
    highest = state.needs.highest(observation.at_s, settings.scale_in_patience_s)
    if highest is not None and highest < declared:
        return highest, "plan", f"{highest} enough for {settings.scale_in_patience_s:g} s, {declared} there"
    if plan.workers < declared:
        wait_s = state.needs.remaining_s(observation.at_s, settings.scale_in_patience_s, declared - 1)
        return declared, "hysteresis", f"{plan.workers} needed, {declared} kept for {wait_s:.0f} s more at least"
    return declared, "plan", f"{plan.workers} needed and there"


def with_reserve(plan: Plan, settings: PolicySettings) -> Plan:
    """The plan with the workers that are to be there beyond the need."""
    if not settings.reserve:
        return plan
    kept = settings.reserve
    return replace(plan, workers=plan.workers + kept, reserve=kept, reason=f"{plan.reason}; {kept} more in reserve")


def _situation(
    observation: Observation,
    history: ArrivalHistory,
    *,
    outlook: Forecast,
    settings: PolicySettings,
    kind: WorkerType,
    fleet: Fleet,
) -> Situation:
    known = history.counts[-_DISPERSION_WINDOW_S:][history.known[-_DISPERSION_WINDOW_S:]]
    waiting = sized_backlog(observation)
    backlog = None if waiting is None else float(waiting)
    rebalanced_s = observation.at_s - observation.rebalanced_at_s if observation.rebalanced_at_s is not None else None
    if backlog is not None and rebalanced_s is not None and 0 <= rebalanced_s <= settings.settle_s:
        # What a pause of our own has held up is worked off by the workers that are there; it is no load.
        backlog = max(0.0, backlog - outlook.mean_per_s * settings.rebalance_pause_s)
    return Situation(
        rate_per_s=outlook.upper_per_s,
        mean_per_s=min(outlook.mean_per_s, outlook.upper_per_s),
        shares=smoothed_shares(history.by_partition, observation.partitions),
        dispersion=changes.dispersion(known),
        backlog=backlog,
        ready=fleet.ready,
        declared=fleet.declared if fleet.declared is not None else fleet.ready,
        declared_in_s=fleet.starting_s,
        actuation_s=kind.boot_s + settings.tick_s,
    )
