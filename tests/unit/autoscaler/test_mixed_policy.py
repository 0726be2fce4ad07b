"""The policy with two worker types, in the simulated group: the mix, the boot of a GPU, what a person says."""

from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest

from autoscaler.errors import NoWorkerTypes
from autoscaler.model import (
    Action,
    ArrivalHistory,
    Control,
    FleetStatus,
    Objective,
    Observation,
    ServiceCurve,
    TypeStatus,
    WorkerType,
)
from autoscaler.planning import experience
from autoscaler.policies.penstock import PolicyState, decide
from autoscaler.policies.penstock_policy import PenstockPolicy
from autoscaler.settings import PolicySettings
from autoscaler.simulation.arrivals import Load, of_pattern
from autoscaler.simulation.patterns import Pattern
from autoscaler.simulation.run import Run, run
from autoscaler.simulation.scenario import Scenario, SimulatedType

# A sixteenth of the reference types: as many partitions, sixteen times fewer records.
CPU = SimulatedType("cpu", ServiceCurve(0.06, 0.02, 4), boot_s=20.0, boot_spread=0.2, min_workers=1)
GPU = SimulatedType(
    "gpu", ServiceCurve(0.008, 0.004, 32), price_per_hour=4.0, boot_s=90.0, boot_spread=0.2, min_workers=0,
    max_workers=4,
)  # fmt: skip
SCENARIO = Scenario(partitions=24, worker_types=(CPU, GPU), mean_rate=320.0, warm_up_s=60.0)
SETTINGS = PolicySettings(rebalance_pause_s=3.0)


def went(load: Load, scenario: Scenario = SCENARIO) -> Run:
    """The policy against a load."""
    return run(PenstockPolicy(scenario.objective, SETTINGS), load, scenario, stopwatch=time.thread_time)


def fleet_at(done: Run, at_s: float) -> dict[str, int]:
    """What was declared at a time."""
    return dict([change for change in done.changes if change.at_s <= at_s][-1].fleet)


@pytest.fixture(scope="module")
def stepped() -> Run:
    """7.3 CPU workers' worth, and from 420 s on twice as much for good: first one GPU's, then two GPUs'."""
    step = Pattern("step", "a step up", 900.0, lambda t, _length, _seed: np.where(t < 420, 1.0, 2.0))
    return went(of_pattern(step, SCENARIO))


def test_a_load_that_stays_is_for_the_gpu(stepped: Run) -> None:
    """Before the step and long after it: GPUs as the base, and few CPU workers."""
    assert fleet_at(stepped, 410)["gpu"] == 1
    late = fleet_at(stepped, 890)
    assert late["gpu"] >= 2
    assert late["cpu"] <= 8


def test_cpu_workers_cover_a_gpu_that_boots(stepped: Run) -> None:
    """They are asked for with it, before it; while it boots they serve; when it serves they are let go."""
    ordered_s = next(one.at_s for one in stepped.changes if one.at_s > 400 and one.fleet["gpu"] > 1)
    assert ordered_s < 480
    before = fleet_at(stepped, 410)["cpu"]
    covering = max(one.fleet["cpu"] for one in stepped.changes if ordered_s <= one.at_s < ordered_s + 60)
    assert covering >= before + 5
    covered = [one for one in stepped.changes if "cover" in one.reason]
    assert covered
    series = stepped.series
    # From the last of the CPU workers' boots until the GPU serves at the soonest, all of the load is carried.
    during = (series.at_s > ordered_s + 32) & (series.at_s < ordered_s + 70)
    assert series.capacity_per_s[during].min() > 417
    assert fleet_at(stepped, 890)["cpu"] <= covering - 5


def test_where_moves_are_measured_to_make_much_late_no_gpu_is_added(
    stepped: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU takes partitions from everybody: what that makes late, by the pause as measured, is weighed with it."""
    told: list[experience.Learnt | None] = []

    def much(learnt: experience.Learnt | None, *_: float) -> float:
        told.append(learnt)
        return 1e4

    monkeypatch.setattr(experience, "measured_move_late_s", much)
    done = went(stepped.load)
    assert told[-1] is not None
    assert fleet_at(done, 890)["gpu"] == fleet_at(done, 410)["gpu"]


def test_the_same_load_costs_more_without_the_gpu(stepped: Run) -> None:
    """CPU workers alone, chosen by the same policy."""
    alone = dataclasses.replace(SCENARIO, worker_types=(CPU,))
    assert stepped.cost < went(stepped.load, alone).cost


CPU_TYPE = WorkerType("cpu", "cpu", 1.0, 1, 64, ServiceCurve(0.015, 0.005, 16), 20.0)
GPU_TYPE = WorkerType("gpu", "gpu:0", 8.0, 0, 16, ServiceCurve(0.008, 0.00025, 128), 90.0)
BIG_TYPE = WorkerType("big", "cpu", 3.0, 0, 16, ServiceCurve(0.015, 0.001, 32), 40.0)
OBJECTIVE = Objective()


def seen(
    at_s: float,
    rate_per_s: float,
    fleet: dict[str, int],
    *,
    ready: dict[str, int] | None = None,
    control: Control | None = None,
    seconds: int = 600,
    partitions: int = 64,
) -> Observation:
    """A steady load, evenly spread, and this fleet."""
    ready = fleet if ready is None else ready
    counts = np.random.default_rng(int(at_s)).poisson(rate_per_s, seconds).astype(float)
    return Observation(
        pipeline="p",
        at_s=at_s,
        partitions=partitions,
        rates=None,
        backlog=dict.fromkeys(range(partitions), 0),
        fleet=FleetStatus(fleet, fleet),
        control=control,
        workers={
            name: TypeStatus(ready.get(name, 0), (at_s - 1,) * (count - ready.get(name, 0)))
            for name, count in fleet.items()
        },
        history=ArrivalHistory(
            at_s, counts, np.ones(seconds, dtype=bool), dict.fromkeys(range(partitions), rate_per_s * 120 / partitions)
        ),
    )


def test_needs_stay_in_the_workers_of_one_type_while_measured_boots_are_near_each_other() -> None:
    """A few tenths of a second do not change the unit; a clearly shorter boot does, and costs the experience alone."""
    twin = dataclasses.replace(BIG_TYPE, boot_s=20.5)
    fleet = {"cpu": 6, "big": 1}
    _, state = decide(seen(1000.0, 900.0, fleet), SETTINGS, [CPU_TYPE, twin], OBJECTIVE, PolicyState())
    assert state.fast == "cpu"
    learnt = state.foresight.learnt
    assert learnt is not None
    slower = dataclasses.replace(CPU_TYPE, boot_s=22.0)
    _, near = decide(seen(1001.0, 900.0, fleet), SETTINGS, [slower, twin], OBJECTIVE, state)
    assert near.fast == "cpu"
    assert near.foresight.learnt is not None
    assert near.foresight.learnt.seconds > learnt.seconds
    quick = dataclasses.replace(twin, boot_s=5.0)
    _, changed = decide(seen(1002.0, 900.0, fleet), SETTINGS, [slower, quick], OBJECTIVE, near)
    assert changed.fast == "big"
    assert changed.foresight.forecast is not None
    assert changed.foresight.learnt is not None
    # Begun anew, with this tick alone.
    assert changed.foresight.learnt.seconds <= SETTINGS.tick_s
    assert [need for _, need in changed.needs.needs] == []


def test_a_gpu_goes_only_when_cpu_workers_can_take_over() -> None:
    """Load for 5 CPU workers, one GPU and one CPU worker there: first the CPU workers, then without the GPU."""
    kinds, state, fleet = (CPU_TYPE, GPU_TYPE), PolicyState(), {"cpu": 1, "gpu": 1}
    for second in range(15):
        look = seen(600.0 + second, 700.0, fleet, ready={"cpu": 1, "gpu": 1})
        decision, state = decide(look, SETTINGS, kinds, OBJECTIVE, state)
        fleet = dict(decision.fleet)
    assert fleet["gpu"] == 1
    assert fleet["cpu"] >= 5
    assert "will do once" in decision.reason
    for second in range(15, 40):
        decision, state = decide(seen(600.0 + second, 700.0, fleet), SETTINGS, kinds, OBJECTIVE, state)
        fleet = dict(decision.fleet)
    assert decision.fleet["gpu"] == 0
    assert decision.fleet["cpu"] >= 5


def test_a_gpu_goes_under_a_persons_bound_too() -> None:
    """Load for 5 CPU workers, 6 workers allowed, 2 GPUs there: they change places one by one, never all at once."""
    kinds, state, fleet, ready = (CPU_TYPE, GPU_TYPE), PolicyState(), {"cpu": 1, "gpu": 2}, {"cpu": 1, "gpu": 2}
    reasons = []
    for second in range(60):
        look = seen(600.0 + second, 700.0, fleet, ready=ready, control=Control(max_workers=6))
        decision, state = decide(look, SETTINGS, kinds, OBJECTIVE, state)
        fleet = dict(decision.fleet)
        reasons.append(decision.reason)
        assert sum(fleet.values()) <= 6
        # What is left carries the load but for the one CPU worker that takes the last GPU's place.
        assert fleet["gpu"] or ready["cpu"] >= 4
        # A CPU worker boots for some ticks.
        ready = {"cpu": min(fleet["cpu"], ready["cpu"] + second % 5 // 4), "gpu": min(fleet["gpu"], ready["gpu"])}
    assert fleet["gpu"] == 0
    assert fleet["cpu"] >= 5
    assert any("0 gpu will do once" in reason and "a person allows 6 workers" in reason for reason in reasons)


def test_no_more_workers_are_kept_than_a_person_allows() -> None:
    """While the CPU workers that take over boot, the GPUs above the bound go at once."""
    fleet = {"cpu": 0, "gpu": 4}
    state = PolicyState()
    for second in range(15):
        look = seen(600.0 + second, 300.0, fleet, control=Control(max_workers=3), ready={"cpu": 0, "gpu": fleet["gpu"]})
        decision, state = decide(look, SETTINGS, (CPU_TYPE, GPU_TYPE), OBJECTIVE, state)
        fleet = dict(decision.fleet)
    assert fleet == {"cpu": 1, "gpu": 2}


def test_a_person_bounds_the_whole_fleet_and_pauses_it() -> None:
    """`max` counts workers of all types; a pause keeps all of them; advice does nothing."""
    kinds, fleet = (CPU_TYPE, GPU_TYPE), {"cpu": 3, "gpu": 1}
    few, _ = decide(
        seen(600.0, 9000.0, fleet, control=Control(max_workers=4)), SETTINGS, kinds, OBJECTIVE, PolicyState()
    )
    assert sum(few.fleet.values()) <= 4
    paused, _ = decide(
        seen(600.0, 9000.0, fleet, control=Control(paused=True)), SETTINGS, kinds, OBJECTIVE, PolicyState()
    )
    assert dict(paused.fleet) == fleet
    assert (paused.action, paused.bound) == (Action.HOLD, "paused")
    advised, state = decide(
        seen(600.0, 9000.0, fleet, control=Control(advisory=True)), SETTINGS, kinds, OBJECTIVE, PolicyState()
    )
    assert advised.advisory
    assert state.types == {}


def test_without_data_all_types_stay() -> None:
    """Nothing known of the load: what is declared is kept."""
    fleet = {"cpu": 3, "gpu": 1}
    blind = dataclasses.replace(seen(600.0, 100.0, fleet), history=None)
    decision, _ = decide(blind, SETTINGS, (CPU_TYPE, GPU_TYPE), OBJECTIVE, PolicyState())
    assert dict(decision.fleet) == fleet
    assert decision.action is Action.NO_DATA


def test_no_types_is_told() -> None:
    """As for one."""
    with pytest.raises(NoWorkerTypes):
        decide(seen(600.0, 100.0, {}), SETTINGS, (), OBJECTIVE, PolicyState())


def test_three_types_are_decided_on_quickly() -> None:
    """64 partitions, 289 combinations of two slow types: processor time well below 50 ms, nine times of ten."""
    kinds, state = (CPU_TYPE, BIG_TYPE, GPU_TYPE), PolicyState()
    fleet, took = {"cpu": 2, "big": 1, "gpu": 1}, []
    for second in range(40):
        began = time.thread_time()
        decision, state = decide(seen(600.0 + second, 5000.0, fleet), SETTINGS, kinds, OBJECTIVE, state)
        took.append(time.thread_time() - began)
        fleet = dict(decision.fleet)
    assert float(np.quantile(took[5:], 0.9)) < 0.05
    assert decision.plan is not None
