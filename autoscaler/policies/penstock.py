"""The policy: forecast, size for the busiest partition owner, grow at once, shrink with patience.

`decide` is a pure function. All it remembers is in `PolicyState`; all it knows is in the observation and the worker
types.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from autoscaler.errors import NoWorkerTypes
from autoscaler.forecasting import ForecastMemory, changes, forecast
from autoscaler.model import Action, Decision, Plan
from autoscaler.planning import headroom, steps
from autoscaler.planning.sizing import Situation, pooled, size
from autoscaler.policies import mixed
from autoscaler.policies.bounds import Bounds, bounds
from autoscaler.policies.foresight import Memory, Outlook, foresee
from autoscaler.policies.hysteresis import NeedWindow
from autoscaler.progress import sized_backlog
from autoscaler.progress import words as stuck_words
from autoscaler.queueing.split import busiest_share, smoothed_shares

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from autoscaler.forecasting import Forecaster
    from autoscaler.model import ArrivalHistory, Forecast, HeadRoom, Objective, Observation, WorkerType
    from autoscaler.policies.standings import Remembered
    from autoscaler.settings import PolicySettings

#: Seconds of counts behind the index of dispersion used in sizing.
_DISPERSION_WINDOW_S = 120


@dataclass(frozen=True, slots=True)
class PolicyState:
    """What the policy carries from one decision to the next. Start with `PolicyState()`."""

    #: Coefficients and regime of the reactive forecast.
    forecasting: ForecastMemory = field(default_factory=ForecastMemory)
    #: Of `foresight`.
    foresight: Memory = field(default_factory=Memory)
    #: Needs of the last `scale_in_patience_s`.
    needs: NeedWindow = field(default_factory=NeedWindow)
    #: Whether larger fleets helped.
    steps: steps.Memory = field(default_factory=steps.Memory)
    #: Count decided last and when; `None` = none, or it was only advice.
    decided: int | None = None
    decided_at_s: float | None = None
    #: When the fleet was last made larger; `None` = not by this state.
    grown_at_s: float | None = None
    #: Count before that.
    grown_from: int = 0
    #: The same by type, where there are several.
    types: Mapping[str, Remembered] = field(default_factory=dict)
    #: Since when another combination of slow types has been cheaper; `None` = it is not.
    slow_since_s: float | None = None


@dataclass(frozen=True, slots=True)
class _Fleet:
    """The fleet of one type as one decision sees it."""

    #: Declared; `None` = not known.
    declared: int | None
    ready: int
    #: Seconds until the declared are ready; 0 = they are, or are no longer waited for.
    starting_s: float

    @property
    def starting(self) -> bool:
        return self.starting_s > 0


def decide(
    observation: Observation,
    settings: PolicySettings,
    worker_types: Sequence[WorkerType],
    objective: Objective,
    state: PolicyState,
    *,
    forecaster: Forecaster | None = None,
) -> tuple[Decision, PolicyState]:
    """One decision.

    Args:
        observation: All that is known; its `at_s` is the only clock.
        settings: How to decide.
        worker_types: As learnt (`PipelineState.worker_types`); of several the mix is chosen (`policies.mixed`).
        objective: What must hold.
        state: What the last call returned; `PolicyState()` at first.
        forecaster: See `foresee`.

    Returns:
        The decision and the state to hand in next time.

    Raises:
        NoWorkerTypes: `worker_types` is empty.
    """
    if not worker_types:
        raise NoWorkerTypes("worker_types is empty: name at least one worker type in the settings")
    if len(worker_types) > 1:
        return mixed.decide(observation, settings, worker_types, objective, state, forecaster=forecaster)
    kind = worker_types[0]
    limits = bounds(kind, observation.partitions, observation.control)
    fleet = _fleet(observation, settings, kind, state)
    declared = fleet.declared if fleet.declared is not None else 0
    helped = steps.look(
        state.steps, observation, workers=fleet.ready, capacity_per_s=kind.curve.capacity_per_s,
        hold_s=settings.unhelpful_hold_s,
    )  # fmt: skip
    state = replace(state, steps=helped)
    foreseen: Outlook | None = None
    if observation.history is not None and observation.partitions > 0:
        foreseen, remembered = foresee(
            observation,
            observation.history,
            settings=settings,
            kind=kind,
            objective=objective,
            ready=fleet.ready,
            declared=declared,
            memory=state.foresight,
            limits=limits,
            forecaster=forecaster,
        )
        state = replace(state, foresight=remembered)
    if foreseen is not None and fleet.declared is not None:
        plan, outlook = _with_reserve(_planned(foreseen, kind, objective), settings), foreseen.forecast
        # Patience is in the plan: its course has kept the need of the last while.
        wanted, bound, why = plan.workers, "plan", _compared(plan.workers, declared)
        shares: Sequence[float] = state.foresight.shares
    else:
        made = _reactive(observation, settings, kind, objective, fleet=fleet, state=state)
        if made is None:
            return _without_data(observation, settings, kind, limits=limits, fleet=fleet, state=state)
        plan, outlook, shares, state = made
        wanted, bound, why = _wanted(observation, settings, plan, fleet, state)
    room = foreseen.head_room if foreseen is not None else None
    if observation.control is not None and observation.control.paused:
        kept = declared if fleet.declared is not None else limits.low
        why = f"paused by a person: {plan.reason}"
        return _decided(
            observation,
            kind,
            fleet,
            state,
            count=kept,
            bound="paused",
            reason=why,
            plan=plan,
            outlook=outlook,
            room=room,
        )

    if helped.ceiling is not None and wanted > helped.ceiling.workers:
        why = f"{wanted} needed; {helped.ceiling.words(observation.at_s)}"
        wanted, bound = helped.ceiling.workers, "unhelpful"
    count, by = limits.clamp(wanted)
    if by is None and plan.workers < limits.low == count:
        # The fleet is as small as it may be: no patience is waited for.
        by = limits.low_by
    if by is not None:
        why = f"{why}; {by} allows {limits.low} to {limits.high}"
        bound = by
    other = _runner_up(plan, shares, count, limits)
    return _decided(
        observation,
        kind,
        fleet,
        state,
        count=count,
        bound=bound,
        reason=f"{why}: {plan.reason}",
        plan=plan,
        outlook=outlook,
        runner_up=other,
        room=room,
    )


def _reactive(
    observation: Observation,
    settings: PolicySettings,
    kind: WorkerType,
    objective: Objective,
    *,
    fleet: _Fleet,
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
    plan = _with_reserve(size(situation, kind.curve, objective, settings), settings)
    # A smaller fleet must be enough for a little more than this load, or noise at the threshold brings the worker back.
    raised = 1 + settings.scale_in_margin
    need = plan.workers
    declared = fleet.declared if fleet.declared is not None else 0
    if plan.workers < declared:
        wide = replace(situation, rate_per_s=situation.rate_per_s * raised, mean_per_s=situation.mean_per_s * raised)
        need = min(declared, size(wide, kind.curve, objective, settings).workers + settings.reserve)
    needs = state.needs.add(observation.at_s, need, settings.scale_in_patience_s)
    return plan, outlook, situation.shares, replace(state, needs=needs)


def _planned(foreseen: Outlook, kind: WorkerType, objective: Objective) -> Plan:
    """The plan in numbers and words."""
    capacity_per_s = kind.curve.capacity_per_s
    busiest = float(foreseen.carrying.busiest[foreseen.carrying.place(foreseen.workers)])
    by = max(foreseen.asked, key=lambda name: foreseen.asked[name])
    words = {
        "paths": f"the paths need it, or did within {foreseen.course.patience_s:g} s",
        "surprise": "a load that was not foreseen came lately and may come again",
        "backlog": "a backlog is drained at the least cost",
    }[by]
    reason = (
        f"{words}; up to {foreseen.rate_per_s:.1f}/s foreseen (9 paths of 10) puts "
        f"{busiest * foreseen.rate_per_s:.1f}/s on the busiest of {foreseen.workers}, which can do "
        f"{capacity_per_s:.1f}/s; this course would have had {foreseen.late_share:.2%} late, "
        f"{foreseen.allowed:.2%} is aimed at"
    )
    return Plan(
        workers=foreseen.workers,
        pooled_workers=pooled(foreseen.rate_per_s, kind.curve, objective),
        rate_per_s=foreseen.rate_per_s,
        capacity_per_s=capacity_per_s,
        busiest_utilisation=busiest * foreseen.rate_per_s / capacity_per_s,
        reason=reason,
    )


def _with_reserve(plan: Plan, settings: PolicySettings) -> Plan:
    """The plan with the workers that are to be there beyond the need."""
    if not settings.reserve:
        return plan
    kept = settings.reserve
    return replace(plan, workers=plan.workers + kept, reserve=kept, reason=f"{plan.reason}; {kept} more in reserve")


def _compared(needed: int, there: int) -> str:
    return f"{needed} needed and there" if needed == there else f"{needed} needed, {there} there"


def _fleet(observation: Observation, settings: PolicySettings, kind: WorkerType, state: PolicyState) -> _Fleet:
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
        return _Fleet(declared, ready, 0.0)
    since_s = observation.at_s - state.grown_at_s if state.grown_at_s is not None else None
    if since_s is not None and 0 <= since_s < settings.start_patience * kind.boot_s:
        # Late starters are expected at the next tick, until patience ends.
        if status is None:
            # Not one report: the workers of before are taken to serve still.
            ready = min(declared, state.grown_from)
        return _Fleet(declared, ready, max(settings.tick_s, kind.boot_s - since_s))
    # Reports are missing, not workers: those that run are taken to serve.
    running = known.running.get(kind.name, 0) if known is not None else declared
    return _Fleet(declared, min(declared, max(ready, running)), 0.0)


def _situation(
    observation: Observation,
    history: ArrivalHistory,
    *,
    outlook: Forecast,
    settings: PolicySettings,
    kind: WorkerType,
    fleet: _Fleet,
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


def _wanted(
    observation: Observation, settings: PolicySettings, plan: Plan, fleet: _Fleet, state: PolicyState
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


def _runner_up(plan: Plan, shares: Sequence[float], count: int, limits: Bounds) -> int | None:
    """The next best count: the plan's where something else decided, else the next that relieves the busiest worker."""
    planned, _ = limits.clamp(plan.workers)
    if planned != count:
        return planned
    share = busiest_share(shares, max(1, count))
    for larger in range(count + 1, limits.high + 1):
        if busiest_share(shares, larger) < share - 1e-12:
            return larger
    return count - 1 if count > limits.low else None


def _without_data(
    observation: Observation,
    settings: PolicySettings,
    kind: WorkerType,
    *,
    limits: Bounds,
    fleet: _Fleet,
    state: PolicyState,
) -> tuple[Decision, PolicyState]:
    """Nothing known of the load: keep what is there; before anything is, the smallest fleet."""
    kept = fleet.declared or limits.low
    count = kept
    bound, reason = "no-data", f"no arrivals known: {kept} {kind.name} kept"
    if observation.control is not None and not observation.control.paused:
        count, by = limits.clamp(kept)
        if by == "control":
            bound, reason = by, f"no arrivals known: {kept} {kind.name}, a person allows {limits.low} to {limits.high}"
        else:
            count = kept
    # Not knowing is not needing less: the patience begins anew.
    needs = NeedWindow().add(observation.at_s, count, settings.scale_in_patience_s)
    state = replace(state, needs=needs)
    decision, state = _decided(observation, kind, fleet, state, count=count, bound=bound, reason=reason)
    return replace(decision, action=Action.NO_DATA), state


def _decided(
    observation: Observation,
    kind: WorkerType,
    fleet: _Fleet,
    state: PolicyState,
    *,
    count: int,
    bound: str,
    reason: str,
    plan: Plan | None = None,
    outlook: Forecast | None = None,
    runner_up: int | None = None,
    room: HeadRoom | None = None,
) -> tuple[Decision, PolicyState]:
    advisory = observation.control is not None and bool(observation.control.advisory)
    others = dict(observation.fleet.declared) if observation.fleet is not None else {}
    before = fleet.declared
    action = Action.HOLD
    if before is None or count > before:
        action = Action.SCALE_UP
    elif count < before:
        action = Action.SCALE_DOWN
    if action is not Action.HOLD:
        reason = f"{kind.name} {'?' if before is None else before} -> {count}: {reason}"
    if not advisory:
        grown = (before is None or count > before) and count != state.decided
        state = replace(
            state,
            decided=count,
            decided_at_s=observation.at_s,
            grown_at_s=observation.at_s if grown else state.grown_at_s,
            grown_from=(before or 0) if grown else state.grown_from,
        )
    if room is not None and room.unmet:
        reason = f"{reason}; {headroom.words(room)}"
    if observation.stuck:
        reason = f"{reason}; {stuck_words(observation.stuck)}"
    # What of it the bounds leave.
    reserve = 0 if plan is None else max(0, min(plan.reserve, count - (plan.workers - plan.reserve)))
    decision = Decision(
        pipeline=observation.pipeline,
        at_s=observation.at_s,
        action=action,
        fleet={**others, kind.name: count},
        reason=reason,
        bound=bound,
        plan=plan,
        forecast=outlook,
        runner_up=None if runner_up is None else {**others, kind.name: runner_up},
        runner_up_price_per_hour=None if runner_up is None else round(runner_up * kind.price_per_hour, 6),
        price_per_hour=round(count * kind.price_per_hour, 6),
        advisory=advisory,
        stuck=observation.stuck,
        reserve=reserve,
        reserve_price_per_hour=round(reserve * kind.price_per_hour, 6),
        head_room=room,
    )
    return decision, state
