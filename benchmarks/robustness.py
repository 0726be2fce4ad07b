"""Is there a cliff? The reference scenario with one thing changed at a time, the policy's settings never.

    python benchmarks/robustness.py [--window NAME]... [--traces DIR] [--policy penstock] [--clairvoyant]

Boot +-50 % and 60 s, service curve +-20 %, skewed partitions, commits every 5 s, eager rebalances, objectives of 0.5
and 2 s. The load is the same in all. Cost is over the fluid bound, and with `--clairvoyant` over the schedule that knew
the load, which takes minutes for each cell.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from autoscaler.forecasting import preload
from autoscaler.model import ServiceCurve
from autoscaler.simulation.scenario import Scenario
from penstock.simulate.study import Choice, Done, study


def scenarios() -> dict[str, Scenario]:
    """The reference first, then each change by name."""
    kind = Scenario().worker_types[0]
    base = dataclasses.replace(Scenario(), mean_workers=None, mean_rate=8 * kind.curve.capacity_per_s)

    def with_type(boot_s: float = kind.boot_s, factor: float = 1.0) -> Scenario:
        curve = ServiceCurve(kind.curve.a_s * factor, kind.curve.b_s * factor, kind.curve.max_batch)
        return dataclasses.replace(base, worker_types=(dataclasses.replace(kind, curve=curve, boot_s=boot_s),))

    return {
        "reference": base,
        "boot 10 s": with_type(boot_s=10.0),
        "boot 30 s": with_type(boot_s=30.0),
        "boot 60 s": with_type(boot_s=60.0),
        "workers 20 % faster": with_type(factor=0.8),
        "workers 20 % slower": with_type(factor=1.2),
        "skew 0.5": dataclasses.replace(base, skew=0.5),
        "commit every 5 s": dataclasses.replace(base, commit_interval_s=5.0),
        "eager rebalances": dataclasses.replace(base, rebalance="eager"),
        "objective 0.5 s": dataclasses.replace(base, objective_s=0.5),
        "objective 2 s": dataclasses.replace(base, objective_s=2.0),
    }


class _Quiet:
    """A watcher that says nothing."""

    def begin(self, what: str) -> None:
        """Nothing."""

    def at(self, part: float) -> None:
        """Nothing."""


def main() -> None:
    """Print a row a change, a pair of columns a window."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument(
        "--window", action="append", help="a pattern or a window of the reference suite; several may be"
    )
    options.add_argument("--traces", type=Path, help="folder of the recorded traces")
    options.add_argument("--policy", default="penstock", help="NAME or NAME:parameter=value,...")
    options.add_argument("--clairvoyant", action="store_true", help="search the schedule that knew the load")
    chosen = options.parse_args()
    windows = tuple(chosen.window or ("constant", "step5", "sawtooth6"))
    preload()
    over = "the clairvoyant" if chosen.clairvoyant else "fluid"
    print(f"{chosen.policy}: cost over {over}, late %\n")
    print(f"| | {' | '.join(windows)} |\n|---|{'---|' * len(windows)}")
    for name, scenario in scenarios().items():
        cells = []
        for window in windows:
            choice = Choice(names=(window,), folder=chosen.traces)
            (done,) = study(scenario, choice, [chosen.policy], search=chosen.clairvoyant, watcher=_Quiet())
            cells.append(_cell(done, clairvoyant=chosen.clairvoyant))
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def _cell(done: Done, *, clairvoyant: bool) -> str:
    ratio = done.row["cost_over_clairvoyant" if clairvoyant else "cost_over_fluid"]
    cost = "-" if ratio is None else f"{ratio:.2f}"
    return f"{cost}, {100 * done.row['violation']:.2f}"


if __name__ == "__main__":
    main()
