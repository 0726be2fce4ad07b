"""The policy once it has seen enough: needs read off sample paths, a course learnt from hindsight, backlog drained.

1. The forecaster draws paths of the load over the actuation delay and a while more.
2. Each margin says how many workers those paths need: now until then (what may be let go), and then (what must be asked
for now): argmin over c of c + late_price * need * E[part of the load that c workers cannot carry]. The same is asked of
the load that came.
3. `planning.courses` makes courses of it, and `planning.experience` says which to follow.
4. What is there is kept for a load that rises, and a part of the rise is asked for before the paths show it.
5. What has piled up, or will have by the time new workers serve, is drained by the count that costs least.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from autoscaler import latency
from autoscaler.forecasting import Forecaster
from autoscaler.model import Forecast
from autoscaler.planning import courses, experience, fluid, headroom
from autoscaler.planning.arrears import capacity, drained_by, projected
from autoscaler.planning.carrying import Carrying, carryable, carrying
from autoscaler.policies import reading
from autoscaler.progress import sized_backlog
from autoscaler.queueing.split import smoothed_shares

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from autoscaler.forecasting import ForecastSettings, ForecastState, Paths
    from autoscaler.model import ArrivalHistory, HeadRoom, Objective, Observation, WorkerType
    from autoscaler.policies.bounds import Bounds
    from autoscaler.settings import PolicySettings

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

#: Paths a tick, and their step in seconds.
_PATHS, _STEP_S = 64, 5.0
#: Seconds for which the shares of the partitions are taken as they were.
_SHARES_S = 60.0
#: Seconds of load that wait for a commit and for their batch at most, and are no backlog: a commit a second.
_UNCOMMITTED_S = 1.3
#: Part of the objective's slack that a plan lets pile up, since a second's counts do not show all; and the most, as
#: a part of the actuation delay: a load that lasts goes on beyond the paths, and must not be taken for a passing one.
_SLACK_USED, _SLACK_MOST = 0.5, 0.018
#: Load, as so many times that of now, up to which a backlog is taken to grow.
_GROWS = 1.2


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """What is carried from tick to tick. `Memory()` knows nothing."""

    forecast: ForecastState | None = None
    learnt: experience.Learnt | None = None
    shares: tuple[float, ...] = ()
    shares_at_s: float = -math.inf
    #: When the load was last seen; minus infinity before the first time.
    seen_at_s: float = -math.inf
    #: Counts that backlogs asked for of late, newest last: (time, workers).
    drains: tuple[tuple[float, int], ...] = ()
    #: Of `planning.headroom`.
    played: headroom.Played | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Outlook:
    """What the fleet should be, and why."""

    workers: int
    forecast: Forecast
    #: Rate that the count is sized for, records a second.
    rate_per_s: float
    carrying: Carrying
    course: courses.Course
    #: Counts by what asked for them: `paths`, `surprise`, `backlog`, and `rising` where the load does.
    asked: dict[str, int]
    #: Late share of the course as believed, and the one that is allowed.
    late_share: float
    allowed: float
    #: `None` = too little was seen.
    head_room: HeadRoom | None

    @property
    def why(self) -> str:
        """What asked for the count, in words."""
        by = max(self.asked, key=lambda name: self.asked[name])
        return {
            "paths": f"the paths need it, or did within {self.course.patience_s:g} s",
            "surprise": "a load that was not foreseen came lately and may come again",
            "backlog": "a backlog is drained at the least cost",
            "rising": "the load rises, and what is there is kept for it",
        }[by]


@functools.lru_cache(maxsize=4)
def _forecaster(settings: ForecastSettings) -> Forecaster:
    return Forecaster(settings)


def foresee(
    observation: Observation,
    history: ArrivalHistory,
    *,
    settings: PolicySettings,
    kind: WorkerType,
    objective: Objective,
    ready: int,
    declared: int,
    memory: Memory,
    limits: Bounds,
    forecaster: Forecaster | None = None,
    worth: Carrying | None = None,
    margins: tuple[courses.Margin, ...] = courses.MARGINS,
) -> tuple[Outlook | None, Memory]:
    """Look ahead.

    Args:
        observation: What is known.
        history: Its arrivals.
        settings: Of the policy.
        kind: Type of the workers.
        objective: What must hold.
        ready: Workers that serve.
        declared: Workers asked for; 0 = not known.
        memory: What the call before returned.
        limits: Fewest and most workers that there may be.
        forecaster: With the settings' forecast, and whoever does its slow fits; by default they are done here.
        worth: What is carried by needs in workers' worth, where other types carry it too; `ready`, `declared` and the
            answer are in the same unit. `None` = workers of `kind` alone.
        margins: To choose from, as many as `courses.MARGINS`.

    Returns:
        What is foreseen, `None` where the newest seconds are not known or history is short; and what to remember.
    """
    forecaster = forecaster or _forecaster(settings.forecast)
    state = forecaster.update(history, memory.forecast or forecaster.initial())
    memory = replace(memory, forecast=state)
    actuation_s = kind.boot_s + settings.rebalance_pause_s + settings.tick_s
    beyond_s = max(courses.STRIDE_S, *(margin.beyond_s for margin in margins))
    paths = forecaster.paths(state, actuation_s + beyond_s, _STEP_S, _PATHS)
    if paths is None:
        return None, memory
    paths = replace(paths, rates=reading.capped(paths.rates, history))
    memory = _with_shares(observation, history, memory)
    per_worker = kind.curve.capacity_per_s
    now = float(history.recent[-reading.NOW_S :].mean()) / per_worker
    level = max(1.0, paths.level.per_s / per_worker)
    terms = _terms(settings, kind, objective, actuation_s, limits)
    # A mix begins with a guess in each type, and what the first order of the slow ones was too late for says little.
    learnt_s = max(settings.learning_s, settings.foresight_s + kind.boot_s if worth is not None else 0.0)
    learning = int(history.counts.size) >= learnt_s
    followed = int(history.counts.size) >= settings.foresight_s
    came = reading.lately(history, paths.level.per_s) / per_worker
    most = max(level, came, float(paths.rates.mean(axis=0).max()) / per_worker)
    table = carrying(carryable(memory.shares, most), kind.max_workers) if worth is None else worth
    needs = reading.needs(
        paths.rates / per_worker, level, came, actuation_s, table, margins=margins, step_s=_STEP_S,
        slack_s=min(_SLACK_USED * terms.slack_s, _SLACK_MOST * actuation_s),
    )  # fmt: skip
    needs = reading.with_rise(
        needs, history, actuation_s, per_worker=per_worker, level=level, table=table, margins=margins
    )  # fmt: skip
    if worth is not None:
        # A step in the price is no reason to give up what is there now.
        needs = replace(needs, paths=np.maximum(needs.paths, math.ceil(level)))
    needs = replace(needs, noise=1 / math.sqrt(max(1.0, paths.level.per_s * courses.BAND_S)))
    if not 0 <= observation.at_s - memory.seen_at_s <= settings.sample_fresh_s:
        # What ran while nobody looked may have been needed: patience begins with it.
        needs = replace(needs, came=np.maximum(needs.came, declared))
    learnt, said = experience.step(
        memory.learnt or experience.started(max(1, declared), max(1, round(actuation_s / settings.tick_s))),
        needs,
        load=now,
        measured_late=_measured_late(observation, objective),
        carrying=table,
        terms=terms,
        learning=learning,
        followed=followed,
        there=declared or None,
    )
    played = headroom.step(
        memory.played, load=now, declared=declared, measured_late=_measured_late(observation, objective),
        boot_s=kind.boot_s, carrying=table, terms=terms, learning=learning,
    )  # fmt: skip
    memory = replace(memory, learnt=learnt, played=played, seen_at_s=observation.at_s)
    asked = {"paths": said.foreseen, "surprise": said.workers if said.workers > said.foreseen else 0}
    asked["backlog"], memory = _backlog(
        observation, paths, settings=settings, kind=kind, ready=ready, memory=memory, table=table, now=now,
        least=max(asked.values()), actuation_s=actuation_s,
    )  # fmt: skip
    if needs.rising is not None:
        # Another course that has let go before must not do it now.
        asked["rising"] = min(declared, int(needs.rising[_margin(learnt.chosen)]))
    if not followed:
        return None, memory
    course = replace(courses.COURSES[learnt.chosen], margin=margins[_margin(learnt.chosen)])
    return (
        Outlook(
            workers=max(asked.values()),
            forecast=_forecast(paths, actuation_s, history),
            rate_per_s=_sized_for(paths, actuation_s, course.margin),
            carrying=table,
            course=course,
            asked=asked,
            late_share=float(experience.late_share(learnt)[learnt.chosen]),
            allowed=terms.allowed,
            head_room=headroom.told(
                played,
                kind=kind,
                terms=terms,
                allowed=1 - objective.share,
                least_late=float(learnt.late[:-1].min()) / max(learnt.load, 1e-9),
            ),
        ),
        memory,
    )


def further(
    settings: PolicySettings, memory: Memory, horizon_s: float, step_s: float, forecaster: Forecaster | None
) -> Paths | None:
    """Paths beyond the actuation delay that `foresee` looks at, after it; `None` = the newest seconds are not known."""
    if memory.forecast is None:
        return None
    return (forecaster or _forecaster(settings.forecast)).paths(memory.forecast, horizon_s, step_s, _PATHS)


def _margin(course: int) -> int:
    return courses.MARGINS.index(courses.COURSES[course].margin)


def _terms(
    settings: PolicySettings, kind: WorkerType, objective: Objective, actuation_s: float, limits: Bounds
) -> experience.Terms:
    batch_s = kind.curve.seconds(kind.curve.max_batch)
    return experience.Terms(
        tick_s=settings.tick_s,
        actuation_s=actuation_s,
        slack_s=max(0.1, objective.within_s - 2 * batch_s),
        pause_s=settings.rebalance_pause_s,
        within_s=objective.within_s,
        allowed=settings.budget_used * (1 - objective.share),
        half_life_s=settings.experience_s,
        late_price=settings.late_price,
        surprise_keep_s=settings.surprise_keep_s,
        drain_price=settings.drain_price,
        drain_keep_s=settings.drain_keep_s,
        reserve=settings.reserve,
        least=limits.low,
        most=limits.high,
    )


def _with_shares(observation: Observation, history: ArrivalHistory, memory: Memory) -> Memory:
    fresh = 0 <= observation.at_s - memory.shares_at_s < _SHARES_S and len(memory.shares) == observation.partitions
    if fresh:
        return memory
    shares = smoothed_shares(history.by_partition, observation.partitions)
    return replace(memory, shares=shares, shares_at_s=observation.at_s)


def _measured_late(observation: Observation, objective: Objective) -> float:
    if observation.stuck or not observation.latency_counts:
        # What a stuck partition had late says nothing of any course.
        return 0.0
    within = latency.within(observation.latency_counts, objective.within_s)
    return 0.0 if within is None else 1.0 - within


def _backlog(
    observation: Observation,
    paths: Paths,
    *,
    settings: PolicySettings,
    kind: WorkerType,
    ready: int,
    memory: Memory,
    table: Carrying,
    now: float,
    least: int,
    actuation_s: float,
) -> tuple[int, Memory]:
    """Workers asked for by what waits, now or by the time that new ones serve, at a load of `now`; 0 = none."""
    at_s = observation.at_s
    per_worker = kind.curve.capacity_per_s
    settled = observation.rebalanced_at_s is None or at_s - observation.rebalanced_at_s > settings.settle_s
    waiting = 0.0
    backlog = sized_backlog(observation)
    if backlog is not None and settled:
        # What a pause of our own holds up is worked off by the workers that are there; it is no load.
        waiting = max(0.0, backlog - paths.level.per_s * _UNCOMMITTED_S) / per_worker
    status = observation.workers.get(kind.name)
    starting_in_s = [asked_s + actuation_s - at_s for asked_s in status.asked_at_s] if status is not None else []
    steps = max(1, int(actuation_s // _STEP_S))
    # What is only expected to come is the paths' business: a burst that has just begun looks as if it grew for ever.
    # And where nothing waits, and nothing will for the load of now, nothing has begun.
    begun = waiting > 0 or now > capacity(max(1, ready), table)
    rates = np.minimum(paths.rates.mean(axis=0) / per_worker, (_GROWS if begun else 1.0) * now)
    then = projected(
        waiting, rates[:steps], step_s=_STEP_S, ready=max(1, ready), starting_in_s=starting_in_s, carrying=table
    )
    drains = tuple(one for one in memory.drains if abs(at_s - one[0]) < settings.drain_keep_s)
    if then > fluid.WORTH_S * capacity(max(1, ready), table):
        workers = drained_by(
            then,
            float(rates[min(steps, rates.size - 1)]),
            table,
            least=least,
            late_price=settings.drain_price,
            overhead_s=actuation_s + settings.drain_keep_s,
            serving=max(1, ready) + len(starting_in_s),
            moved_s=fluid.MOVED * settings.rebalance_pause_s,
        )
        drains = (*drains, (at_s, workers))
    return max((workers for _, workers in drains), default=0), replace(memory, drains=drains)


def _sized_for(paths: Paths, actuation_s: float, margin: courses.Margin) -> float:
    until = int((actuation_s + margin.beyond_s) // _STEP_S)
    return float(np.quantile(paths.rates[:, : max(1, until)].max(axis=1), 0.9))


def _forecast(paths: Paths, actuation_s: float, history: ArrivalHistory) -> Forecast:
    step = min(int(actuation_s // _STEP_S), paths.mean.size - 1)
    method = max(paths.weights, key=lambda name: paths.weights[name], default="level")
    mean = float(paths.mean[step])
    return Forecast(
        at_s=history.until_s,
        horizon_s=actuation_s,
        mean_per_s=round(mean, 6),
        lower_per_s=round(min(mean, float(paths.lower[step])), 6),
        upper_per_s=round(max(mean, float(paths.upper[step])), 6),
        quantile=0.95,
        method=method,
        history_s=float(history.recent.size),
    )
