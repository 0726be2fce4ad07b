"""What both sides are given: the arrivals with their partitions, the group, the objective; and its settings file."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autoscaler.model import ServiceCurve
from autoscaler.simulation.arrivals import Stretch, of_trace
from autoscaler.simulation.scenario import Scenario, SimulatedType
from penstock.trace_file import read_trace

if TYPE_CHECKING:
    from pathlib import Path

    from autoscaler.simulation.arrivals import Load

#: Name of the pipeline, and of the model's one input, [-1, 4].
PIPELINE, INPUT = "fidelity", "x"
#: Seconds before anything counts: a policy starts without history, and its first fleet is a guess.
WARM_UP_S = 120.0
#: The stretch: its rate doubles and halves within ten minutes.
TRACE, START_S = "azure_llm_2023_conv.csv", 1200.0
#: Mean rate, records a second: three to four workers' worth. Two cores carry that with room to spare, so that what is
#: late is late for want of workers.
MEAN_PER_S = 12.5
#: Seconds from the order to joining the group that a live worker is made to take.
BOOT_S = 10.0
#: Seconds that a live worker takes beyond that until the group has heard of it.
JOIN_S = 0.3
#: Seconds that a partition is not read while it moves, as the logs of live runs show it (see `events.pauses_s`).
PAUSE_S = 0.3

#: Seconds within which an answer is in time: more than two full batches.
OBJECTIVE_S = 5.0

#: A batch of n records holds the device for 0.8 s + 0.16 s n, at most 8: 3.8 a second. Waited for, not computed.
KIND = SimulatedType("cpu", ServiceCurve(0.8, 0.16, 8), boot_s=BOOT_S + JOIN_S, min_workers=1, max_workers=8)


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """One comparison, before anything is run."""

    scenario: Scenario
    load: Load

    def later(self, seconds: float) -> Setting:
        """The same with so many idle seconds before the load.

        The live autoscaler looks once before the load begins; with as long a wait the simulated one looks at the same
        moments of the load.
        """
        load = dataclasses.replace(
            self.load, arrivals_s=self.load.arrivals_s + seconds, length_s=self.load.length_s + seconds
        )
        return Setting(dataclasses.replace(self.scenario, warm_up_s=self.scenario.warm_up_s + seconds), load)


def setting(
    trace: Path, *, seconds: float, start_s: float = START_S, seed: int = 1, mean_per_s: float = MEAN_PER_S,
    warm_up_s: float = WARM_UP_S, pause_s: float = PAUSE_S,
) -> Setting:  # fmt: skip
    """Make up a comparison.

    Args:
        trace: Recorded arrivals.
        seconds: That count; the warm-up comes before.
        start_s: Where in the trace the warm-up begins, recorded seconds.
        seed: Of the arrivals and their partitions.
        mean_per_s: Mean rate, records a second.
        warm_up_s: Seconds before anything counts.
        pause_s: Seconds that a moved partition is not read, simulated.

    Raises:
        TraceError: the trace cannot be read.
        ValueError: the stretch lies outside it, or a value is out of its range.
    """
    scenario = Scenario(
        partitions=16,
        objective_s=OBJECTIVE_S,
        objective_share=0.99,
        # A live worker commits each batch with its results, in one transaction.
        commit_interval_s=0.0,
        rebalance_pause_s=pause_s,
        mean_workers=None,
        mean_rate=mean_per_s,
        warm_up_s=warm_up_s,
        seed=seed,
        worker_types=(KIND,),
    )
    stretch = Stretch(start_s, warm_up_s + seconds)
    return Setting(scenario, of_trace(read_trace(trace), scenario, stretch))


def settings_toml(made: Setting, rule: str, *, model: Path, bootstrap: str, redis_url_file: Path) -> str:
    """The live side's `penstock.toml`.

    Args:
        made: The comparison.
        rule: Policy, as `autoscaler.policy` has it.
        model: Directory that holds the model's versions.
        bootstrap: Kafka's address.
        redis_url_file: File with the Redis URL.
    """
    scenario = made.scenario
    kind, curve = scenario.worker_types[0], scenario.worker_types[0].curve
    sections: dict[str, dict[str, object]] = {
        "pipeline": {"name": PIPELINE, "model": str(model)},
        "pipeline.objective": {"within_s": scenario.objective_s, "share": scenario.objective_share},
        "topics": {"partitions": scenario.partitions},
        "kafka": {"bootstrap_servers": bootstrap},
        "redis": {"url_file": str(redis_url_file)},
        "worker": {"emulated_boot_s": BOOT_S},
        "autoscaler": {"policy": rule},
    }
    assumed = kind.as_worker_type()
    types = {
        name: getattr(assumed, name)
        for name in ("name", "device", "price_per_hour", "min_workers", "max_workers", "boot_s")
    }
    lines = ['state_dir = "state"']
    for name, fields in sections.items():
        lines += ["", f"[{name}]", *_fields(fields)]
    lines += ["", "[[worker_types]]", *_fields(types), "", "[worker_types.curve]", *_fields(dataclasses.asdict(curve))]
    return "\n".join(lines) + "\n"


def _fields(fields: dict[str, object]) -> list[str]:
    # A TOML basic string: JSON's escapes are a subset of TOML's, and numbers are the same.
    return [f"{name} = {json.dumps(value)}" for name, value in fields.items()]
