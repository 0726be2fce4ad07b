"""A policy against a simulated group: look, decide, declare, once a tick."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from autoscaler.settings import PolicySettings
from autoscaler.simulation.engine import Engine
from autoscaler.simulation.observing import Observer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from autoscaler.model import Decision, HeadRoom
    from autoscaler.policies.base import Policy
    from autoscaler.simulation.arrivals import Load
    from autoscaler.simulation.scenario import Scenario

    Floats = NDArray[np.float64]

#: Seconds between two looks at the group at most: what a live sampler does.
LOOK_S = 1.0
#: Seconds of load that the fleet at the start is sized for, and the utilisation aimed at: it is a guess of a person.
FIRST_S, FIRST_UTILISATION = 60.0, 0.8
#: Seconds after the end for which answers are waited for; what comes later counts as never.
DRAIN_S = 600.0


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """What was seen at each look; all of shape (looks,), NaN where not known."""

    at_s: Floats
    #: Workers declared, ready and alive, over all types.
    declared: Floats
    ready: Floats
    running: Floats
    #: Of what is alive.
    price_per_hour: Floats
    #: Records without a committed answer.
    backlog: Floats
    #: Records a second of the ready workers at full batches.
    capacity_per_s: Floats
    #: Forecast of the policy, records a second, and how far ahead it looks, in seconds.
    lower_per_s: Floats
    mean_per_s: Floats
    upper_per_s: Floats
    horizon_s: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What came of a policy on a load."""

    policy: str
    scenario: Scenario
    load: Load
    #: Seconds from arrival to answer, shape (n,); infinite = never.
    latencies_s: Floats
    series: Series
    #: Decisions that changed the declared fleet, in order.
    changes: tuple[Decision, ...]
    #: From the warm-up's end to the end of the load.
    cost: float
    #: Seconds that partitions paused in rebalances after the warm-up, summed over partitions; and those rebalances.
    paused_s: float
    rebalances: int
    #: Seconds that each decision took, shape (ticks,).
    decide_s: Floats
    #: What the policy said last of what no boot had in time; `None` = it said nothing of it.
    head_room: HeadRoom | None = None


def run(
    policy: Policy,
    load: Load,
    scenario: Scenario,
    *,
    stopwatch: Callable[[], float] | None = None,
    progress: Callable[[float], None] | None = None,
    name: str | None = None,
    first: Mapping[str, int] | None = None,
) -> Run:
    """Run a policy against a load.

    The group starts, warm, with `first_fleet`: the same for every policy.

    Args:
        policy: Decides.
        load: Arrivals.
        scenario: How the group is.
        stopwatch: Gives seconds, for the time of a decision; without it that is 0.
        progress: Is told the simulated time now and then.
        name: Of the policy's arm; its own name where left out.
        first: Fleet at the start, by type, instead of that.
    """
    types = scenario.worker_types
    engine = new_engine(load, scenario)
    start(engine, first_fleet(load, scenario) if first is None else first)
    declared: Mapping[str, int] = engine.running()
    looks_a_tick = math.ceil(policy.tick_s / LOOK_S - 1e-9)
    settings = getattr(policy, "settings", None)
    settings = settings if isinstance(settings, PolicySettings) else PolicySettings()
    step_s = policy.tick_s / looks_a_tick
    observer = Observer(
        engine, load.arrivals_s, types, step_s=step_s, history_s=settings.history_s,
        latency_window_s=settings.latency_window_s,
    )  # fmt: skip
    clock = stopwatch or (lambda: 0.0)
    state: Any = policy.initial()
    changes: list[Decision] = []
    took_s: list[float] = []
    rows: list[tuple[float, ...]] = []
    prices = {kind.name: kind.price_per_hour for kind in types}
    band: tuple[float, ...] = (math.nan,) * 4
    capacities = {kind.name: kind.curve.capacity_per_s for kind in types}
    paused = (0.0, 0)
    room: HeadRoom | None = None
    for look in range(math.ceil(load.length_s / step_s - 1e-9)):
        now_s = look * step_s
        engine.advance(now_s)
        observer.look()
        if now_s <= scenario.warm_up_s:
            paused = (engine.paused_s, engine.rebalances)
        if look % looks_a_tick == 0:
            observation, kinds = observer.observation(declared), observer.worker_types()
            began_s = clock()
            decision, state = policy.decide(observation, kinds, state)
            took_s.append(clock() - began_s)
            if not decision.advisory and dict(decision.fleet) != dict(declared):
                declared = {**declared, **decision.fleet}
                engine.declare(declared)
                changes.append(decision)
            room = decision.head_room or room
            outlook = decision.forecast
            if outlook is not None:
                band = (outlook.lower_per_s, outlook.mean_per_s, outlook.upper_per_s, outlook.horizon_s)
            if progress is not None and look % 64 == 0:
                progress(now_s)
        alive, serving = engine.running(), engine.ready()
        rows.append(
            (
                now_s,
                sum(declared.values()),
                sum(serving.values()),
                sum(alive.values()),
                sum(prices[kind] * count for kind, count in alive.items()),
                float((engine.arrived - engine.committed).sum()),
                sum(capacities[kind] * count for kind, count in serving.items()),
                *band,
            )
        )
    engine.advance(load.length_s)
    cost = engine.cost(min(scenario.warm_up_s, load.length_s), load.length_s)
    after = (engine.paused_s - paused[0], engine.rebalances - paused[1])
    engine.advance(load.length_s + DRAIN_S)
    return Run(
        policy=name or policy.name,
        scenario=scenario,
        load=load,
        latencies_s=np.nan_to_num(engine.latencies_s, copy=False, nan=np.inf),
        series=Series(*np.array(rows).reshape(-1, 11).T),
        changes=tuple(changes),
        cost=cost,
        paused_s=after[0],
        rebalances=after[1],
        decide_s=np.array(took_s),
        head_room=room,
    )


def new_engine(load: Load, scenario: Scenario) -> Engine:
    """A group without workers, some time before second 0."""
    types = scenario.worker_types
    lead_s = max(kind.boot_s * (1 + kind.boot_spread) for kind in types) + 1.0 + scenario.rebalance_pause_s
    return Engine(
        load.arrivals_s,
        load.partition_of,
        partitions=scenario.partitions,
        types=types,
        commit_interval_s=scenario.commit_interval_s,
        cooperative=scenario.rebalance == "cooperative",
        pause_s=scenario.rebalance_pause_s,
        seed=scenario.seed,
        start_s=-lead_s,
    )


def start(engine: Engine, fleet: Mapping[str, int]) -> None:
    """Bring a new group to second 0, with this fleet ready."""
    engine.declare(fleet)
    engine.advance(0.0)


def first_fleet(load: Load, scenario: Scenario) -> dict[str, int]:
    """The fleet at the start, by type: of the first what the load's first minute needs at 80 %, of others the least."""
    kind = scenario.worker_types[0]
    window_s = min(FIRST_S, load.length_s)
    rate_per_s = float(np.searchsorted(load.arrivals_s, window_s)) / window_s
    needed = math.ceil(rate_per_s / (kind.curve.capacity_per_s * FIRST_UTILISATION))
    most = max(kind.min_workers, min(kind.max_workers, scenario.partitions))
    return {other.name: other.min_workers for other in scenario.worker_types} | {
        kind.name: min(max(needed, kind.min_workers, 1), most)
    }
