"""What a live policy, which does not know the future, makes of the load that the plan was made for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from autoscaler.model import Objective
from autoscaler.simulation.run import run
from autoscaler.simulation.scenario import Scenario, SimulatedType
from penstock.plan.replay import BOOT_SPREAD, PAUSE_S, planned_cost
from penstock.simulate.policies import build

if TYPE_CHECKING:
    from collections.abc import Sequence

    from autoscaler.planning.fleet_program import Kind, Schedule
    from autoscaler.policies.base import Policy
    from autoscaler.simulation.arrivals import Load
    from penstock.plan.order import Order
    from penstock.plan.replay import Window

#: Seconds at the start that count in nothing: a policy begins without history, and its first fleet is a guess.
WARM_UP_S = 120.0


@dataclass(frozen=True, slots=True)
class PolicyRun:
    """A policy in the window, beside the plan in the same seconds."""

    name: str
    #: Cost of its workers, and of the planned ones.
    cost: float
    planned_cost: float
    #: Share answered within the objective, and the 99th percentile in seconds; infinite = never.
    attainment: float
    p99_s: float

    @property
    def times(self) -> float:
        """What it costs, in times of the plan."""
        return self.cost / self.planned_cost


def of_name(text: str, order: Order) -> Policy:
    """The policy of one `--policy`, with what the objective leaves after sending and committing.

    Raises:
        BadInput: there is none of that name, or it has no such parameter.
    """
    return build(text, _objective(order))


def run_policy(
    text: str, order: Order, schedule: Schedule, kinds: Sequence[Kind], *, window: Window, load: Load, partitions: int
) -> PolicyRun:
    """Run a policy in the window.

    Args:
        text: as on the command line.
        order: worker types, objective and overhead.
        schedule: of the plan.
        kinds: worker types as the plan saw them.
        window: the stretch that the load is of.
        load: arrivals.
        partitions: of the requests topic.
    """
    objective = _objective(order)
    warm_s = min(WARM_UP_S, load.length_s / 2)
    scenario = Scenario(
        partitions=partitions, objective_s=objective.within_s, objective_share=objective.share,
        rebalance_pause_s=PAUSE_S, mean_rate=window.mean_per_s, warm_up_s=warm_s, seed=order.seed,
        worker_types=tuple(
            SimulatedType(
                kind.name, kind.curve, kind.price_per_hour, kind.boot_s, BOOT_SPREAD, kind.min_workers,
                max(kind.max_workers, 1),
            )
            for kind in order.types
        ),
    )  # fmt: skip
    found = run(of_name(text, order), load, scenario, name=text)
    counted = found.latencies_s[np.searchsorted(load.arrivals_s, warm_s) :] + order.overhead_s
    at_first = sum(kind.price_per_hour * schedule.fleet(window.first)[kind.name] for kind in kinds)
    return PolicyRun(
        text, found.cost, planned_cost(schedule, kinds, window) - at_first * warm_s / 3600,
        float(np.mean(counted <= order.objective.within_s)),
        float(np.quantile(counted, 0.99, method="higher")),
    )  # fmt: skip


def _objective(order: Order) -> Objective:
    return Objective(order.objective.within_s - order.overhead_s, order.objective.share)
