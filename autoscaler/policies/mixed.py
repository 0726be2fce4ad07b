"""The policy for several worker types: the need as for one type, then the mix that carries it at the least price.

Two horizons. The *need*, in workers' worth of the type that serves soonest after it is asked for (the fast one), is
foreseen over that type's actuation delay by the very parts that decide for one type (`foresight`: paths, courses,
surprises, backlog). How many workers of the slow types to have is decided over the slowest boot and `stay_s` behind it
(`planning.stays`). The fast workers are the rest: as many as are needed beside the slow ones that serve *now*. So they
cover a slow worker's boot and are let go when it serves; and a slow worker is let go when enough fast ones serve.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from autoscaler.forecasting import forecast
from autoscaler.model import Action, Decision, Plan
from autoscaler.planning import courses, stays
from autoscaler.planning.carrying import pooled
from autoscaler.planning.mixture import MixKind, mixes
from autoscaler.planning.sizing import pooled as pooled_workers
from autoscaler.policies.foresight import foresee, further
from autoscaler.policies.remembered import Remembered
from autoscaler.progress import sized_backlog
from autoscaler.progress import words as stuck_words
from autoscaler.queueing.split import smoothed_shares

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from autoscaler.forecasting import Forecaster
    from autoscaler.model import ArrivalHistory, Forecast, Objective, Observation, WorkerType
    from autoscaler.planning.mixture import Mixes
    from autoscaler.policies.penstock import PolicyState
    from autoscaler.settings import PolicySettings

    Floats = NDArray[np.float64]

#: Step of the paths of the slow types, in seconds.
_STEP_S = 10.0
#: Seconds of load that wait for a commit and for their batch at most, and are no backlog.
_UNCOMMITTED_S = 1.3
#: Spread of the shares over their mean below which partitions count as even.
_EVEN = 0.15


#: Seconds for which another combination of slow types must have been cheaper: they take far longer to boot anyway.
_SURE_S = 10.0
#: Price of a worth that costs nothing now, in prices of a fast worker.
_ROOM = 0.2
#: As `courses.MARGINS`, for prices of mixes: where the next worth costs nothing, since a GPU has room, the lean ones take
#: it too, and where it is dear they risk more.
MARGINS: tuple[courses.Margin, ...] = (
    courses.Margin(1.0, 5.0, 0.99),
    courses.Margin(2.0, 5.0, 0.98),
    courses.Margin(5.0, 10.0, 0.97),
    courses.Margin(15.0, 10.0, 0.95),
)


@dataclass(frozen=True, slots=True)
class Standing:
    """The workers of one type as one decision sees them."""

    kind: WorkerType
    #: Asked for; `None` = not known.
    declared: int | None
    #: That serve.
    ready: int
    #: Seconds until each of those that start serves.
    starting_in_s: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Need:
    """What must be carried, and what it is made of."""

    #: In fast workers' worth.
    worth: float
    #: Paths of the load in the same unit, as far as slow workers are decided on, shape (paths, steps).
    paths: Floats
    #: Price of all load being late, in prices an hour of fast workers for each worker's worth.
    late_price: float
    forecast: Forecast
    rate_per_s: float
    #: Price of a second in which all load is late, in price an hour times seconds.
    move_price: float
    words: str
    shares: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Mix:
    """What to have."""

    #: By type, in the order of the settings.
    fleet: dict[str, int]
    bound: str
    reason: str
    runner_up: dict[str, int] | None
    #: See `mixed`.
    since_s: float | None = None


def ordered(kinds: Sequence[WorkerType]) -> list[WorkerType]:
    """The slow types in the order of the settings, and last the fast one: of the least boot, then the least price."""
    fast = min(kinds, key=lambda kind: (kind.boot_s, kind.price_per_hour))
    return [*(kind for kind in kinds if kind is not fast), fast]


def mixed(
    observation: Observation,
    settings: PolicySettings,
    kinds: Sequence[WorkerType],
    need: Need,
    standing: Sequence[Standing],
    since_s: float | None,
) -> Mix:
    """The mix for a need.

    Args:
        observation: For what a person asked.
        settings: Of the policy.
        kinds: The fast type last.
        need: What must be carried.
        standing: The types as they are, in the order of `kinds`.
        since_s: Since when another combination of slow types has been cheaper; `None` = it is not.
    """
    table = _table(observation, kinds, need.shares)
    slow = _slow(standing, settings)
    worths = [kind.worth for kind in table.kinds]
    serving = sum(one.ready * worth for one, worth in zip(standing, worths, strict=True))
    found = stays.costs(
        table,
        slow,
        need.paths,
        step_s=_STEP_S,
        late_price=need.late_price * kinds[-1].price_per_hour,
        move_price=need.move_price,
        serving_worth=serving,
    )
    row = stays.chosen(table, slow, found)
    now = int(table.rows(np.array([[one.declared for one in slow]]))[0])
    waited_s = observation.at_s - since_s if since_s is not None else 0.0
    since_s = None if row == now else observation.at_s if since_s is None or waited_s < 0 else since_s
    if since_s is not None and observation.at_s - since_s < _SURE_S:
        # What noise asks for is asked for once and not again.
        row = now
    level = table.place(need.worth)
    names = [kind.name for kind in kinds]
    wanted = table.slow[row].tolist()
    there = _there(table, standing, wanted)
    fast = int(table.fast[there, level])
    kept, words = list(wanted), need.words
    covering = fast - int(table.fast[row, level])
    if any(n < min(one.declared or 0, one.ready) for n, one in zip(wanted, standing, strict=False)) and (
        standing[-1].ready < fast
    ):
        # Those that take over must serve first.
        kept = [max(n, min(one.declared or 0, one.ready)) for n, one in zip(wanted, standing, strict=False)]
        words += f"; {_told(names, wanted)} will do once {fast} {names[-1]} serve"
    elif covering > 0:
        words += f"; {covering} {names[-1]} of it cover what starts"
    bound = "plan"
    allowed = observation.control.max_workers if observation.control is not None else None
    if allowed is not None and sum(kept) + fast > allowed:
        fast, bound = max(0, allowed - sum(kept)), "control"
        words += f"; a person allows {allowed} workers"
    if not table.carries[there, level]:
        bound = "partitions" if sum(kept) + fast >= observation.partitions else "max"
        words += "; more is not allowed"
    others = np.delete(np.arange(len(found)), row)
    second = table.fleet(int(others[np.argmin(found[others])]), level) if others.size else None
    return Mix(
        fleet=dict(zip(names, [*kept, fast], strict=True)),
        bound=bound,
        reason=words,
        runner_up=None if second is None else dict(zip(names, second, strict=True)),
        since_s=since_s,
    )


def _slow(standing: Sequence[Standing], settings: PolicySettings) -> list[stays.Slow]:
    return [
        stays.Slow(one.declared or 0, one.ready, one.starting_in_s, one.kind.boot_s + settings.tick_s)
        for one in standing[:-1]
    ]


def _there(table: Mixes, standing: Sequence[Standing], wanted: Sequence[int] | None = None) -> int:
    """The combination of slow workers that serve, of those that are wanted."""
    counts = [one.ready for one in standing[:-1]]
    if wanted is not None:
        counts = [min(ready, n) for ready, n in zip(counts, wanted, strict=True)]
    return int(table.rows(np.array([counts]))[0])


def _table(observation: Observation, kinds: Sequence[WorkerType], shares: tuple[float, ...]) -> Mixes:
    """All mixes within the bounds of the types, the partitions and what a person asked for."""
    control = observation.control
    unit = kinds[-1].curve.capacity_per_s
    return mixes(
        tuple(
            MixKind(
                kind.name,
                # Rounded, so that a curve that is fitted anew at each tick makes no new table.
                round(kind.curve.capacity_per_s / unit, 2),
                kind.price_per_hour,
                kind.min_workers,
                kind.max_workers,
            )
            for kind in kinds
        ),
        shares,
        fewest=(control.min_workers or 0) if control else 0,
        most=control.max_workers if control else None,
    )


def _told(names: Sequence[str], counts: Sequence[int]) -> str:
    return " + ".join(f"{n} {name}" for name, n in zip(names, counts, strict=False))


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
    kinds = ordered(worker_types)
    standing = [_standing(observation, settings, kind, state.types.get(kind.name, Remembered()), state) for kind in kinds]
    known = all(one.declared is not None for one in standing)
    need, state = _needed(observation, settings, kinds, objective, state, standing=standing, forecaster=forecaster)
    before = {one.kind.name: one.declared or 0 for one in standing}
    plan = None
    if need is None:
        fleet = {one.kind.name: (one.declared if one.declared is not None else one.kind.min_workers) for one in standing}
        mix = Mix(fleet, "no-data", f"no arrivals known: {_words(fleet)} kept", None)
    else:
        mix = mixed(observation, settings, kinds, need, standing, state.slow_since_s)
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
        ),
        state,
    )


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
    table = _table(observation, kinds, shares)
    # Room that costs nothing now is not for ever: patience holds it when it does.
    priced = replace(
        pooled(int(table.levels[-1])),
        price=table.price[_there(table, standing)] / max(1e-9, fast.price_per_hour) + _ROOM * table.levels,
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
        forecaster=forecaster,
        worth=priced,
        margins=MARGINS,
    )
    state = replace(state, foresight=memory)
    if foreseen is None:
        return _reactive(observation, history, settings, kinds, state)
    ahead_s = max(kind.boot_s for kind in kinds) + settings.rebalance_pause_s + settings.tick_s + settings.stay_s
    paths = further(settings, memory, ahead_s, _STEP_S, forecaster)
    if paths is None:
        return None, state
    load = max(1e-9, paths.level.per_s / unit)
    busy = np.array(min(0.95, load / max(1.0, float(foreseen.workers))))
    late_s = float(courses.move_late_s(settings.rebalance_pause_s, objective.within_s, busy))
    factor = courses.moves_factor(memory.learnt) if memory.learnt is not None else 1.0
    by = max(foreseen.asked, key=lambda name: foreseen.asked[name])
    return (
        Need(
            worth=float(foreseen.workers),
            paths=paths.rates / unit / foreseen.margin.utilisation,
            late_price=foreseen.margin.late_price,
            forecast=foreseen.forecast,
            rate_per_s=foreseen.rate_per_s,
            move_price=settings.change_price * fast.price_per_hour * load * late_s * factor,
            words=(
                f"{_ASKED[by]}; up to {foreseen.rate_per_s:.1f}/s foreseen (9 paths of 10) and what is kept back are "
                f"{foreseen.workers} {fast.name} workers' worth"
            ),
            shares=shares,
        ),
        state,
    )


_ASKED = {
    "paths": "the paths ask for it",
    "surprise": "a load that was not foreseen came lately and may come again",
    "backlog": "a backlog is drained at the least cost",
}


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
    steps = math.ceil((max(kind.boot_s for kind in kinds) + settings.stay_s) / _STEP_S)
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


def _standing(
    observation: Observation,
    settings: PolicySettings,
    kind: WorkerType,
    remembered: Remembered,
    state: PolicyState,
) -> Standing:
    """One type as it is; who has not reported for long is taken to serve if it runs."""
    known = observation.fleet
    declared = known.declared.get(kind.name, 0) if known is not None else None
    sampled_at_s = observation.history.until_s if observation.history is not None else observation.at_s
    before_s = (state.decided_at_s or 0.0) - sampled_at_s
    if remembered.decided is not None and (declared is None or 0 <= before_s <= settings.sample_fresh_s):
        # A sample taken before the last decision was declared does not know of it.
        declared = remembered.decided
    status = observation.workers.get(kind.name)
    ready = status.ready if status is not None else 0
    if declared is None and ready:
        declared = ready
    if declared is None or ready >= declared:
        return Standing(kind, declared, ready if declared is None else min(ready, declared), ())
    since_s = observation.at_s - remembered.grown_at_s if remembered.grown_at_s is not None else None
    waited = since_s is not None and 0 <= since_s < settings.start_patience * kind.boot_s
    if status is None:
        running = known.running.get(kind.name, 0) if known is not None else declared
        ready = min(declared, remembered.grown_from if waited else running)
    asked = status.asked_at_s if status is not None else ()
    begun = [*asked, *[observation.at_s] * (declared - ready)][: declared - ready]
    starting = tuple(sorted(max(settings.tick_s, at_s + kind.boot_s - observation.at_s) for at_s in begun))
    return Standing(kind, declared, ready, starting)


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
