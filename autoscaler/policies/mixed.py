"""The policy for several worker types: the need as for one type, then the mix that carries it at the least price.

Two horizons. The *need*, in workers' worth of the type that serves soonest after it is asked for (the fast one), is
foreseen over that type's actuation delay by the very parts that decide for one type (`foresight`: paths, courses,
surprises, backlog). How many workers of the slow types to have is decided over the slowest boot and `stay_s` behind it
(`planning.stays`). The fast workers are the rest: as many as are needed beside the slow ones that serve *now*. So they
cover a slow worker's boot and are let go when it serves; and a slow worker is let go when enough fast ones serve.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from autoscaler.forecasting import forecast
from autoscaler.model import Action, Decision, Plan
from autoscaler.planning import courses, experience
from autoscaler.planning.carrying import pooled
from autoscaler.planning.sizing import pooled as pooled_workers
from autoscaler.policies.bounds import Bounds
from autoscaler.policies.foresight import foresee, further
from autoscaler.policies.hysteresis import NeedWindow
from autoscaler.policies.mixing import STEP_S, Mix, Need, mixed, ordered, table_of, there
from autoscaler.policies.standings import Remembered, Standing, standing_of
from autoscaler.progress import sized_backlog
from autoscaler.progress import words as stuck_words
from autoscaler.queueing.split import smoothed_shares

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from autoscaler.forecasting import Forecaster
    from autoscaler.model import ArrivalHistory, Objective, Observation, WorkerType
    from autoscaler.policies.penstock import PolicyState
    from autoscaler.settings import PolicySettings

    Floats = NDArray[np.float64]

#: Seconds of load that wait for a commit and for their batch at most, and are no backlog.
_UNCOMMITTED_S = 1.3
#: Spread of the shares over their mean below which partitions count as even.
_EVEN = 0.15


#: Price of a worth that costs nothing now, in prices of a fast worker.
_ROOM = 0.2
#: As `courses.MARGINS`, for prices of mixes: where the next worth costs nothing, since a GPU has room, the lean ones
#: take it too, and where it is dear they risk more.
MARGINS: tuple[courses.Margin, ...] = (
    courses.Margin(1.0, 5.0, 0.99),
    courses.Margin(2.0, 5.0, 0.98),
    courses.Margin(5.0, 10.0, 0.97),
    courses.Margin(15.0, 10.0, 0.95),
)


def decide(
    observation: Observation,
    settings: PolicySettings,
    worker_types: Sequence[WorkerType],
    objective: Objective,
    state: PolicyState,
    *,
    forecaster: Forecaster | None = None,
) -> tuple[Decision, PolicyState]:
    """One decision for two or more types; arguments and result as of `autoscaler.policies.penstock.decide`."""
    kinds = ordered(worker_types, state.fast)
    state = _counted_in(kinds[-1].name, state)
    standing = [
        standing_of(observation, settings, kind, state.types.get(kind.name, Remembered()), state.decided_at_s)
        for kind in kinds
    ]
    known = all(one.declared is not None for one in standing)
    need, state = _needed(observation, settings, kinds, objective, state, standing=standing, forecaster=forecaster)
    before = {one.kind.name: one.declared or 0 for one in standing}
    plan = None
    if need is None:
        fleet = {
            one.kind.name: (one.declared if one.declared is not None else one.kind.min_workers) for one in standing
        }
        mix = Mix(fleet, "no-data", f"no arrivals known: {_words(fleet)} kept", None)
    else:
        mix = mixed(observation, settings, kinds, need, standing=standing, since_s=state.slow_since_s)
        state = replace(state, slow_since_s=mix.since_s)
        plan = _plan(need, mix, kinds, objective)
        if observation.control is not None and observation.control.paused and known:
            mix = replace(mix, fleet=before, bound="paused", reason=f"paused by a person: {mix.reason}")
    fleet = {kind.name: mix.fleet[kind.name] for kind in worker_types}
    action = _action(before, fleet, known=known)
    reason = mix.reason
    if need is None:
        action = Action.NO_DATA
    elif action is not Action.HOLD:
        reason = f"{_words(before)} -> {_words(fleet)}: {reason}"
    if observation.stuck:
        reason = f"{reason}; {stuck_words(observation.stuck)}"
    advisory = observation.control is not None and bool(observation.control.advisory)
    reserve = 0 if need is None else min(settings.reserve, fleet[kinds[-1].name])
    if not advisory:
        state = _remembered(state, observation, standing, fleet)
    return (
        Decision(
            pipeline=observation.pipeline,
            at_s=observation.at_s,
            action=action,
            fleet=fleet,
            reason=reason,
            bound=mix.bound,
            plan=plan,
            forecast=need.forecast if need is not None else None,
            runner_up=mix.runner_up,
            runner_up_price_per_hour=None if mix.runner_up is None else _price(mix.runner_up, kinds),
            price_per_hour=_price(fleet, kinds),
            advisory=advisory,
            stuck=observation.stuck,
            reserve=reserve,
            reserve_price_per_hour=round(reserve * kinds[-1].price_per_hour, 6),
        ),
        state,
    )


def _counted_in(fast: str, state: PolicyState) -> PolicyState:
    """The memory with needs in workers of this type: those in another's are forgotten, the load is not."""
    if state.fast == fast:
        return state
    if state.fast is None:
        return replace(state, fast=fast)
    known = replace(state.foresight, learnt=None, played=None, drains=())
    return replace(state, fast=fast, foresight=known, needs=NeedWindow())


def _needed(
    observation: Observation,
    settings: PolicySettings,
    kinds: Sequence[WorkerType],
    objective: Objective,
    state: PolicyState,
    *,
    standing: Sequence[Standing],
    forecaster: Forecaster | None,
) -> tuple[Need | None, PolicyState]:
    """What must be carried, by paths or in the first minutes by the reactive rule; `None` = too little is known."""
    history = observation.history
    if history is None or observation.partitions == 0:
        return None, state
    fast = kinds[-1]
    unit = fast.curve.capacity_per_s
    worth = [one.kind.curve.capacity_per_s / unit for one in standing]
    shares = _rounded(smoothed_shares(history.by_partition, observation.partitions))
    table = table_of(observation, kinds, shares)
    # Room that costs nothing now is not for ever: patience holds it when it does.
    priced = replace(
        pooled(int(table.levels[-1])),
        price=table.price[there(table, standing)] / max(1e-9, fast.price_per_hour) + _ROOM * table.levels,
    )
    foreseen, memory = foresee(
        observation,
        history,
        settings=settings,
        kind=fast,
        objective=objective,
        ready=math.floor(sum(one.ready * w for one, w in zip(standing, worth, strict=True))),
        declared=math.floor(sum((one.declared or 0) * w for one, w in zip(standing, worth, strict=True))),
        memory=state.foresight,
        limits=Bounds(1, "min", int(table.levels[-1]), "max"),
        forecaster=forecaster,
        worth=priced,
        margins=MARGINS,
    )
    state = replace(state, foresight=memory)
    if foreseen is None:
        return _reactive(observation, history, settings, kinds, state)
    ahead_s = max(kind.boot_s for kind in kinds) + settings.rebalance_pause_s + settings.tick_s + settings.stay_s
    paths = further(settings, memory, ahead_s, STEP_S, forecaster)
    if paths is None:
        return None, state
    load = max(1e-9, paths.level.per_s / unit)
    busy = min(0.95, load / max(1.0, float(foreseen.workers)))
    late_s = experience.measured_move_late_s(memory.learnt, settings.rebalance_pause_s, objective.within_s, busy)
    return (
        Need(
            worth=float(foreseen.workers),
            paths=paths.rates / unit / foreseen.course.margin.utilisation,
            late_price=foreseen.course.margin.late_price,
            forecast=foreseen.forecast,
            rate_per_s=foreseen.rate_per_s,
            move_price=settings.change_price * fast.price_per_hour * load * late_s,
            words=(
                f"{foreseen.why}; up to {foreseen.rate_per_s:.1f}/s foreseen (9 paths of 10) and what is kept back are "
                f"{foreseen.workers} {fast.name} workers' worth"
            ),
            shares=shares,
        ),
        state,
    )


def _reactive(
    observation: Observation,
    history: ArrivalHistory,
    settings: PolicySettings,
    kinds: Sequence[WorkerType],
    state: PolicyState,
) -> tuple[Need | None, PolicyState]:
    """The rule of the first minutes: what is arriving now and where it heads, and the highest of it is kept."""
    fast = kinds[-1]
    unit = fast.curve.capacity_per_s
    outlook, remembered = forecast(history, fast.boot_s + settings.tick_s, settings, state.forecasting)
    state = replace(state, forecasting=remembered)
    if outlook is None:
        return None, state
    waiting = 0.0
    settled = observation.rebalanced_at_s is None or (
        not 0 <= observation.at_s - observation.rebalanced_at_s <= settings.settle_s
    )
    backlog = sized_backlog(observation)
    if backlog is not None and settled:
        waiting = max(0.0, backlog - outlook.mean_per_s * _UNCOMMITTED_S) / settings.drain_s
    now = math.ceil((outlook.upper_per_s / settings.target_utilisation + waiting) / unit)
    needs = state.needs.add(observation.at_s, now, settings.scale_in_patience_s)
    worth = max(need for _, need in needs.needs)
    state = replace(state, needs=needs)
    steps = math.ceil((max(kind.boot_s for kind in kinds) + settings.stay_s) / STEP_S)
    ahead = np.full((1, steps), outlook.mean_per_s / settings.target_utilisation / unit)
    return (
        Need(
            worth=float(worth),
            paths=ahead,
            late_price=MARGINS[-1].late_price,
            forecast=outlook,
            rate_per_s=outlook.upper_per_s,
            move_price=settings.change_price * fast.price_per_hour * outlook.mean_per_s / unit,
            words=f"{outlook.upper_per_s:.1f}/s expected at most and the highest so far are {worth} {fast.name} "
            "workers' worth",
            shares=_rounded(smoothed_shares(history.by_partition, observation.partitions)),
        ),
        state,
    )


def _rounded(shares: Sequence[float]) -> tuple[float, ...]:
    """Shares as the mix needs them: what chance alone tells apart is even, and small changes make no new table."""
    mean = 1.0 / max(1, len(shares))
    spread = float(np.std(shares)) / mean
    return (mean,) * len(shares) if spread < _EVEN else tuple(round(share, 4) for share in shares)


def _remembered(
    state: PolicyState, observation: Observation, standing: Sequence[Standing], fleet: dict[str, int]
) -> PolicyState:
    types = dict(state.types)
    for one in standing:
        name = one.kind.name
        old = types.get(name, Remembered())
        grown = fleet[name] > (one.declared or 0) and fleet[name] != old.decided
        types[name] = Remembered(
            decided=fleet[name],
            grown_at_s=observation.at_s if grown else old.grown_at_s,
            grown_from=(one.declared or 0) if grown else old.grown_from,
        )
    return replace(state, types=types, decided_at_s=observation.at_s)


def _plan(need: Need, mix: Mix, kinds: Sequence[WorkerType], objective: Objective) -> Plan:
    fast = kinds[-1]
    unit = fast.curve.capacity_per_s
    carried = sum(mix.fleet[kind.name] * kind.curve.capacity_per_s for kind in kinds)
    return Plan(
        workers=sum(mix.fleet.values()),
        pooled_workers=pooled_workers(need.rate_per_s, fast.curve, objective),
        rate_per_s=need.rate_per_s,
        capacity_per_s=unit,
        busiest_utilisation=need.rate_per_s / carried if carried else math.inf,
        reason=mix.reason,
    )


def _action(before: dict[str, int], fleet: dict[str, int], *, known: bool) -> Action:
    if not known or any(count > before[name] for name, count in fleet.items()):
        return Action.SCALE_UP
    return Action.SCALE_DOWN if any(count < before[name] for name, count in fleet.items()) else Action.HOLD


def _price(fleet: dict[str, int], kinds: Sequence[WorkerType]) -> float:
    return round(sum(fleet[kind.name] * kind.price_per_hour for kind in kinds), 6)


def _words(fleet: dict[str, int]) -> str:
    return " + ".join(f"{count} {name}" for name, count in fleet.items())
