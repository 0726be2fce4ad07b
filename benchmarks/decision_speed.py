"""What one decision costs against the size of the pipeline: processor time and memory, a row for each size.

    python benchmarks/decision_speed.py [--quick]

A synthetic tape is folded (samples and a report of each worker, one a second; skewed partitions, a load that swings),
and the policy `penstock` decides on its last minute as it does live: the forecast's slow fits run in another thread.
`observe` makes the observation, `decide` the decision; times are processor time of the deciding thread, in
milliseconds. `peak` is the most memory that one of both holds at once, without what is kept between them.
"""

from __future__ import annotations

import argparse
import platform
import time
import tracemalloc
from dataclasses import dataclass

import numpy as np

from autoscaler.forecasting import preload
from autoscaler.model import (
    ArrivalSample,
    FleetStatus,
    Objective,
    ServiceCurve,
    WorkerReport,
    WorkerState,
    WorkerType,
)
from autoscaler.pipeline_state import PipelineState
from autoscaler.settings import PolicySettings
from penstock.policy_runner import OWN, PolicyRunner

#: Partitions, workers, worker types.
SIZES = ((12, 4, 1), (64, 64, 3), (256, 128, 3), (1000, 256, 3), (1000, 1000, 3), (10_000, 1000, 1), (10_000, 1000, 3))
QUICK = ((64, 64, 3), (1000, 256, 3))
#: Seconds of tape before the first decision: enough for paths and hindsight; and decisions that are timed.
BEFORE_S, DECISIONS = 200, 60
START_S = 1e9


@dataclass(frozen=True)
class Cost:
    """Of one size, milliseconds and MiB."""

    fold_p50: float
    observe_p50: float
    decide_p50: float
    both_p99: float
    peak_mib: float


class Tape:
    """A pipeline of a size, second by second."""

    def __init__(self, partitions: int, workers: int, types: int) -> None:
        self.kinds = tuple(
            WorkerType(
                f"t{number}", price_per_hour=1.0 + number, max_workers=workers,
                curve=ServiceCurve(0.015, 0.005 / (number + 1), 16 * (number + 1)), boot_s=20.0,
            )
            for number in range(types)
        )  # fmt: skip
        self._fleet = {kind.name: workers // types + (place < workers % types) for place, kind in enumerate(self.kinds)}
        self._per_s = 0.6 * sum(kind.curve.capacity_per_s * self._fleet[kind.name] for kind in self.kinds)
        weights = np.arange(1, partitions + 1) ** -0.3
        self._shares = weights / weights.sum()
        self._ends = np.zeros(partitions, int)
        self._random = np.random.default_rng(1)
        self._offset = 0

    def second(self, tick: int, known: PipelineState) -> float:
        """One more; processor seconds that folding it took."""
        at_s = START_S + tick
        self._ends += self._random.poisson(self._per_s * (1 + 0.3 * np.sin(tick / 60)) * self._shares)
        ends = dict(enumerate(self._ends.tolist()))
        status = FleetStatus(dict(self._fleet), dict(self._fleet))
        sample = ArrivalSample("bench", at_s, ends, {p: max(0, end - 1) for p, end in ends.items()}, status)
        records = [*self._reports(at_s, tick), sample]
        began_s = time.thread_time()
        for record in records:
            known.apply(record, self._offset)
            self._offset += 1
        return time.thread_time() - began_s

    def _reports(self, at_s: float, tick: int) -> list[WorkerReport]:
        workers = [(kind, number) for kind in self.kinds for number in range(self._fleet[kind.name])]
        return [
            WorkerReport(
                pipeline="bench", worker=f"bench-{kind.name}-{number}", worker_type=kind.name, device="emulated",
                at_s=at_s, pid=1, host="h", state=WorkerState.READY, asked_at_s=START_S - 60, ready_at_s=START_S - 40,
                partitions=tuple(range(place, self._ends.size, len(workers))), batches=tick, rows=tick, ok=tick,
                failed=0, expired=0, busy_s=0.5 * tick, curve=kind.curve, latency_counts=(1,) * 42, rebalances=1,
                retraces=0, model_version="1",
            )
            for place, (kind, number) in enumerate(workers)
        ]  # fmt: skip


def measured(partitions: int, workers: int, types: int, decisions: int = DECISIONS) -> Cost:
    """One size."""
    tape, settings = Tape(partitions, workers, types), PolicySettings()
    known, runner = PipelineState("bench", settings, tape.kinds), PolicyRunner(OWN, Objective(), settings)
    fold, observe, decide = [], [], []
    for tick in range(BEFORE_S + decisions):
        fold.append(tape.second(tick, known))
        if tick < BEFORE_S:
            continue
        began_s = time.thread_time()
        observation, kinds = known.observe(START_S + tick), known.worker_types()
        seen_s = time.thread_time()
        runner.decide(observation, kinds)
        observe.append(seen_s - began_s)
        decide.append(time.thread_time() - seen_s)
    tape.second(BEFORE_S + decisions, known)
    tracemalloc.start()
    runner.decide(known.observe(START_S + BEFORE_S + decisions), known.worker_types())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The first decision folds the whole history in, as after a start.
    both = 1000 * (np.array(observe) + decide)[1:]
    medians = (1000 * float(np.median(values[1:])) for values in (fold, observe, decide))
    return Cost(*medians, both_p99=float(np.percentile(both, 99)), peak_mib=peak / 2**20)


def main() -> None:
    """Print the table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--quick", action="store_true", help="two sizes only")
    sizes = QUICK if options.parse_args().quick else SIZES
    preload()
    print("| partitions | workers | types | fold ms | observe ms | decide ms | both, p99 ms | peak MiB |")
    print("|---|---|---|---|---|---|---|---|")
    for size in sizes:
        cost = measured(*size)
        shown = (cost.fold_p50, cost.observe_p50, cost.decide_p50, cost.both_p99, cost.peak_mib)
        print(f"| {' | '.join(map(str, size))} | {' | '.join(f'{value:.1f}' for value in shown)} |", flush=True)
    print(f"\nmachine: {platform.processor() or platform.machine()}, Python {platform.python_version()}")


if __name__ == "__main__":
    main()
