"""A policy against a simulated group by way of the tape, as it is live: records written, folded, observed, decided.

Slower than `autoscaler.simulation.run`, which looks at the arrays; for what the tape itself is needed for.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from autoscaler.model import LATENCY_BOUNDS_S, ArrivalSample, FleetStatus, WorkerState
from autoscaler.pipeline_state import PipelineState
from autoscaler.settings import PolicySettings
from autoscaler.simulation.observing import PIPELINE, reports
from autoscaler.simulation.run import first_fleet, new_engine, start

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from autoscaler.model import Decision, Observation, TelemetryRecord, WorkerReport, WorkerType
    from autoscaler.policies.base import Policy
    from autoscaler.simulation.arrivals import Load
    from autoscaler.simulation.engine import Engine
    from autoscaler.simulation.scenario import Scenario

_BOUNDS_S = np.array(LATENCY_BOUNDS_S)
#: Seconds after the end for which answers are waited for.
_DRAIN_S = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class TapeRun:
    """What came of it."""

    #: Seconds from arrival to answer, shape (n,); NaN = none.
    latencies_s: NDArray[np.float64]
    #: One for each tick.
    decisions: tuple[Decision, ...]
    #: What each was decided on.
    observations: tuple[Observation, ...]
    #: The records that the policy saw, in order.
    tape: tuple[TelemetryRecord, ...]
    #: Price of all workers from second 0 to the end of the load.
    cost: float


def run_on_tape(
    policy: Policy,
    load: Load,
    scenario: Scenario,
    *,
    settings: PolicySettings | None = None,
    assumed: Sequence[WorkerType] | None = None,
    first: Mapping[str, int] | None = None,
    meddle: Callable[[Engine], None] | None = None,
) -> TapeRun:
    """Run a policy against a load; see `autoscaler.simulation.run.run`.

    Args:
        policy: Decides.
        load: Arrivals.
        scenario: How the group is.
        settings: For how long things count as fresh.
        assumed: What is believed of the types until workers report; the truth where left out.
        first: Fleet at the start, by type.
        meddle: Called at each tick before it is looked; may do something to the group.
    """
    engine = new_engine(load, scenario)
    start(engine, first_fleet(load, scenario) if first is None else first)
    declared: Mapping[str, int] = engine.running()
    kinds = tuple(assumed or (kind.as_worker_type() for kind in scenario.worker_types))
    known = PipelineState(PIPELINE, settings or PolicySettings(), kinds)
    state: Any = policy.initial()
    decisions: list[Decision] = []
    observations: list[Observation] = []
    tape: list[TelemetryRecord] = []
    told: dict[str, WorkerReport] = {}
    for tick in range(math.ceil(load.length_s / policy.tick_s - 1e-9)):
        now_s = tick * policy.tick_s
        engine.advance(now_s)
        if meddle is not None:
            meddle(engine)
        told, before = reports(engine, tuple(engine.tally(_BOUNDS_S).tolist())), told
        gone = [_last_words(before[name], now_s) for name in before if name not in told]
        records: list[TelemetryRecord] = [*gone, *told.values(), _sample(engine, declared)]
        for record in records:
            known.apply(record, len(tape))
            tape.append(record)
        observations.append(known.observe(now_s))
        decision, state = policy.decide(observations[-1], known.worker_types(), state)
        decisions.append(decision)
        if not decision.advisory:
            declared = {**declared, **decision.fleet}
            engine.declare(declared)
    engine.advance(load.length_s)
    cost = engine.cost(0.0, load.length_s)
    engine.advance(load.length_s + _DRAIN_S)
    return TapeRun(engine.latencies_s, tuple(decisions), tuple(observations), tuple(tape), cost)


def _sample(engine: Engine, declared: Mapping[str, int]) -> ArrivalSample:
    return ArrivalSample(
        PIPELINE,
        engine.now_s,
        dict(enumerate(engine.arrived.tolist())),
        dict(enumerate(engine.committed.tolist())),
        FleetStatus(declared, engine.running()),
    )


def _last_words(report: WorkerReport, at_s: float) -> WorkerReport:
    """What a worker writes when it has stopped."""
    nothing = (0,) * len(report.latency_counts)
    return dataclasses.replace(report, at_s=at_s, state=WorkerState.STOPPED, partitions=(), latency_counts=nothing)
