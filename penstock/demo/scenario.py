"""What the demo runs: its fleet, its objective and its load, and the settings file that says so."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from autoscaler.model import Objective, ServiceCurve, WorkerType
from penstock.demo.arrivals import generated
from penstock.demo.trace import replay
from penstock.trace_file import read_trace

if TYPE_CHECKING:
    from pathlib import Path

    from penstock.demo.arrivals import Arrivals

#: Name of the demo's pipeline.
PIPELINE = "digits"

#: Share of the requests that must be answered in time.
SHARE = 0.95

#: The demo's objective, in milliseconds. From a step that nobody could foresee to new workers that serve it takes about
#: four seconds on two busy cores (one to see it, two or three to start, one to rebalance); what the old workers cannot
#: do meanwhile must still be answered in time.
OBJECTIVE_MS = 2500.0

#: Partitions of the requests topic: with 12, fleets of 1, 2, 3, 4, 6 and 12 split them evenly.
PARTITIONS = 12

#: An emulated worker takes 20 ms a batch and 20 ms a row, up to 8 rows: 44 requests a second. Slow on purpose: a laptop
#: can then show a fleet that grows, since the time is waited for, not computed.
EMULATED_CURVE = ServiceCurve(0.02, 0.02, 8)

#: Assumed for a worker on a real core until the workers report their own.
CPU_CURVE = ServiceCurve(0.005, 0.001, 64)

#: Most workers: one a partition would be the ceiling; eight processes with TensorFlow fit into 4 GB.
MOST_WORKERS = 8

#: Rate of the generated step, requests a second. The ramp before it ends at a quarter of it, 44 a second: all that one
#: emulated worker can do, so that a second must come before the step, which then needs four times as much.
PEAK_PER_S = 176.0

#: Highest mean rate of a replayed trace, requests a second: 1.4 emulated workers, so that there is room both ways.
TRACE_MEAN_PER_S = 60.0

#: Highest rate of a replayed trace over two seconds: 2.5 emulated workers. Compressed time makes bursts steeper than
#: they were recorded, and no fleet grows faster than its workers start.
TRACE_PEAK_PER_S = 110.0

#: Assumed seconds from asking for a worker to its being ready, until starts have been seen.
BOOT_S = 3.0

#: Seconds for which a smaller fleet must have been enough before the fleet shrinks: the product's five minutes would
#: outlast the demo.
PATIENCE_S = 12.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """One demo, before anything is started."""

    arrivals: Arrivals
    objective: Objective
    worker_type: WorkerType
    seed: int

    @property
    def expects_scaling(self) -> bool:
        """Whether the fleet must grow and shrink for a green verdict: a trace may be flat, a real core too fast."""
        return self.arrivals.kind == "generated" and self.worker_type.device == "emulated"


def scenario(
    *,
    seconds: float,
    device: str,
    objective_ms: float,
    seed: int,
    trace: Path | None = None,
    trace_start_s: float = 0.0,
    time_scale: float | None = None,
) -> Scenario:
    """Make up the demo.

    Args:
        seconds: length of the load.
        device: `emulated`, `cpu` or `gpu:N`.
        objective_ms: time within which an answer is in time.
        seed: of the arrivals and of the training.
        trace: a trace file to replay instead of the generated pattern.
        trace_start_s: where in the trace to start.
        time_scale: recorded seconds a demo second; `None` = chosen.

    Raises:
        TraceError: the trace cannot be used.
    """
    if trace is None:
        arrivals = generated(seconds, peak_per_s=PEAK_PER_S, seed=seed)
    else:
        arrivals = replay(
            read_trace(trace),
            seconds,
            mean_per_s=TRACE_MEAN_PER_S,
            peak_per_s=TRACE_PEAK_PER_S,
            seed=seed,
            start_s=trace_start_s,
            time_scale=time_scale,
        )
    emulated = device == "emulated"
    kind = WorkerType(
        name="".join(c for c in device if c.isalnum()),
        device=device,
        min_workers=1,
        # One GPU is one worker's; on real cores more workers than cores only wait for one another.
        max_workers=1 if device.startswith("gpu") else MOST_WORKERS,
        curve=EMULATED_CURVE if emulated else CPU_CURVE,
        boot_s=BOOT_S if emulated else WorkerType().boot_s,
    )
    return Scenario(arrivals, Objective(objective_ms / 1000, SHARE), kind, seed)


def settings_toml(made: Scenario, *, model: Path, bootstrap: str, redis_url_file: Path) -> str:
    """The demo's `penstock.toml`.

    Args:
        made: the scenario.
        model: directory that holds the model's versions.
        bootstrap: Kafka's address.
        redis_url_file: file with the Redis URL: no secret stands in the settings.
    """
    kind, curve = made.worker_type, made.worker_type.curve
    note = (
        f"# emulated: real answers, each batch held for {curve.a_s:g} s + {curve.b_s:g} s a row\n"
        if kind.device == "emulated"
        else ""
    )
    return f"""# Written by `penstock demo`: the settings of this run.
state_dir = "state"

[pipeline]
name = {_text(PIPELINE)}
model = {_text(model)}

[pipeline.objective]
within_s = {made.objective.within_s}
share = {made.objective.share}

[topics]
partitions = {PARTITIONS}

[kafka]
bootstrap_servers = {_text(bootstrap)}

[redis]
url_file = {_text(redis_url_file)}

[worker]
max_batch = {curve.max_batch}

[policy]
# The default of five minutes would outlast the demo.
scale_in_patience_s = {PATIENCE_S}

[[worker_types]]
name = {_text(kind.name)}
{note}device = {_text(kind.device)}
price_per_hour = {kind.price_per_hour}
min_workers = {kind.min_workers}
max_workers = {kind.max_workers}
boot_s = {kind.boot_s}

[worker_types.curve]
a_s = {curve.a_s}
b_s = {curve.b_s}
max_batch = {curve.max_batch}
"""


def _text(value: object) -> str:
    """A TOML basic string: JSON's escapes are a subset of TOML's."""
    return json.dumps(str(value), ensure_ascii=False)
