"""Live equals simulated: the same policy on the same arrivals, on the embedded broker and in the simulator.

    python benchmarks/live_equals_simulated.py --traces DIR [--policy NAME]... [--seconds 600] [--report DIR] [--json]

Live: an embedded Kafka and Redis, worker processes whose devices are emulated (a batch of n rows is waited for, 0.8 s +
0.16 s n) and whose start takes 10 s, and the autoscaler with the policy. Simulated: `autoscaler/simulation/`, the group
of `penstock/fidelity/setting.py`. Both get the same arrival times and partitions, the first fleet and the warm-up of
120 s. The simulated side is run ten times, looking at the load at other moments of a second, and its mean counts: what
a policy makes of one look is chance, live too. Exits with 1 when they are further apart than 10 % of cost or 2 points
of late requests. `--simulated-only` shows the one half in seconds; `--kept DIR` takes live runs of an earlier report.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from autoscaler.simulation.run import first_fleet, run
from penstock.errors import PenstockError
from penstock.fidelity.figure import paint
from penstock.fidelity.live import kept, run_live
from penstock.fidelity.setting import MEAN_PER_S, PAUSE_S, START_S, TRACE, WARM_UP_S, Setting, setting
from penstock.fidelity.sides import Side, apart, figures, over_phases, simulated, table
from penstock.simulate import policies
from penstock.verify import model
from penstock.verify.surroundings import machine
from streams.errors import StreamsError

if TYPE_CHECKING:
    from autoscaler.policies.base import Policy

#: Simulated runs of a policy, each looking at other moments, evenly over a second: live that is chance. The first looks
#: at those of the live run.
PHASES = 10


def main() -> int:
    """Run both sides of each policy, tell, draw."""
    given = _arguments()
    # Through every `finally`, as Ctrl-C: workers are processes of their own.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        made = setting(
            given.traces / given.trace, seconds=given.seconds, start_s=given.start, seed=given.seed,
            mean_per_s=given.rate, warm_up_s=given.warm_up, pause_s=given.pause,
        )  # fmt: skip
        chosen = [policies.build(text, made.scenario.objective) for text in given.policy]
    except (PenstockError, ValueError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    print(made.load.words, file=sys.stderr)
    rows, differences, pairs = [], [], []
    with tempfile.TemporaryDirectory(prefix="penstock-fidelity-") as scratch:
        report = given.report or Path(scratch)
        doubling = None if given.simulated_only or given.kept else model.build(Path(scratch))
        for text, policy in zip(given.policy, chosen, strict=True):
            ours, later_s = None, 0.0
            if not given.simulated_only:
                keep = (given.kept or report) / _file_name(text)
                try:
                    ours = (
                        kept(made, text, keep)
                        if doubling is None
                        else run_live(made, text, doubling, keep=keep, tell=_tell)
                    )
                except (PenstockError, StreamsError) as error:
                    print(f"Error: {error}", file=sys.stderr)
                    return 1
                later_s = float(ours.facts["looked_before_s"])
            theirs = [_simulated(made, policy, text, later_s + phase / PHASES) for phase in range(PHASES)]
            found = [figures(made, one) for one in theirs]
            if ours is not None:
                pairs.append((ours, theirs))
                rows.append(figures(made, ours))
                differences.append(apart(rows[-1], over_phases(found)))
            rows += [found[0], over_phases(found)]
        if given.report is not None:
            told = {"load": made.load.words, "machine": machine(), "rows": rows, "apart": differences}
            (report / "live-equals-simulated.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
            if pairs:
                paint(made, pairs, report / "live-equals-simulated.png")
    print(json.dumps({"rows": rows, "apart": differences}, indent=1) if given.json else table(rows, differences))
    return 0 if all(one["equal"] for one in differences) else 1


def _simulated(made: Setting, policy: Policy, text: str, later_s: float) -> Side:
    """The simulator's run in which the policy looks first `later_s` before the load begins."""
    late, first = made.later(later_s), first_fleet(made.load, made.scenario)
    return simulated(made, run(policy, late.load, late.scenario, name=text, first=first), later_s)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=Path, required=True, help="folder of recorded traces")
    parser.add_argument("--trace", default=TRACE, help="file in it (%(default)s)")
    parser.add_argument("--start", type=float, default=START_S, help="recorded second of the beginning (%(default)s)")
    parser.add_argument("--policy", action="append", help="penstock and keda; NAME:parameter=value,...")
    parser.add_argument("--seconds", type=float, default=600.0, help="that count (%(default)s)")
    parser.add_argument("--warm-up", type=float, default=WARM_UP_S, help="seconds before them (%(default)s)")
    parser.add_argument("--rate", type=float, default=MEAN_PER_S, help="mean requests a second (%(default)s)")
    parser.add_argument("--pause", type=float, default=PAUSE_S, help="simulated pause of a moved partition, seconds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--simulated-only", action="store_true")
    parser.add_argument("--kept", type=Path, help="report folder of an earlier run, whose live sides are taken again")
    parser.add_argument("--report", type=Path, help="folder for the picture, the figures, logs and tapes")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    given.policy = given.policy or ["penstock", "keda"]
    if given.report is not None:
        given.report.mkdir(parents=True, exist_ok=True)
    return given


def _tell(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _file_name(text: str) -> str:
    return "".join(c if c.isalnum() or c in "._-" else "_" for c in text)


if __name__ == "__main__":
    sys.exit(main())
