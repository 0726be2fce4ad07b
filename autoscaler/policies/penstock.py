"""The policy of one worker type: what `foresight` plans, in the first minutes what `reactive` says; bounds and words.

`decide` is a pure function. All it remembers is in `PolicyState`; all it knows is in the observation and the worker
types.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from autoscaler.errors import NoWorkerTypes
from autoscaler.forecasting import ForecastMemory
from autoscaler.model import Action, Decision, Plan
from autoscaler.planning import headroom, steps
from autoscaler.planning.sizing import pooled
from autoscaler.policies import mixed
from autoscaler.policies.bounds import Bounds, bounds
from autoscaler.policies.foresight import Memory, Outlook, foresee
from autoscaler.policies.hysteresis import NeedWindow
from autoscaler.policies.reactive import fleet_of, reactive, wanted_by, with_reserve
from autoscaler.progress import words as stuck_words
from autoscaler.queueing.split import busiest_share

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from autoscaler.forecasting import Forecaster
    from autoscaler.model import Forecast, HeadRoom, Objective, Observation, WorkerType
    from autoscaler.policies.reactive import Fleet
    from autoscaler.policies.standings import Remembered
    from autoscaler.settings import PolicySettings


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
    #: Type whose workers needs are counted in, where there are several; `None` = not decided yet.
    fast: str | None = None
    #: Since when another combination of slow types has been cheaper; `None` = it is not.
    slow_since_s: float | None = None


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
    fleet = fleet_of(observation, settings, kind, state)
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
        plan, outlook = with_reserve(_planned(foreseen, kind, objective), settings), foreseen.forecast
        # Patience is in the plan: its course has kept the need of the last while.
        wanted, bound, why = plan.workers, "plan", _compared(plan.workers, declared)
        shares: Sequence[float] = state.foresight.shares
    else:
        made = reactive(observation, settings, kind, objective, fleet=fleet, state=state)
        if made is None:
            return _without_data(observation, settings, kind, limits=limits, fleet=fleet, state=state)
        plan, outlook, shares, state = made
        wanted, bound, why = wanted_by(observation, settings, plan, fleet, state)
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


def _planned(foreseen: Outlook, kind: WorkerType, objective: Objective) -> Plan:
    """The plan in numbers and words."""
    capacity_per_s = kind.curve.capacity_per_s
    busiest = float(foreseen.carrying.busiest[foreseen.carrying.place(foreseen.workers)])
    reason = (
        f"{foreseen.why}; up to {foreseen.rate_per_s:.1f}/s foreseen (9 paths of 10) puts "
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


def _compared(needed: int, there: int) -> str:
    return f"{needed} needed and there" if needed == there else f"{needed} needed, {there} there"


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
    fleet: Fleet,
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
    fleet: Fleet,
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
