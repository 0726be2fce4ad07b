"""One of four workers leaves under steady load: how long the partitions that do not move give no result.

`python benchmarks/rebalance_gap.py [--runs 5] [--rate 400] [--seed 1] [--json]`. The gap of a partition is the longest
time between two of its results, as a `read_committed` reader sees them, that touches the time from SIGTERM until the
group has settled again. Beside it the longest gap of as long a time before, when nothing happens.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from penstock.verify.arena import Arena, Given
from penstock.verify.faults import Facts, Fault
from penstock.verify.report import clean, row
from penstock.verify.runner import Plan, run
from penstock.verify.surroundings import machine, versions
from penstock.verify.timeline import longest_gap_s

if TYPE_CHECKING:
    from random import Random

    from penstock.verify.stage import Stage

#: Longest allowed gap of a partition that did not move, in seconds.
TARGET_S = 0.5
#: Seconds for a worker to drain and end.
ENDED_S = 40.0
#: Seconds after the group has settled that still count: results of the new owners are on their way.
AFTER_S = 0.5


class Leave(Fault):
    """A worker leaves in good order, and another comes in its place after the measurement."""

    name = "leave"
    words = "one of four workers gets SIGTERM"
    workers: ClassVar[int] = 4

    def strike(self, stage: Stage, random: Random) -> Facts:
        """Measures `kept_gap_s`, `moved_gap_s` and `before_gap_s`."""
        leaver, _ = stage.victim(random)
        before = stage.owned()
        began_s = time.monotonic()
        stage.fleet.stop(leaver)
        if not stage.fleet.wait_ended(leaver, ENDED_S):
            raise TimeoutError(f"{leaver.slot} does not end: {leaver.said()}")
        stage.until(stage.settled, "the three that stay own all partitions")
        settled_s = time.monotonic()
        time.sleep(AFTER_S)
        stage.healed(time.monotonic())
        after = stage.owned()
        moved = {p for slot, owned in before.items() for p in owned - after.get(slot, frozenset())}
        kept = set(range(stage.partitions)) - moved
        until_s = settled_s + AFTER_S

        def gap_s(partitions: set[int], from_s: float, to_s: float) -> float:
            return max((longest_gap_s(stage.watch.moments(p), from_s, to_s) for p in partitions), default=0.0)

        facts = {
            "kept_gap_s": gap_s(kept, began_s, until_s),
            "moved_gap_s": gap_s(moved, began_s, until_s),
            "before_gap_s": gap_s(kept, began_s - min(until_s - began_s, 1.0), began_s - 0.01),
            "settled_s": settled_s - began_s,
            "moved_beyond_need": float(len(moved) - len(before[leaver.slot])),
        }
        stage.fleet.wait_ready(stage.fleet.start(leaver.slot))
        stage.until(stage.settled, "four workers own all partitions again")
        return facts


def main() -> int:
    """Measure; exit 1 when a kept partition was silent for too long or the ledger is not clean."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--rate", type=float, default=400.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    plan = Plan(("leave",), runs=asked.runs, seconds=4, rate=asked.rate, seed=asked.seed)
    with tempfile.TemporaryDirectory(prefix="penstock-gap-") as logs, Arena(Given(), Path(logs)) as arena:
        (outcome,) = run(plan, arena, kinds={"leave": Leave})
        found = row(outcome, plan, {"machine": machine(), "versions": versions(embedded=True)})
    if asked.json:
        print(json.dumps(found, indent=1))
    else:
        for number, facts in enumerate(outcome.facts, 1):
            print(f"run {number}: " + ", ".join(f"{name} {value:.3f}" for name, value in facts.items()))
        gaps = [facts["kept_gap_s"] for facts in outcome.facts if "kept_gap_s" in facts]
        if gaps:
            print(
                f"kept partitions: longest gap {max(gaps) * 1000:.0f} ms worst, {statistics.median(gaps) * 1000:.0f} "
                f"ms middle of {len(gaps)} runs (at most {TARGET_S * 1000:.0f} is wanted)"
            )
        print(f"ledger: {found['sent']} sent, {found['ok']} ok, clean: {clean(found)}; {found['machine']}")
        if found["error"]:
            print(found["error"])
    return 0 if clean(found) and found.get("kept_gap_s", 1.0) <= TARGET_S else 1


if __name__ == "__main__":
    raise SystemExit(main())
