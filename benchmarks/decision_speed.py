"""What one decision costs: p50 and p99 of `decide` at 64 partitions, in milliseconds of this machine."""

from __future__ import annotations

import platform
import time

import numpy as np

from autoscaler.model import ArrivalSample, Objective, WorkerType
from autoscaler.pipeline_state import PipelineState
from autoscaler.policies.penstock import PolicyState, decide
from autoscaler.settings import PolicySettings

PARTITIONS, TICKS = 64, 400


def main() -> None:
    """Fold a synthetic tape, one sample a second, and time each decision."""
    random = np.random.default_rng(1)
    settings, types, objective = PolicySettings(), (WorkerType(max_workers=64),), Objective()
    pipeline, state = PipelineState("bench", settings, types), PolicyState()
    ends = np.zeros(PARTITIONS, int)
    took_ms = []
    for tick in range(TICKS):
        ends = ends + random.poisson(800 * (1 + np.sin(tick / 60)) / PARTITIONS + 1, PARTITIONS)
        offsets = {p: int(end) for p, end in enumerate(ends)}
        pipeline.apply(ArrivalSample("bench", 1e9 + tick, offsets, dict(offsets)), tick)
        observation = pipeline.observe(1e9 + tick)
        began = time.perf_counter()
        _, state = decide(observation, settings, types, objective, state)
        took_ms.append((time.perf_counter() - began) * 1000)
    p50, p99 = np.percentile(took_ms[TICKS // 4 :], [50, 99])
    print(f"decide, {PARTITIONS} partitions: p50 {p50:.2f} ms, p99 {p99:.2f} ms")
    print(f"machine: {platform.processor() or platform.machine()}, Python {platform.python_version()}")


if __name__ == "__main__":
    main()
