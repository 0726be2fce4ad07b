"""Does a fleet that is right stay as it is? A constant Poisson load for a day, seed after seed.

    python benchmarks/constant_load.py [--policy penstock] [--seeds 20] [--hours 24] [--first 1]

The mean is 4.8 workers' worth: 60 % of eight. Workers are slow (16.8 records a second) and the objective is ten times
the reference's, so that a day is cheap to simulate; the counts of a second scatter three times as much as at the
reference's rate, which is the harder case. Counted are changes of the declared fleet after the first five minutes, in
which a policy that starts without history may look for its place. A row a seed, as soon as it is done.
"""

from __future__ import annotations

import argparse
import time

from autoscaler.forecasting import preload
from autoscaler.model import Objective, ServiceCurve
from autoscaler.policies import registry
from autoscaler.simulation.arrivals import of_pattern
from autoscaler.simulation.measures import measure
from autoscaler.simulation.patterns import PATTERNS
from autoscaler.simulation.run import run
from autoscaler.simulation.scenario import Scenario, SimulatedType

#: Seconds after which nothing should change.
SETTLED_S = 300.0
SLOW = SimulatedType("cpu", ServiceCurve(0.15, 0.05, 16), boot_s=20.0, boot_spread=0.2)


def main() -> None:
    """Print a row a seed, and how many seeds had no action."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--policy", default="penstock", help="NAME or NAME:parameter=value,...")
    options.add_argument("--seeds", type=int, default=20, help="how many")
    options.add_argument("--first", type=int, default=1, help="the first seed")
    options.add_argument("--hours", type=float, default=24.0)
    chosen = options.parse_args()
    preload()
    quiet = 0
    print("| seed | actions after 5 min | first at, min | mean workers | most | late % | processor s |")
    print("|---|---|---|---|---|---|---|")
    for seed in range(chosen.first, chosen.first + chosen.seeds):
        scenario = Scenario(
            objective_s=10.0, mean_workers=4.8, warm_up_s=SETTLED_S, seed=seed, worker_types=(SLOW,), mean_rate=None
        )
        load = of_pattern(PATTERNS["constant"], scenario, length_s=chosen.hours * 3600)
        policy = registry.named(chosen.policy, Objective(scenario.objective_s, scenario.objective_share))
        began_s = time.process_time()
        done = run(policy, load, scenario)
        took_s = time.process_time() - began_s
        late = [change.at_s for change in done.changes if change.at_s > SETTLED_S]
        quiet += not late
        found = measure(done)
        first = f"{late[0] / 60:.0f}" if late else "-"
        after = done.series.declared[done.series.at_s > SETTLED_S]
        print(
            f"| {seed} | {len(late)} | {first} | {after.mean():.2f} | {after.max():.0f} | "
            f"{100 * found.violation:.2f} | {took_s:.0f} |",
            flush=True,
        )
    print(f"\n{chosen.policy}: {quiet} of {chosen.seeds} seeds without an action after the first five minutes")


if __name__ == "__main__":
    main()
